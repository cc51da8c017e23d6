//! The one error of this crate.

use std::fmt;
use std::io;
use std::path::PathBuf;

use agent::protocol::ProtocolError;

/// What went wrong, in the terms of whoever has to do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A session, image or snapshot of that name is not there.
    NotFound,
    /// A setting or a name is not acceptable; the message says why.
    InvalidInput,
    /// The session runs, maybe in another process, or its id is taken.
    Busy,
    /// The container image is missing, damaged or breaks the rules.
    Image,
    /// The kernel or its modules are missing or not usable.
    Kernel,
    /// The host has no KVM, or does not let this process use it.
    Kvm,
    /// The guest crashed, stopped by itself or broke the agent's protocol.
    Guest,
    /// The guest did not answer before its deadline.
    Timeout,
    /// The guest could not start the command.
    Command,
    /// The store could not be read or written: no space, no permission, or damaged data.
    Storage,
    /// A defect of this library.
    Internal,
}

/// Why a call failed. [`Error::kind`] says what to do about it; the message names what is at fault.
pub struct Error(Box<Repr>);

impl Error {
    /// The class of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind()
    }

    /// Whether the guest missed a deadline.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.kind() == ErrorKind::Timeout
    }

    /// Whether what was named does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind() == ErrorKind::NotFound
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&*self.0)
    }
}

impl<E: Into<Repr>> From<E> for Error {
    fn from(error: E) -> Error {
        Error(Box::new(error.into()))
    }
}

/// What [`Error`] hides.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Repr {
    #[error(transparent)]
    Store(#[from] rootfs_store::StoreError),
    #[error(transparent)]
    Import(#[from] rootfs_store::ImportError),
    #[error(transparent)]
    Disk(#[from] rootfs_store::DiskError),
    #[error(transparent)]
    Commit(#[from] rootfs_store::CommitError),
    #[error(transparent)]
    Export(#[from] rootfs_store::ExportError),
    #[error(transparent)]
    Start(#[from] vmm_core::StartError),

    #[error("no session is called {id:?}; `ls` shows those that there are")]
    NoSession { id: String },
    #[error("a session called {id:?} exists already; resume or remove it, or choose another id")]
    SessionExists { id: String },
    #[error("session {id:?} is running; shut it down first")]
    SessionBusy { id: String },
    #[error("{id:?} is no session id: use 1 to 63 letters, digits, '-', '_' or '.', the first one a letter or digit")]
    BadId { id: String },
    #[error("{name:?} is no hostname: use 1 to 63 letters, digits or '-'")]
    BadHostname { name: String },
    #[error("could not {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("session record {} is damaged: {what}", path.display())]
    RecordDamaged { path: PathBuf, what: &'static str },
    #[error("session record {} has version {found}; this library reads version {known}", path.display())]
    RecordVersion { path: PathBuf, found: u32, known: u32 },

    #[error("could not read the kernel or its modules at {}", path.display())]
    KernelUnreadable { path: PathBuf, source: io::Error },
    #[error("{} holds no kernel (a file called vmlinuz-VERSION)", folder.display())]
    NoKernelInFolder { folder: PathBuf },
    #[error("the host keeps no kernel at {}: name one, or unpack a distribution's kernel package into the store's `kernel` folder", image.display())]
    NoHostKernel { image: PathBuf },
    #[error("kernel module {name} is neither in {} nor built in; sessions need it", folder.display())]
    ModuleMissing { name: String, folder: PathBuf },
    #[error("{} is no kernel module", path.display())]
    NotAModule { path: PathBuf },
    #[error("kernel module {} is compressed in a way that is not supported; unpack it, or use modules that are plain or .zst", path.display())]
    ModuleCompression { path: PathBuf },

    #[error("the guest stopped before its agent answered ({exit}); {hint}")]
    GuestStopped { exit: String, hint: String },
    #[error("the guest did not answer within {seconds} s of its start: raise the boot deadline if it is only slow; the console's last lines: {console}")]
    BootTimeout { seconds: u64, console: String },
    #[error("the guest is gone ({exit}); its disk is kept, resume the session to go on")]
    GuestGone { exit: String },
    #[error("the guest's agent reported: {message}")]
    Agent { message: String },
    #[error("the guest's agent speaks version {found} of the protocol; this library speaks version {known}")]
    AgentVersion { found: u32, known: u32 },
    #[error("the guest's agent broke the protocol: {what}")]
    AgentConfused { what: &'static str },
    #[error("the guest's agent could not be understood")]
    Protocol(#[from] ProtocolError),
    #[error("the connection to the guest's agent failed while {doing}")]
    Connection { doing: &'static str, source: io::Error },
    #[error("could not start {program:?} in the guest: {message}")]
    CommandNotStarted { program: String, message: String },
    #[error("command {program:?} printed more than {limit} bytes; stream its output instead")]
    OutputTooLong { program: String, limit: usize },
    #[error("the session is not running: {state}")]
    NotRunning { state: &'static str },

    #[error("could not start thread {name}")]
    Thread { name: &'static str, source: io::Error },
    #[error("a defect in this library: operation {name} panicked")]
    Panicked { name: &'static str },
}

impl Repr {
    fn kind(&self) -> ErrorKind {
        match self {
            Repr::Store(error) => store_kind(error),
            Repr::Import(error) => import_kind(error),
            Repr::Disk(rootfs_store::DiskError::InUse { .. }) => ErrorKind::Busy,
            Repr::Disk(_) | Repr::Commit(_) | Repr::Export(_) => ErrorKind::Storage,
            Repr::Io { .. } | Repr::RecordDamaged { .. } | Repr::RecordVersion { .. } => ErrorKind::Storage,
            Repr::Start(error) => start_kind(error),
            Repr::NoSession { .. } => ErrorKind::NotFound,
            Repr::SessionExists { .. } | Repr::SessionBusy { .. } => ErrorKind::Busy,
            Repr::BadId { .. } | Repr::BadHostname { .. } | Repr::NotRunning { .. } => ErrorKind::InvalidInput,
            Repr::KernelUnreadable { .. }
            | Repr::NoKernelInFolder { .. }
            | Repr::NoHostKernel { .. }
            | Repr::ModuleMissing { .. }
            | Repr::NotAModule { .. }
            | Repr::ModuleCompression { .. } => ErrorKind::Kernel,
            Repr::GuestStopped { .. }
            | Repr::GuestGone { .. }
            | Repr::Agent { .. }
            | Repr::AgentVersion { .. }
            | Repr::AgentConfused { .. }
            | Repr::Protocol(_)
            | Repr::Connection { .. } => ErrorKind::Guest,
            Repr::BootTimeout { .. } => ErrorKind::Timeout,
            Repr::CommandNotStarted { .. } | Repr::OutputTooLong { .. } => ErrorKind::Command,
            Repr::Thread { .. } | Repr::Panicked { .. } => ErrorKind::Internal,
        }
    }
}
