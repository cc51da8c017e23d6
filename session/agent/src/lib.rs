//! The protocol between a session and the agent in its guest.
//!
//! The agent is the first process of the guest. It connects to its host on [`protocol::CONTROL_PORT`] and
//! serves commands on [`protocol::COMMAND_PORT`], both over vsock. This library is all that the two sides share;
//! the agent itself is the binary of this package.
//!
//! ```
//! use agent::protocol::{self, Frame};
//!
//! let mut wire = Vec::new();
//! protocol::write_frame(&mut wire, &Frame::Stdout(b"hi\n".to_vec()))?;
//! assert_eq!(protocol::read_frame(&mut wire.as_slice())?, Some(Frame::Stdout(b"hi\n".to_vec())));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod archive;
pub mod protocol;
pub mod way;
