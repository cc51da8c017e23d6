//! What [`Error`](super::Error) hides.

mod kind;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use agent::archive::ArchiveError;
use agent::protocol::{FailureKind, ProtocolError};
use rootfs_store::{
    CommitError, DiffError, DiskError, EmptyDiskError, ExportError, GrowError, ImportDiskError,
    ImportError, PublishError, PullError, PushError, ReferenceError, RegistryError, RepairError,
    RootError, StoreError,
};
use vmm_core::{NetError, StartError};

/// Every way to fail.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Repr {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error(transparent)]
    Platform(#[from] rootfs_store::image::ImageError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Roots(#[from] RootError),
    #[error(transparent)]
    Repair(#[from] RepairError),
    #[error(transparent)]
    ImportDisk(#[from] ImportDiskError),
    #[error(transparent)]
    Registries(#[from] RegistryError),
    #[error(transparent)]
    Push(#[from] PushError),
    #[error(transparent)]
    Pull(#[from] PullError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Diff(#[from] DiffError),
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error(transparent)]
    Grow(#[from] GrowError),
    #[error(
        "session {id:?} was cut off, so its disk can't grow now: resume it as it is, shut it down, and ask again"
    )]
    GrowInterrupted { id: String },
    #[error(transparent)]
    Start(#[from] StartError),

    #[error("{name:?} is reserved: choose an image name that doesn't start with \"sessions/\"")]
    ReservedName { name: String },
    #[error(
        "session {id:?} is {state}, so it has no snapshot of its present disk: {}",
        rest_hint(state)
    )]
    NotAtRest { id: String, state: &'static str },
    #[error("no session is called {id:?}: list the sessions to see those that there are")]
    NoSession { id: String },
    #[error("a session called {id:?} exists already: resume or remove it, or choose another id")]
    SessionExists { id: String },
    #[error("session {id:?} is running: shut it down first")]
    SessionBusy { id: String },
    #[error(
        "{id:?} is no session id: use 1 to 63 letters, digits, '-', '_' or '.', the first one a letter or digit"
    )]
    BadId { id: String },
    #[error(
        "session {id:?} was to be thrown away at the end of its time, which is over: give it more to keep it, or remove it"
    )]
    TimeOver { id: String },
    #[error("a resumed session keeps its id, so it can't be called {id:?}")]
    IdOfResumed { id: String },
    #[error("{what}: {used} of the {limit} that are allowed; remove sessions, or raise the quota")]
    OverQuota { what: String, used: u64, limit: u64 },
    #[error(
        "the disk of {} has {free} bytes left, and {reserve} stay free for running sessions: make room",
        folder.display()
    )]
    HostFull {
        folder: PathBuf,
        free: u64,
        reserve: u64,
    },
    #[error(
        "the disk has programs for {architecture:?}, and guests here run those for amd64: import the image for that"
    )]
    OtherMachine { architecture: String },
    #[error("{problem} makes no sense: change its limits")]
    BadLimits { problem: &'static str },
    #[error(transparent)]
    EmptyDisk(#[from] EmptyDiskError),
    #[error(
        "{name:?} is no name of a drive: use 1 to 15 lower-case letters, digits or '-', the first one no '-', but not \"session-root\""
    )]
    BadDriveName { name: String },
    #[error("two drives are called {name:?}: give each a name of its own")]
    DriveTwice { name: String },
    #[error("{asked} further drives are too many: a session can have {most}")]
    TooManyDrives { asked: usize, most: usize },
    #[error("drive {drive:?} can't be mounted at {path:?}: {what}")]
    BadMountPoint {
        drive: String,
        path: String,
        what: &'static str,
    },
    #[error("two drives are to be mounted at {path:?}: choose another path for one")]
    MountTwice { path: String },
    #[error("drive {drive:?} can't be mounted with {option:?}: use {known}")]
    BadMountOption {
        drive: String,
        option: String,
        known: String,
    },
    #[error("session {id:?} keeps the drives that it was created with: resume it without any")]
    DrivesOfResumed { id: String },
    #[error("{name:?} is no hostname: use 1 to 63 letters, digits or '-', no '-' at an end")]
    BadHostname { name: String },
    #[error("the {setting} {value:?} is not acceptable: {problem}")]
    BadSetting {
        setting: &'static str,
        value: String,
        problem: &'static str,
    },
    #[error("task {task:?} needs {need:?}, which is no task of the session")]
    UnknownNeed { task: String, need: String },
    #[error("no task of {names:?} can ever begin, as each needs another of them")]
    TaskCircle { names: Vec<String> },
    #[error(transparent)]
    Network(#[from] NetError),
    #[error(
        "network {index} of the session is a switch of the process that ran it: give the session its networks again"
    )]
    NoSwitch { index: usize },
    #[error(
        "the session's description and its image's environment are together longer than the agent takes: describe less"
    )]
    ConfigTooLong,
    #[error("an SSH key of user {user:?} is none")]
    BadKey {
        user: String,
        source: ssh_key::Error,
    },
    #[error("could not make an SSH host key")]
    HostKey { source: ssh_key::Error },
    #[error("could not {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("session record {} is damaged, {what}: restore the file from a copy, or remove the session", path.display())]
    RecordDamaged { path: PathBuf, what: &'static str },
    #[error(
        "session record {} has version {found}; this library reads version {known}: use the newer library, or remove the session",
        path.display()
    )]
    RecordVersion {
        path: PathBuf,
        found: u32,
        known: u32,
    },

    #[error("could not read the kernel or its modules at {}; put them there, or name others", path.display())]
    KernelUnreadable { path: PathBuf, source: io::Error },
    #[error("the name {} of a kernel or of its modules is no UTF-8 text; move them", path.display())]
    KernelName { path: PathBuf },
    #[error("{} holds no kernel (a file called vmlinuz-VERSION)", folder.display())]
    NoKernelInFolder { folder: PathBuf },
    #[error(
        "there is no kernel to boot: name one, or unpack a distribution's kernel package into {}; the host keeps none at {}",
        folder.display(), image.display()
    )]
    NoKernel { folder: PathBuf, image: PathBuf },
    #[error("the host keeps no kernel at {}: name one", image.display())]
    NoHostKernel { image: PathBuf },
    #[error(
        "kernel module {name} is neither in {} nor built in; sessions need it",
        folder.display()
    )]
    ModuleMissing { name: String, folder: PathBuf },
    #[error("{} is no kernel module", path.display())]
    NotAModule { path: PathBuf },
    #[error(
        "could not unpack the kernel module {}: fetch it again, or unpack it by hand",
        path.display()
    )]
    ModuleDamaged { path: PathBuf, source: io::Error },

    #[error("the guest stopped before it was ready: {how}")]
    GuestStopped { how: String },
    #[error("the guest was not ready within {seconds} s of its start: {advice}")]
    BootTimeout { seconds: u64, advice: String },
    #[error("the guest is gone ({exit}); a shutdown still keeps its disk")]
    GuestGone { exit: String },
    #[error("the guest's agent gave up: {message}")]
    Agent { message: String },
    #[error("the guest's agent broke the protocol: {what}")]
    AgentConfused { what: &'static str },
    #[error("the guest's agent did nothing for {seconds} s while {doing}")]
    AgentSilent { doing: &'static str, seconds: u64 },
    #[error("the guest's agent could not be understood")]
    Protocol(#[from] ProtocolError),
    #[error("the connection to the guest's agent failed while {doing}")]
    Connection {
        doing: &'static str,
        source: io::Error,
    },
    #[error("{program:?} had not ended after {limit:?}, and was killed")]
    CommandTimeout { program: String, limit: Duration },
    #[error("could not run {program:?} in the guest: {message}")]
    Command {
        program: String,
        kind: FailureKind,
        message: String,
    },
    #[error("the input of {program:?} could not be read")]
    CommandInput { program: String, source: io::Error },
    #[error("{program:?} printed more than {limit} bytes: stream its output, or raise the limit")]
    OutputTooLong { program: String, limit: usize },
    #[error("{program:?} with its arguments is longer than the guest's agent takes")]
    CommandTooLong { program: String },
    #[error("a terminal has at least one row and one column, not {rows} and {columns}")]
    TerminalSize { rows: u16, columns: u16 },
    #[error("the session is not running: {state}")]
    NotRunning { state: &'static str },
    #[error(
        "the host could not {action} the disk of session {id:?} while it ran ({message}); the disk is kept: make room, then resume the session"
    )]
    DiskFailed {
        id: String,
        action: &'static str,
        message: String,
    },

    #[error("{path:?} is no path for a copy in the guest: {problem}")]
    GuestPath { path: String, problem: &'static str },
    #[error("{} is no path for a copy on the host: it has to end with a name", path.display())]
    HostPath { path: PathBuf },
    #[error("could not copy {what}")]
    Copy { what: String, source: ArchiveError },
    #[error("could not read what is to be copied to {what}")]
    CopyInput { what: String, source: io::Error },
    #[error("could not copy {what}: {message}")]
    CopyRefused {
        what: String,
        kind: FailureKind,
        message: String,
    },
    #[error("{address} is no address to {action}: {problem}")]
    BadAddress {
        address: String,
        action: &'static str,
        problem: &'static str,
    },
    #[error("the guest refused: {message}")]
    Refused { message: String },
    #[error("could not listen at {address} on the host")]
    HostListen { address: String, source: io::Error },
    #[error("the SSH socket of session {id:?} takes no connection")]
    SshSocket { id: String, source: io::Error },

    #[error("could not start thread {name}")]
    Thread {
        name: &'static str,
        source: io::Error,
    },
    #[error("a defect in this library: operation {name} panicked")]
    Panicked { name: &'static str },
}

/// What to do about a session whose disk is not at rest.
fn rest_hint(state: &str) -> &'static str {
    match state {
        "interrupted" => "resume it, then shut it down",
        _ => "shut it down first",
    }
}
