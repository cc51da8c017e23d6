//! The process that serves the host: its commands, and the control connection.
//!
//! Invariant: it keeps no file of the root disk open, and survives every signal but SIGKILL, so that it can see a
//! shutdown to its end.

mod command;
mod connect;
mod control;
mod copy;
mod dial;
mod environment;
mod freeze;
mod job;
mod link;
mod listen;
mod notice;
mod once;
mod process;
mod splice;
mod ssh;
mod terminal;
pub(super) mod users;

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use agent::protocol::{Config, Frame, MAX_COMMANDS, Ready, read_frame, write_frame};
use nix::sys::prctl::set_name;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::SigSet;
use nix::unistd::{dup2_stdin, dup2_stdout, setsid};

use super::error::StartError;
use super::vsock::Listener;
use super::{boot, console, power};

/// Connections beyond [`MAX_COMMANDS`] that are heard, to be told that the guest is busy. More wait to be accepted.
const SPARE_CONNECTIONS: usize = 64;

/// The stack of a connection's thread. Its buffers are on the heap.
const STACK_BYTES: usize = 128 << 10;

/// How long to wait after a failed accept or a thread that could not start: for others to end.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Serves until the guest ends.
pub(super) fn run() -> ! {
    let Err(error) = control_connection().and_then(|mut control| {
        serve(&mut control).inspect_err(|error| boot::report(&mut control, error))
    });
    console::say(&format!("fatal: {}", console::one_line(&error)));
    power::force_off()
}

fn control_connection() -> Result<File, StartError> {
    let control = io::stdout().as_fd().try_clone_to_owned();
    control
        .map(File::from)
        .map_err(StartError::step("take over", "the control connection"))
}

fn serve(control: &mut File) -> Result<Infallible, StartError> {
    let (config, ready) = starting_orders()?;
    detach().map_err(StartError::step("detach from", "the boot process"))?;
    let listener = Listener::open()?;
    let commands = Arc::new(Commands::new(config));
    thread::Builder::new()
        .spawn(move || commands.accept_from(&listener))
        .map_err(StartError::step(
            "start",
            "the thread that accepts commands",
        ))?;
    let init = ready.init.clone();
    write_frame(control, &Frame::Ready(ready)).map_err(StartError::step("write to", "the host"))?;
    control::serve(control, init.as_deref());
    // Without its control connection the host can still run commands.
    loop {
        thread::park();
    }
}

/// Reads the two frames that the boot process leaves on the standard input.
fn starting_orders() -> Result<(Config, Ready), StartError> {
    let mut input = io::stdin().lock();
    match (read_frame(&mut input)?, read_frame(&mut input)?) {
        (Some(Frame::Configure(config)), Some(Frame::Ready(ready))) => Ok((config, ready)),
        _ => Err(StartError::UnexpectedFrame),
    }
}

/// Leaves the boot process's session, signals and pipes behind.
fn detach() -> io::Result<()> {
    setsid()?;
    // Otherwise it would be called `exe`.
    set_name(c"vm-agent")?;
    // What the server starts gets an empty mask again, from `process::unblock_signals`.
    SigSet::all().thread_block()?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    // Each command takes up to ten descriptors while it starts; the usual soft limit is 1024, the hard one 4096.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

/// What the connections' threads share.
#[derive(Debug)]
struct Commands {
    defaults: Config,
    counts: Mutex<Counts>,
    /// Notified when a connection ends.
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Counts {
    connections: usize,
    commands: usize,
}

impl Commands {
    fn new(defaults: Config) -> Self {
        Self {
            defaults,
            counts: Mutex::default(),
            ended: Condvar::new(),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
        self.ended.notify_one();
    }

    fn accept_from(self: &Arc<Self>, listener: &Listener) {
        loop {
            let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            let full = |counts: &mut Counts| counts.connections >= MAX_COMMANDS + SPARE_CONNECTIONS;
            drop(self.ended.wait_while(counts, full));
            match listener
                .accept()
                .and_then(|connection| self.start_thread(connection))
            {
                Ok(()) => {}
                Err(_) => thread::sleep(RETRY_PAUSE),
            }
        }
    }

    fn start_thread(self: &Arc<Self>, connection: File) -> io::Result<()> {
        let place = Place::take(self, |counts| &mut counts.connections);
        thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let commands = Arc::clone(&place.commands);
                job::serve(connection, &commands.defaults, || commands.command_place());
                drop(place);
            })?;
        Ok(())
    }

    /// A place for one command more, unless [`MAX_COMMANDS`] run.
    fn command_place(self: &Arc<Self>) -> Option<Place> {
        let place = Place::take(self, |counts| &mut counts.commands);
        let running = self
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .commands;
        (running <= MAX_COMMANDS).then_some(place)
    }
}

/// One connection or command that is counted, until this is dropped.
struct Place {
    commands: Arc<Commands>,
    counter: fn(&mut Counts) -> &mut usize,
}

impl Place {
    fn take(commands: &Arc<Commands>, counter: fn(&mut Counts) -> &mut usize) -> Self {
        commands.change(|counts| *counter(counts) += 1);
        Self {
            commands: Arc::clone(commands),
            counter,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.commands.change(|counts| *(self.counter)(counts) -= 1);
    }
}
