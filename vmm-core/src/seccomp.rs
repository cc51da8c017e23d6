//! Which system calls the threads of a VM may make.
//!
//! What each kind of thread may call is listed in the files of `seccomp/`, with the reason for each;
//! `build.rs` compiles them. A thread puts its filter on before it does anything else, and can't take it off.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};

use seccompiler::{apply_filter, sock_filter};

use crate::error::StartError;
use crate::thread::{NewThread, Role};

/// What becomes of a system call that a VM's thread has no use for.
///
/// vCPU and device threads make few system calls, and those are listed (`vmm-core/src/seccomp/*.json`). A
/// guest that took over such a thread can't open files or sockets, run programs, or make memory executable by
/// itself, unless the table says so. What runs on these threads of the embedder's is held to the same:
///
/// | runs there | may |
/// |---|---|
/// | [`VmConfig::console`](crate::VmConfig::console), [`VmConfig::on_event`](crate::VmConfig::on_event), `tracing`'s subscribers | read, write, sync, wait for and close what is open, also sockets that are connected; lock, wake, sleep, ask for the time; allocate |
/// | a [`NetBackend`](crate::NetBackend) | that, and receive, wait for several descriptors, set timers |
/// | a [`FileBackend`](crate::FileBackend) | that, and read and write at offsets, make and give back space, ask for the size of what is open |
/// | another [`BlockBackend`](crate::BlockBackend) | that, and everything that is done with files and folders |
/// | any of these | not: start threads or programs, make or connect sockets, send or take descriptors or addresses with messages (`sendmsg`, `recvmsg`), signal anyone, make memory executable |
///
/// An `abort` on such a thread ends the process by `SIGSEGV`, as the thread can't send itself `SIGABRT`.
///
/// A vsock device with a [`vsock_socket`](crate::VmConfig::vsock_socket) may also accept clients, make and connect
/// Unix sockets, look at files and remove them. Filters see no paths, so a guest that took over this thread could
/// connect to any Unix socket, and remove any file, that this process could.
///
/// Backends can ask for [less or more](HostCalls). What a console or a callback must not do itself, a thread
/// of the embedder's can do for it, over a channel. The supervisor, on which
/// [`Event::WatchdogExpired`](crate::Event::WatchdogExpired), [`Event::Failed`](crate::Event::Failed) and
/// [`Event::BackendSlow`](crate::Event::BackendSlow) are told and consoles are flushed, has no filter.
///
/// The threads get the kernel's `no_new_privs`, too, and whatever they start inherits both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Seccomp {
    /// The call fails with `EPERM`, and the thread goes on: the process belongs to the embedder, and so do
    /// its other VMs.
    #[default]
    Refuse,
    /// The kernel kills the whole process with `SIGSYS`. For processes that have one VM, and for tests that
    /// are to notice a call that is missing from the lists. What libraries ask for and do without
    /// (`asked.json`) is refused even so.
    Kill,
    /// All calls are allowed.
    Off,
}

/// What a backend does with its host, on the device's threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostCalls {
    /// It uses descriptors that are open, as network backends do: reads, writes, sockets that are connected
    /// (`send` and `recv`, not `sendmsg` and `recvmsg`), timers.
    Descriptors,
    /// It also reads and writes at offsets of files that are open, makes and gives back their space, and asks for
    /// their sizes, as [`FileBackend`](crate::FileBackend) does. It opens none.
    OpenFiles,
    /// It also opens, makes, resizes, locks, renames and removes files and folders, as stores do. A guest that
    /// took over such a thread could open all that the process may, `/proc/self/mem` too.
    Files,
    /// There is no telling: its device's threads get no filter. For backends that connect or name other hosts,
    /// start threads, or use `io_uring`, while they serve a request.
    Any,
}

/// What the threads of a device do with their host.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DeviceCalls {
    Of(HostCalls),
    /// Descriptors, and the Unix sockets of a vsock device.
    UnixSockets,
}

/// A filter that answers calls that are not listed in one way or the other.
struct Program {
    refuse: &'static [sock_filter],
    /// Refuses what libraries ask for and do without; allows everything else.
    refuse_asked: &'static [sock_filter],
    /// Allows that, too.
    kill: &'static [sock_filter],
}

include!(concat!(env!("OUT_DIR"), "/seccomp_programs.rs"));

impl Program {
    /// What has to be put on; of several answers, the kernel takes the harshest.
    fn by(&self, setting: Seccomp) -> Vec<&'static [sock_filter]> {
        match setting {
            Seccomp::Refuse => vec![self.refuse],
            Seccomp::Kill => vec![self.refuse_asked, self.kill],
            Seccomp::Off => Vec::new(),
        }
    }
}

/// The filters of one VM's threads, and what came of putting them on.
pub(crate) struct Filters {
    setting: Seccomp,
    report: Sender<StartError>,
    failures: Receiver<StartError>,
}

impl Filters {
    pub(crate) fn new(setting: Seccomp) -> Self {
        let (report, failures) = channel();
        Self {
            setting,
            report,
            failures,
        }
    }

    /// A vCPU's thread to be started.
    pub(crate) fn vcpu(&self, name: String) -> NewThread {
        self.thread(name, Role::Vcpu, Some(&VCPU))
    }

    /// The thread of a device to be started that makes these calls.
    pub(crate) fn device(&self, name: String, calls: DeviceCalls) -> NewThread {
        let program = match calls {
            DeviceCalls::Of(HostCalls::Descriptors) => Some(&DESCRIPTORS),
            DeviceCalls::Of(HostCalls::OpenFiles) => Some(&OPEN_FILES),
            DeviceCalls::Of(HostCalls::Files) => Some(&FILES),
            DeviceCalls::Of(HostCalls::Any) => None,
            DeviceCalls::UnixSockets => Some(&UNIX_SOCKETS),
        };
        self.thread(name, Role::Other, program)
    }

    fn thread(&self, name: String, role: Role, program: Option<&Program>) -> NewThread {
        let filter = program.map(|program| ThreadFilter {
            programs: program.by(self.setting),
            report: self.report.clone(),
        });
        NewThread { name, role, filter }
    }

    /// Waits until each thread that was made here has its filter, or is gone.
    ///
    /// # Errors
    /// [`StartError::Seccomp`] if one did not get it.
    pub(crate) fn wait(self) -> Result<(), StartError> {
        drop(self.report);
        self.failures.recv().map_or(Ok(()), Err)
    }
}

/// A filter that its thread has to put on.
pub(crate) struct ThreadFilter {
    programs: Vec<&'static [sock_filter]>,
    /// Hung up when the filter is on.
    report: Sender<StartError>,
}

impl ThreadFilter {
    /// Puts the filter on the calling thread, for good; returns whether that worked. If not, the thread has
    /// nothing to do.
    pub(crate) fn put_on(self, thread: &str) -> bool {
        let Err(error) = self.programs.iter().copied().try_for_each(apply_filter) else {
            return true;
        };
        let source = match error {
            seccompiler::Error::Prctl(source) | seccompiler::Error::Seccomp(source) => source,
            other => io::Error::other(other),
        };
        let thread = thread.to_owned();
        let _nobody_waits = self.report.send(StartError::Seccomp { thread, source });
        false
    }
}
