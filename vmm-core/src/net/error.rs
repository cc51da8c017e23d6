//! Why a network could not be had.

use std::io;
use std::path::PathBuf;

/// Why a [`NetBackend`](super::NetBackend) of this crate could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// This host has no TAP interfaces.
    #[error(
        "there is no /dev/net/tun on this machine: load the tun module, or pass the device on to this container"
    )]
    NoTun {
        /// What opening it answered.
        source: io::Error,
    },
    /// What can't be the name of an interface.
    #[error(
        "{name:?} is no name of an interface: one has 1 to 15 bytes, without slash, colon and space"
    )]
    TapName {
        /// The name.
        name: String,
    },
    /// There is no such interface.
    #[error(
        "there is no interface {name}: make it with `ip tuntap add dev {name} mode tap user USER`"
    )]
    NoInterface {
        /// The name.
        name: String,
    },
    /// This user may not use the interface.
    #[error(
        "no permission to use the interface {name}: it takes CAP_NET_ADMIN, or an interface that belongs to this \
         user (`ip tuntap add dev {name} mode tap user USER`)"
    )]
    TapPermission {
        /// The name.
        name: String,
        /// The host's answer.
        source: io::Error,
    },
    /// Somebody else uses the interface.
    #[error("the interface {name} is in use by another process or VM")]
    TapBusy {
        /// The name.
        name: String,
    },
    /// The interface is of another kind.
    #[error("{what} is no TAP interface with one queue")]
    NotATap {
        /// The interface or descriptor.
        what: String,
        /// The host's answer.
        source: io::Error,
    },
    /// A descriptor is a TAP interface, but was opened otherwise than frames need it.
    #[error("the descriptor's interface was not opened with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR")]
    TapFlags,
    /// A socket that can't be connected to.
    #[error("could not connect to {path}: is passt running with --socket {path}?", path = path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// The host's answer.
        source: io::Error,
    },
    /// The host refused a request that should work.
    #[error("could not {action}")]
    Host {
        /// What was tried.
        action: &'static str,
        /// The host's answer.
        source: io::Error,
    },
}
