//! The host's side of the device: an embedder with a disk, a network, connections.

mod sockets;

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use self::sockets::Sockets;
use super::Device;
use super::choices::Choices;
use crate::balloon::SharedBalloon;
use crate::block::{BlockBackend, ReadTarget, SECTOR_BYTES, WriteSource};
use crate::config::{Drive, MIN_GUEST_CID, VmConfig};
use crate::net::{FrameStream, Net, NetBackend, OffloadHeader, Switch, SwitchPort};
use crate::vm::BareVm;
use crate::vsock::{VsockHost, VsockListener, VsockStream};

pub(super) const DISK_SECTORS: u64 = 16;
/// The host's port that an honest driver connects to, and the most connections that the peer keeps.
pub(super) const PORT: u32 = 1024;
pub(super) const MAX_STREAMS: usize = 8;
/// How long calls may block that could block for ever.
const PATIENCE: Duration = Duration::from_micros(100);
const MAX_SENT: usize = 1500;

pub(super) enum Peer {
    /// Answers by itself.
    None,
    Switch(SwitchPort),
    Socket(UnixStream, Vec<u8>),
    /// Before there is a VM.
    Unconnected,
    Vsock {
        host: VsockHost,
        listener: VsockListener,
        streams: Vec<VsockStream>,
    },
    Sockets(Sockets),
    Balloon(SharedBalloon),
}

/// A disk in memory that holds its caller to the duties that [`BlockBackend`] lists.
struct Disk {
    bytes: Mutex<Vec<u8>>,
    is_read_only: bool,
}

impl Disk {
    fn drive(is_read_only: bool) -> Drive {
        let bytes = usize::try_from(DISK_SECTORS * SECTOR_BYTES).expect("the disk is small");
        let mut drive = Drive::new(Arc::new(Self {
            bytes: Mutex::new(vec![0; bytes]),
            is_read_only,
        }));
        drive.read_only = is_read_only;
        drive.queues = 2;
        drive
    }

    fn with<T>(&self, at: u64, length: usize, work: impl FnOnce(&mut [u8]) -> T) -> T {
        let sector = usize::try_from(SECTOR_BYTES).expect("sectors are small");
        let at = usize::try_from(at).expect("within the disk");
        assert!(length > 0 && length.is_multiple_of(sector) && at.is_multiple_of(sector));
        let mut bytes = self.bytes.lock().expect("nobody panicked");
        let part = bytes.get_mut(at..).and_then(|rest| rest.get_mut(..length));
        work(part.expect("within the disk"))
    }
}

impl BlockBackend for Disk {
    fn size(&self) -> u64 {
        DISK_SECTORS * SECTOR_BYTES
    }
    fn read_at(&self, target: &mut ReadTarget<'_>, offset: u64) -> io::Result<()> {
        self.with(offset, target.remaining(), |bytes| target.put(bytes))
    }
    fn write_at(&self, source: &mut WriteSource<'_>, offset: u64) -> io::Result<()> {
        assert!(!self.is_read_only);
        self.with(offset, source.remaining(), |bytes| source.take(bytes))
    }
    fn flush(&self) -> io::Result<()> {
        assert!(!self.is_read_only);
        Ok(())
    }
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.write_zeroes(offset, len)
    }
    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        assert!(!self.is_read_only);
        let length = usize::try_from(len).expect("within the disk");
        self.with(offset, length, |bytes| bytes.fill(0));
        Ok(())
    }
}

impl Peer {
    /// Adds the device to a VM's configuration.
    pub(super) fn new(device: Device, config: &mut VmConfig) -> Self {
        config.vcpus = 2;
        match device {
            Device::Block | Device::ReadOnlyBlock => {
                config.drives = vec![Disk::drive(device == Device::ReadOnlyBlock)];
                Self::None
            }
            Device::NetOnSwitch => {
                let switch = Switch::new();
                let port = || switch.port().expect("the host has descriptors");
                config.nets = vec![Net::new(port())];
                Self::Switch(port())
            }
            Device::NetOnSocket => {
                let (ours, theirs) = UnixStream::pair().expect("the host has descriptors");
                let stream = FrameStream::from_socket(theirs).expect("the socket is sound");
                config.nets = vec![Net::new(stream)];
                ours.set_nonblocking(true).expect("the socket is sound");
                Self::Socket(ours, Vec::new())
            }
            Device::Vsock => {
                config.vsock_cid = Some(MIN_GUEST_CID);
                Self::Unconnected
            }
            Device::VsockWithSockets => {
                config.vsock_cid = Some(MIN_GUEST_CID);
                let sockets = Sockets::new();
                config.vsock_socket = Some(sockets.path());
                Self::Sockets(sockets)
            }
            Device::Balloon => {
                config.balloon = true;
                Self::Unconnected
            }
            Device::Entropy => Self::None,
        }
    }

    /// Takes the host's side of what there is now.
    pub(super) fn connect(&mut self, bare: &BareVm) {
        if matches!(self, Self::Sockets(_)) {
            return;
        }
        if let Some(host) = bare.vsock() {
            let listener = host.listen(PORT).expect("the port is free");
            *self = Self::Vsock {
                host,
                listener,
                streams: Vec::new(),
            };
        } else if let Some(balloon) = &bare.balloon {
            *self = Self::Balloon(Arc::clone(balloon));
        }
    }

    /// Does something that an embedder may do.
    pub(super) fn act(&mut self, choices: &mut Choices) {
        match self {
            Self::None | Self::Unconnected => {}
            Self::Switch(_) | Self::Socket(..) => {
                let length = 14 + usize::from(choices.u16()) % (MAX_SENT - 14);
                if choices.once_in(4) {
                    self.drain();
                }
                self.send_frame(&vec![0x33; length]);
            }
            Self::Vsock {
                host,
                listener,
                streams,
            } => {
                match choices.below(4) {
                    0 => drop(host.connect(u32::from(choices.byte()), Duration::ZERO)),
                    1 => drop(streams.pop()),
                    _ => {}
                }
                if let Ok(stream) = listener.accept(Some(Duration::ZERO))
                    && streams.len() < MAX_STREAMS
                {
                    streams.push(stream);
                }
                for stream in streams {
                    talk(stream, usize::from(choices.u16()));
                }
            }
            Self::Sockets(sockets) => sockets.act(choices),
            Self::Balloon(balloon) => balloon.ask_for(choices.u32() % 0x1_0000),
        }
    }

    /// Sends a frame to the guest, unless there is no room for it.
    pub(super) fn send_frame(&mut self, frame: &[u8]) {
        match self {
            Self::Switch(port) => {
                let sent = port.send(frame, &OffloadHeader::default());
                sent.expect("a switch takes everything");
            }
            Self::Socket(socket, _) => {
                let length = u32::try_from(frame.len()).expect("frames are short");
                let message = [&length.to_be_bytes(), frame].concat();
                // The socket's buffer has room for all of this or for none.
                match socket.write(&message) {
                    Ok(count) => assert_eq!(count, message.len()),
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
            }
            _ => {}
        }
    }

    /// A frame of the guest's.
    pub(super) fn receive_frame(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Switch(port) => {
                let mut frame = vec![0; crate::net::MAX_FRAME_BYTES];
                let length = port.receive(&mut frame, &mut OffloadHeader::default());
                frame.truncate(length.ok()?);
                Some(frame)
            }
            Self::Socket(socket, read) => {
                let mut more = [0; 4096];
                if let Ok(count) = socket.read(&mut more) {
                    read.extend(&more[..count]);
                }
                let length = read.first_chunk::<4>().map(|l| u32::from_be_bytes(*l))?;
                let end = 4 + usize::try_from(length).expect("frames are short");
                (read.len() >= end).then(|| read.drain(..end).skip(4).collect())
            }
            _ => None,
        }
    }

    /// Takes what has come.
    pub(super) fn drain(&mut self) {
        while self.receive_frame().is_some() {}
    }
}

/// Reads and writes a little.
fn talk(stream: &mut VsockStream, length: usize) {
    for set in [
        stream.set_read_timeout(Some(PATIENCE)),
        stream.set_write_timeout(Some(PATIENCE)),
    ] {
        set.expect("the timeout is not zero");
    }
    let mut bytes = [0; 256];
    let _may_time_out = stream.read(&mut bytes);
    let _may_time_out = stream.write(&vec![0x44; length]);
}
