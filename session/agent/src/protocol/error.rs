//! What can be wrong with what a peer sends.

use std::io;

use super::MAX_FRAME;

/// Why bytes are no frame, or a peer can't be talked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The connection failed.
    #[error("could not read from the agent connection")]
    Io {
        /// What the operating system said.
        source: io::Error,
    },
    /// The connection ended inside a frame.
    #[error("the agent connection ended inside a frame")]
    Truncated,
    /// A payload is longer than [`MAX_FRAME`].
    #[error("a frame of type {kind} claims {len} bytes; {MAX_FRAME} are allowed")]
    TooLong {
        /// The frame's type byte.
        kind: u8,
        /// The length that it claims.
        len: u32,
    },
    /// No frame has this type.
    #[error("no frame has type {kind}")]
    UnknownType {
        /// The frame's type byte.
        kind: u8,
    },
    /// A payload where there should be none.
    #[error("a frame of type {kind} has {len} bytes of payload; it takes none")]
    UnexpectedPayload {
        /// The frame's type byte.
        kind: u8,
        /// How many bytes came with it.
        len: usize,
    },
    /// A payload is not the JSON that its type calls for.
    #[error("the payload of a frame of type {kind} is not valid")]
    Payload {
        /// The frame's type byte.
        kind: u8,
        /// What is wrong with it, and where.
        source: serde_json::Error,
    },
    /// The two sides speak different versions.
    #[error(
        "{agent} speaks protocol version {theirs}, this host speaks {ours}: use the agent that was built with the host"
    )]
    Version {
        /// This build's version.
        ours: u32,
        /// The peer's version.
        theirs: u32,
        /// What the peer calls itself.
        agent: String,
    },
}
