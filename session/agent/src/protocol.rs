//! Frames, what they mean, and who sends which.
//!
//! **Control connection** (one; the agent connects to the host, [`HOST_CID`] port [`CONTROL_PORT`]):
//!
//! ```text
//! agent -> host  Hello        version and name; the host checks it with Hello::check
//! host -> agent  Configure    what to mount and which defaults commands get
//! agent -> host  Ready        the command port is open   (or Fatal, and the guest powers off)
//! host -> agent  Freeze       agent -> host  Frozen, or Failed; writes to disks wait until Thaw, or the limit
//! host -> agent  Thaw         agent -> host  Thawed, or Failed: the limit had passed
//! host -> agent  Notice       agent -> host  Noticed
//! host -> agent  PowerOff     agent -> host  PoweringOff; then the guest ends
//! ```
//!
//! **Command connection** (one for each command; the host connects to the guest's [`COMMAND_PORT`]):
//!
//! ```text
//! host -> agent  Exec
//! host -> agent  Stdin* StdinEnd, Signal*, Resize*   at any time, only before the agent's last frame
//! agent -> host  Stdout*, Stderr*               in the order in which each stream was written
//! agent -> host  Exit or Failed                 always the last frame; then the agent closes
//! ```
//!
//! The host keeps the connection open until it has read the last frame: closing it earlier, or only its sending
//! half, hangs up on the command, whose process group gets SIGHUP and shortly after SIGKILL. Signals queue behind
//! input that the command has not read yet; hanging up does not.
//!
//! A command that is to succeed once in the life of a machine ([`Exec::once`]) is answered with
//! [`FailureKind::DoneBefore`] when it has.
//!
//! **Other jobs** are connections to the same port whose first frame is another one; each may be answered with Failed,
//! and hanging up ends each:
//!
//! ```text
//! host -> agent  Pack                           agent -> host  Data* DataEnd Copied
//! host -> agent  Unpack Data* DataEnd           agent -> host  Copied
//! host -> agent  Connect                        agent -> host  Connected; then plain bytes both ways, and half-closes
//! host -> agent  Listen                         agent -> host  Listening; and, for each connection in the guest, one
//!                                               to the host's vsock port that Listen names, of plain bytes both ways
//! ```
//!
//! The bytes of Data frames are one tar stream. A stream that fails ends with Failed in place of what was to come.
//!
//! Invariant: what a peer sends is hostile. Decoding never panics, and never holds more than one frame of
//! [`MAX_FRAME`] bytes beyond what was received.

mod decoder;
mod error;
mod frame;
pub mod identity;
mod message;
mod reach;
mod stream;

pub use decoder::Decoder;
pub use error::ProtocolError;
pub use frame::{Frame, read_frame, write_frame};
pub use message::{
    Config, DriveMount, Exec, ExitStatus, Failure, FailureKind, Fatal, Freeze, Frozen, Hello,
    MAX_TEXT, Notice, Once, PowerOff, Ready, Root,
};
pub use reach::{Address, Copied, Listen, Owner, Pack, TerminalSize, Unpack};
pub use stream::{DataReader, DataWriter, FrameSource, StreamError};

/// The version of this protocol. [`Hello`] keeps its encoding in every version, so that two sides that differ can say so.
pub const VERSION: u32 = 2;

/// The vsock address of the host, as the guest sees it (`VMADDR_CID_HOST`).
pub const HOST_CID: u32 = 2;

/// The host's vsock port that the agent connects to.
pub const CONTROL_PORT: u32 = 1024;

/// The guest's vsock port that takes one connection for each command.
pub const COMMAND_PORT: u32 = 1025;

/// The most bytes that a frame's payload may have.
pub const MAX_FRAME: usize = 1 << 20;

/// The most bytes that a sender puts in one [`Frame::Stdin`], [`Frame::Stdout`], [`Frame::Stderr`] or [`Frame::Data`].
///
/// A whole frame is then as much as one vsock packet of Linux carries, so that no second packet goes for a few bytes.
pub const MAX_DATA: usize = (64 << 10) - frame::HEADER_LEN;

/// How many commands and other jobs the agent runs at a time; one more is answered with [`FailureKind::Busy`].
pub const MAX_COMMANDS: usize = 256;

/// How many connections of one [`Frame::Listen`] are open at a time; others wait to be accepted.
pub const MAX_FORWARDED: usize = 128;
