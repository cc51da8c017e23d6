//! Ctrl-C, and the signals that ask a process to end.
//!
//! The first one ends the guest's command, and the session is then shut down as always; the next one ends this process
//! at once, which leaves a session that can be resumed.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use session::ProcessControl;

use crate::failure::{Failure, say};
use crate::terminal::Raw;

/// What a shell reports of a program that Ctrl-C ended.
pub(crate) const STATUS: u8 = 130;

/// What is under way, for when a signal comes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    is_asked: bool,
    session: Option<String>,
    command: Option<ProcessControl>,
    /// The terminal that the command has.
    terminal: Option<Raw>,
}

/// Gives the terminal back when it is dropped.
#[derive(Debug)]
pub(crate) struct Lent(Interrupt);

impl Drop for Lent {
    fn drop(&mut self) {
        self.0.state().terminal = None;
    }
}

impl Interrupt {
    /// Listens from now on.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let interrupt = Self::default();
        let handler = interrupt.clone();
        ctrlc::set_handler(move || handler.signalled())?;
        Ok(interrupt)
    }

    /// Whether the user wants an end.
    pub(crate) fn is_asked(&self) -> bool {
        self.state().is_asked
    }

    pub(crate) fn session_started(&self, id: &str) {
        self.state().session = Some(id.to_owned());
    }

    /// The command that the first signal ends.
    pub(crate) fn command_started(&self, command: ProcessControl) {
        let mut state = self.state();
        if state.is_asked {
            command.kill();
        }
        state.command = Some(command);
    }

    /// Hands the keys of our terminal to the command, if we have one.
    pub(crate) fn lend_terminal(&self) -> Lent {
        self.state().terminal = Raw::take(io::stdin());
        Lent(self.clone())
    }

    fn signalled(&self) {
        let mut state = self.state();
        if state.is_asked {
            state.terminal = None;
            let left = match &state.session {
                Some(id) => format!("session {id} is left as it is: resume it to go on"),
                None => "`playground ls` shows whether a session was started already".to_owned(),
            };
            say(&format!("stopped at once; {left}"));
            std::process::exit(i32::from(STATUS));
        }
        state.is_asked = true;
        say("interrupted: the session will be ended in good order; once more to stop at once");
        if let Some(command) = &state.command {
            command.kill();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
