//! The structured payloads, encoded as JSON.
//!
//! Invariant: a text for people that was decoded is one line of at most [`MAX_TEXT`] bytes without control characters,
//! and an [`ExitStatus`] that was decoded is one that Linux has.

use std::ops::RangeInclusive;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use super::identity::Identity;
use super::{ProtocolError, TerminalSize, VERSION};

/// The most bytes that are kept of a text for people: it may repeat a path, the longest of which has 4096.
pub const MAX_TEXT: usize = 8 << 10;

/// The most texts that are kept of a list of them.
const MAX_TEXTS: usize = 16;

const EXIT_CODES: RangeInclusive<i32> = 0..=255;
const SIGNALS: RangeInclusive<i32> = 1..=64;

/// The agent's first words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The protocol version that the agent speaks.
    pub version: u32,
    /// The agent's name and build, for messages.
    #[serde(deserialize_with = "text")]
    pub agent: String,
}

impl Hello {
    /// What this build of the agent says.
    pub fn ours() -> Self {
        Self {
            version: VERSION,
            agent: concat!("agent ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }

    /// Checks that the peer speaks this build's version.
    ///
    /// # Errors
    /// [`ProtocolError::Version`], which names both versions.
    pub fn check(&self) -> Result<(), ProtocolError> {
        if self.version == VERSION {
            return Ok(());
        }
        Err(ProtocolError::Version {
            ours: VERSION,
            theirs: self.version,
            agent: self.agent.clone(),
        })
    }
}

/// The host's answer to [`Hello`]: what the guest shall be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The guest's host name, at most 64 bytes; also written to `/etc/hostname`. `None` leaves both alone.
    pub hostname: Option<String>,
    /// The disk that holds the image.
    pub root: Root,
    /// The image's environment, as `NAME=value`: the base that [`Exec::env`] adds to.
    pub env: Vec<String>,
    /// The directory that commands start in, unless they name one. `None` is `/`.
    pub working_dir: Option<String>,
    /// The user that commands run as, unless they name one: `user[:group]`, names or numbers. `None` is root.
    pub user: Option<String>,
    /// The guest's people, keys, files and networks.
    #[serde(default)]
    pub identity: Box<Identity>,
    /// Further disks that are mounted before the image's init starts, in this order.
    #[serde(default)]
    pub mounts: Vec<DriveMount>,
}

/// A disk besides the root, and where it is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriveMount {
    /// As [`Root::serial`].
    pub serial: String,
    /// An absolute path, which is made if it is not there.
    pub path: String,
    /// The file system's type as mount(2) takes it: `ext4`.
    pub fstype: String,
    /// Whether it is mounted read-only.
    pub read_only: bool,
    /// Options of mount(8), one each. Those that are no flags of mount(2) go to the file system.
    pub options: Vec<String>,
}

/// The disk that becomes the guest's root file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// The block device's serial, as in `/sys/block/*/serial` (virtio-blk: at most 20 bytes).
    pub serial: String,
    /// The file system's type as mount(2) takes it: `ext4`.
    pub fstype: String,
    /// Whether it is mounted read-only.
    pub read_only: bool,
}

/// The guest takes commands from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The image's own init, which is starting up at this moment; `None` if the agent serves as init.
    pub init: Option<String>,
    /// What of the guest's identity could not be carried out, one line for people each.
    #[serde(default, deserialize_with = "texts")]
    pub complaints: Vec<String>,
}

/// Why the agent gave up; the guest powers off right after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fatal {
    /// One line for people.
    #[serde(deserialize_with = "text")]
    pub message: String,
}

/// Asks for a shutdown that leaves the root file system clean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PowerOff {
    /// How long the image's own init may take, in milliseconds, before the agent forces the end. Where the agent is
    /// init it is the time that processes get between SIGTERM and SIGKILL, which they rarely need.
    pub grace_ms: u32,
}

/// Asks for file systems that hold still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// After how many milliseconds they go on in any case.
    pub limit_ms: u32,
}

/// Nothing is written to disks from now on, and what was written before is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen {
    /// How long writing everything out and freezing took, in microseconds, by the guest's clock.
    pub took_us: u64,
}

/// A message to whoever sits at the guest's terminals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// One line.
    #[serde(deserialize_with = "text")]
    pub text: String,
}

/// A command to run in the guest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// A path, or a name that is looked up in the guest's `PATH`. Also the command's `argv[0]`.
    pub program: String,
    /// The arguments that follow `argv[0]`.
    pub args: Vec<String>,
    /// Variables as `NAME=value`, on top of [`Config::env`].
    pub env: Vec<String>,
    /// The directory to start in; `None` takes [`Config::working_dir`].
    pub cwd: Option<String>,
    /// `user[:group]`; `None` takes [`Config::user`].
    pub user: Option<String>,
    /// Whether [`Frame::Stdin`](super::Frame::Stdin) follows; otherwise the command reads `/dev/null`.
    pub stdin: bool,
    /// The size of the terminal that the command gets as its standard streams. All that is written to it is
    /// [`Frame::Stdout`](super::Frame::Stdout), and the end of the input is its end-of-file character.
    #[serde(default)]
    pub terminal: Option<TerminalSize>,
    /// That it is to succeed once and not again: it is then answered with [`FailureKind::DoneBefore`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub once: Option<Once>,
}

/// Something that is done once in the life of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Once {
    /// Its name, which is one of a file, without separators or dots.
    pub task: String,
    /// The machine's id.
    pub machine: String,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    /// It returned this status, 0 to 255.
    #[serde(deserialize_with = "exit_code")]
    Code(i32),
    /// This signal, 1 to 64, killed it.
    #[serde(deserialize_with = "signal")]
    Signal(i32),
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What a caller can act on.
    pub kind: FailureKind,
    /// One line for people: what was tried, on which name, and why it failed.
    #[serde(deserialize_with = "text")]
    pub message: String,
}

/// The kinds of [`Failure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// There is no such program (a shell's status 127).
    NotFound,
    /// The program may not be executed (a shell's status 126).
    NotExecutable,
    /// The working directory is missing or is no directory.
    NoDirectory,
    /// The user or group is not in the image's `/etc/passwd` or `/etc/group`.
    NoUser,
    /// [`MAX_COMMANDS`](super::MAX_COMMANDS) commands run already.
    Busy,
    /// Nothing takes the connection that was asked for.
    Refused,
    /// The request made no sense at this point, or had values that no command can take.
    Invalid,
    /// What is to be done once was done before.
    DoneBefore,
    /// The guest's kernel refused; the message has its words.
    System,
}

/// A text for people.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    String::deserialize(deserializer).map(tame)
}

/// Texts for people: the first [`MAX_TEXTS`].
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    Ok(texts.into_iter().take(MAX_TEXTS).map(tame).collect())
}

/// Makes a text fit for a terminal and a log: a control character becomes a space, and what is too long is cut.
pub(super) fn tame(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    text.replace(char::is_control, " ")
}

fn exit_code<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    within(&EXIT_CODES, deserializer)
}

fn signal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    within(&SIGNALS, deserializer)
}

fn within<'de, D: Deserializer<'de>>(
    range: &RangeInclusive<i32>,
    deserializer: D,
) -> Result<i32, D::Error> {
    let number = i32::deserialize(deserializer)?;
    if range.contains(&number) {
        return Ok(number);
    }
    let (first, last) = (range.start(), range.end());
    Err(D::Error::custom(format!(
        "no command ends with {number}, which is not {first} to {last}"
    )))
}
