//! Why a VM's vsock has no socket.

use std::io;
use std::path::PathBuf;

use super::door::MAX_PATH_BYTES;

/// Why [`VmConfig::vsock_socket`](crate::VmConfig::vsock_socket) could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VsockSocketError {
    /// The socket has nothing to lead to.
    #[error("vsock_socket is set to {path}, but the VM has no vsock device: set vsock_cid, too", path = path.display())]
    NoDevice {
        /// The path.
        path: PathBuf,
    },
    /// The address of a Unix socket has no room for it.
    #[error(
        "the path of vsock_socket has {bytes} bytes: it needs 1 to {MAX_PATH_BYTES}, as 107 is all that a socket's \
         address takes, and `_PORT` may follow: {path}", path = path.display()
    )]
    PathLength {
        /// The path.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// Another VM or process listens there.
    #[error("somebody listens at the vsock_socket {path}: each VM needs a path of its own", path = path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// There is something else, which is left alone.
    #[error("{path} is there, and no socket: remove it, or set vsock_socket to another path", path = path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The host refused it.
    #[error("could not {action} the vsock_socket {path}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// The host's answer.
        source: io::Error,
    },
}
