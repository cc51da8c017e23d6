//! A port of this machine that takes connections.

use std::fmt;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crate::error::BedError;

/// Any free port of this machine.
const ANY: &str = "127.0.0.1:0";

/// Takes connections until it is dropped; those that it took may go on then.
pub(crate) struct Acceptor {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Opens a free port of this machine.
///
/// # Errors
/// [`BedError::Listen`] if there is none.
pub(crate) fn listen() -> Result<(TcpListener, SocketAddr), BedError> {
    let listener = TcpListener::bind(ANY);
    let listening = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (address, listener) = listening.map_err(|source| BedError::Listen {
        address: ANY.to_owned(),
        source,
    })?;
    Ok((listener, address))
}

impl Acceptor {
    /// Hands each connection of an open port to `take`, which must not keep it waiting.
    pub(crate) fn on(
        listener: TcpListener,
        address: SocketAddr,
        take: impl Fn(TcpStream) + Send + 'static,
    ) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&stopped);
        let accept = move || {
            for client in listener.incoming() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(client) = client {
                    take(client);
                }
            }
        };
        Self {
            address,
            stopped,
            thread: Some(thread::spawn(accept)),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread up, which then sees that it has to go.
        _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Acceptor");
        debug
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
