//! The payloads of jobs that are no commands: copies, connections, terminals.
//!
//! Invariant: a size of a terminal that was decoded has rows and columns, and an address has a path that a socket can
//! have.

use std::net::SocketAddr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

/// What a Unix socket's address has room for (`sun_path` of unix(7), without its end).
const MAX_SOCKET_PATH: usize = 107;

/// Files to send as a tar stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pack {
    /// A file or folder of the guest. A symbolic link is sent as one.
    pub path: String,
    /// What it is called in the stream; names of what is in it follow behind. `None` is its own name.
    pub name: Option<String>,
}

/// Where the files of a tar stream go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpack {
    /// A folder, which is made if it is missing. Nothing appears outside of it.
    pub directory: String,
    /// Who owns what is made.
    pub owner: Owner,
}

/// Who owns the files that are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// The numbers that the stream has.
    Stream,
    /// `user[:group]`, names of the image or numbers; empty is root.
    User(String),
}

/// What was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// Regular files, further names of one included.
    pub files: u64,
    /// Folders.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Device nodes, pipes and sockets, which are left out.
    pub skipped: u64,
    /// Bytes of the regular files.
    pub bytes: u64,
}

/// An address in the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Address {
    /// A TCP port of the guest's loopback interface: 127.0.0.1, or ::1 if nothing listens there.
    Port(u16),
    /// A TCP port of any address that the guest reaches.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    #[serde(deserialize_with = "socket_path")]
    Unix(String),
    /// The guest's SSH server; one is started for the connection if none listens on port 22.
    Ssh,
}

/// An address to listen at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    /// [`Address::Port`] is 127.0.0.1 here; port 0 is any that is free. A socket that is left over at a path is
    /// replaced.
    pub address: Address,
    /// The host's vsock port that the agent connects to for each connection.
    pub port: u32,
}

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Lines, at least 1.
    #[serde(deserialize_with = "at_least_one")]
    pub rows: u16,
    /// Characters of a line, at least 1.
    #[serde(deserialize_with = "at_least_one")]
    pub columns: u16,
}

impl Address {
    /// Whether the address is one that a socket can have.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        match self {
            Self::Unix(path) => is_socket_path(path),
            Self::Port(_) | Self::Tcp(_) | Self::Ssh => true,
        }
    }
}

fn is_socket_path(path: &str) -> bool {
    (1..=MAX_SOCKET_PATH).contains(&path.len()) && path.starts_with('/') && !path.contains('\0')
}

fn socket_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let path = String::deserialize(deserializer)?;
    if is_socket_path(&path) {
        return Ok(path);
    }
    Err(D::Error::custom("no Unix socket has such a path"))
}

fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    match u16::deserialize(deserializer)? {
        0 => Err(D::Error::custom("a terminal has a line and a column")),
        count => Ok(count),
    }
}
