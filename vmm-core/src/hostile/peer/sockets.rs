//! Other processes, which reach a guest by Unix sockets.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Choices, MAX_STREAMS, PORT};

/// How many there have been, so that each has a folder of its own.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A folder with the vsock's socket, a listener for the guest's connections to [`PORT`], and clients of both.
pub(in crate::hostile) struct Sockets {
    folder: PathBuf,
    listener: UnixListener,
    clients: Vec<UnixStream>,
}

impl Sockets {
    pub(super) fn new() -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vmm-core-hostile-{}-{number}", process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).expect("the host has room for files");
        let listener = UnixListener::bind(folder.join(format!("vsock_{PORT}")))
            .expect("the host has descriptors");
        listener.set_nonblocking(true).expect("the socket is sound");
        Self {
            folder,
            listener,
            clients: Vec::new(),
        }
    }

    /// Where the vsock device has its socket.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.join("vsock")
    }

    pub(super) fn act(&mut self, choices: &mut Choices) {
        let room = self.clients.len() < MAX_STREAMS;
        match choices.below(4) {
            0 if room => self.knock(choices),
            1 => drop(self.clients.pop()),
            _ if room => {
                let taken = self.listener.accept();
                let client = taken.map(|(client, _)| non_blocking(client));
                self.clients.extend(client);
            }
            _ => {}
        }
        for client in &mut self.clients {
            let _may_have_none = client.read(&mut [0; 256]);
            let _may_have_no_room = client.write(&vec![0x44; usize::from(choices.u16())]);
        }
    }

    /// Connects to the device, and says what it wants, or nonsense.
    fn knock(&mut self, choices: &mut Choices) {
        let client = UnixStream::connect(self.path()).expect("the device listens");
        let mut client = non_blocking(client);
        let line = match choices.below(4) {
            0 => vec![choices.byte(); usize::from(choices.byte())],
            1 => b"CONNECT 4294967296\n".to_vec(),
            _ => format!("CONNECT {}\n", choices.below(4)).into_bytes(),
        };
        let _may_be_cut_off = client.write(&line);
        self.clients.push(client);
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        // What is left over is the host's to clear away, as after a crash.
        let _left_over = fs::remove_dir_all(&self.folder);
    }
}

fn non_blocking(client: UnixStream) -> UnixStream {
    client.set_nonblocking(true).expect("the socket is sound");
    client
}
