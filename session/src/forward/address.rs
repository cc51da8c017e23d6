//! Addresses of streams.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use agent::protocol::Address;

use crate::error::{Error, Repr};

/// An address in the guest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GuestAddress {
    /// A TCP port of the guest's loopback interface. A connection goes to `127.0.0.1`, or to `::1` if nothing listens
    /// there; what listens does so at `127.0.0.1`.
    Tcp(u16),
    /// Any TCP address that the guest reaches, or has.
    TcpAt(SocketAddr),
    /// The path of a Unix socket, at most 107 bytes.
    Unix(String),
}

/// An address on the host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HostAddress {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The path of a Unix socket, at most 107 bytes.
    Unix(PathBuf),
}

impl From<SocketAddr> for HostAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<PathBuf> for HostAddress {
    fn from(path: PathBuf) -> Self {
        Self::Unix(path)
    }
}

impl fmt::Display for GuestAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(port) => write!(f, "port {port}"),
            Self::TcpAt(address) => address.fmt(f),
            Self::Unix(path) => f.write_str(path),
        }
    }
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

impl GuestAddress {
    /// The agent's form of it, to connect to.
    pub(crate) fn to_connect(&self) -> Result<Address, Error> {
        let port = match self {
            Self::Tcp(port) => *port,
            Self::TcpAt(address) => address.port(),
            Self::Unix(_) => 1,
        };
        if port == 0 {
            return Err(self.bad("connect to", "nothing listens at port 0"));
        }
        self.to_agent("connect to")
    }

    /// The agent's form of it, to listen at.
    pub(super) fn to_listen(&self) -> Result<Address, Error> {
        self.to_agent("listen at")
    }

    fn to_agent(&self, action: &'static str) -> Result<Address, Error> {
        let address = match self {
            Self::Tcp(port) => Address::Port(*port),
            Self::TcpAt(address) => Address::Tcp(*address),
            Self::Unix(path) => Address::Unix(path.clone()),
        };
        match address.is_possible() {
            true => Ok(address),
            false => Err(self.bad(
                action,
                "a socket's path is absolute and has at most 107 bytes",
            )),
        }
    }

    fn bad(&self, action: &'static str, problem: &'static str) -> Error {
        Repr::BadAddress {
            address: format!("{self:?}"),
            action,
            problem,
        }
        .into()
    }

    /// Where the agent listens, as it says, if that is this address: of a port of 0 it chose the number.
    pub(super) fn listening(&self, answer: Address) -> Option<Self> {
        let asked = match self {
            Self::Tcp(port) => SocketAddr::from((Ipv4Addr::LOCALHOST, *port)),
            Self::TcpAt(address) => *address,
            Self::Unix(path) => {
                let is_there = matches!(answer, Address::Unix(at) if at == *path);
                return is_there.then(|| self.clone());
            }
        };
        match answer {
            Address::Tcp(at) if at.ip() == asked.ip() && at.port() != 0 => {
                let is_it = asked.port() == 0 || asked.port() == at.port();
                is_it.then_some(Self::TcpAt(at))
            }
            _ => None,
        }
    }
}
