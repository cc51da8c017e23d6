//! Threads of a VM, and the one signal that they listen to.
//!
//! Invariant: a thread made here takes no signal of the embedder's; a vCPU thread takes only
//! [`kick_signal`].

#![expect(
    unsafe_code,
    reason = "signal masks and directed signals have no safe interface"
)]

use std::io;
use std::mem::MaybeUninit;
use std::os::unix::thread::JoinHandleExt;
use std::sync::OnceLock;
use std::thread::{Builder, JoinHandle};

use libc::{c_int, c_void, siginfo_t, sigset_t};
use vmm_sys_util::signal::SIGRTMIN;

use crate::seccomp::ThreadFilter;

/// Distance of the kick signal from `SIGRTMIN`, past those that C libraries and runtimes like to take.
const KICK_OFFSET: c_int = 7;

/// Signals that report a fault of the thread itself; blocking them would turn a diagnosis into a kill.
const FAULTS: [c_int; 5] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
];

/// The real-time signal that takes a vCPU thread out of `KVM_RUN`: `SIGRTMIN + 7`.
///
/// It is only ever sent to vCPU threads of this crate. A program that embeds VMs must not change its
/// disposition; a handler that was there before the first VM started is replaced.
#[must_use]
pub fn kick_signal() -> i32 {
    SIGRTMIN() + KICK_OFFSET
}

/// What a thread of a VM is for, which decides the signals it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Vcpu,
    Other,
}

/// A thread of a VM that is to be started.
pub(crate) struct NewThread {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// What it puts on before anything else.
    pub(crate) filter: Option<ThreadFilter>,
}

impl NewThread {
    /// One that is no vCPU, and may make all system calls.
    pub(crate) fn unfiltered(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            role: Role::Other,
            filter: None,
        }
    }
}

/// Starts a thread of a VM. Its body is dropped if its filter can't be put on.
///
/// The thread inherits its signal mask from this one, which has it for that moment: so there is no time in
/// which the new thread could take a signal of the embedder's.
pub(crate) fn spawn(
    thread: NewThread,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    install_handler()?;
    let NewThread { name, role, filter } = thread;
    let before = set_mask(&mask_of(role));
    let builder = Builder::new().name(name.clone());
    let thread = builder.spawn(move || {
        if filter.is_none_or(|filter| filter.put_on(&name)) {
            body();
        }
    });
    set_mask(&before);
    thread
}

/// Without the handler, the first kick would end the process.
fn install_handler() -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), c_int>> = OnceLock::new();
    INSTALLED
        .get_or_init(|| set_handler().map_err(|error| error.raw_os_error().unwrap_or(libc::EIO)))
        .map_err(io::Error::from_raw_os_error)
}

/// `SA_RESTART` spares the embedder's code, which runs on vCPU threads, calls that fail with `EINTR`; `KVM_RUN` returns
/// all the same. `SA_ONSTACK` spares small stacks of runtimes that set up another for signals.
fn set_handler() -> io::Result<()> {
    // SAFETY: all fields of this C struct may be zero; an empty mask is.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as *const () as libc::sighandler_t;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
    // SAFETY: `action` is initialised and lives for the call; the handler has the form that SA_SIGINFO asks for, and does
    // nothing that a handler must not do.
    let result = unsafe { libc::sigaction(kick_signal(), &raw const action, std::ptr::null_mut()) };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Takes a vCPU thread out of `KVM_RUN` if it is there at this moment. The caller repeats this until
/// the thread has ended, which covers a kick that arrives just before the thread enters `KVM_RUN`.
pub(crate) fn kick(thread: &JoinHandle<()>) {
    let id = thread.as_pthread_t();
    // SAFETY: the thread has not been joined, since its handle is borrowed, so its id is still its own.
    let result = unsafe { libc::pthread_kill(id, kick_signal()) };
    if result != 0 {
        tracing::debug!(result, "a vCPU thread could not be kicked");
    }
}

extern "C" fn nothing(_: c_int, _: *mut siginfo_t, _: *mut c_void) {}

/// The signals that threads of this role don't take.
fn mask_of(role: Role) -> sigset_t {
    let mut set = MaybeUninit::<sigset_t>::uninit();
    // SAFETY: the pointer is to memory of the right type, which the call fills.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    // SAFETY: sigfillset has initialised it.
    let mut set = unsafe { set.assume_init() };
    let mut open = FAULTS.to_vec();
    if role == Role::Vcpu {
        open.push(kick_signal());
    }
    for signal in open {
        // SAFETY: `set` is an initialised set, and `signal` a valid number.
        unsafe { libc::sigdelset(&raw mut set, signal) };
    }
    set
}

/// Gives the calling thread a signal mask; returns the one that it had.
fn set_mask(mask: &sigset_t) -> sigset_t {
    let mut before = *mask;
    // SAFETY: both point to initialised sets, which live for the call.
    let result = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, &raw mut before) };
    debug_assert_eq!(result, 0, "setting a mask only fails for a bad `how`");
    before
}

#[cfg(test)]
mod tests;
