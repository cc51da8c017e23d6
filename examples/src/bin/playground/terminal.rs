//! The terminal that `playground` was started in, lent to a guest's command.

use std::io;
use std::os::fd::AsFd;
use std::thread;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use session::{ProcessControl, TerminalSize};

/// What a terminal has that nobody can ask.
const USUAL_SIZE: TerminalSize = TerminalSize {
    rows: 24,
    columns: 80,
};

/// The size of our terminal.
pub(crate) fn size() -> TerminalSize {
    let asked = tcgetwinsize(io::stdin()).or_else(|_| tcgetwinsize(io::stdout()));
    match asked {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => TerminalSize {
            rows: size.ws_row,
            columns: size.ws_col,
        },
        _ => USUAL_SIZE,
    }
}

/// A terminal that passes keys on as they are, Ctrl-C too; it is as it was when this is dropped.
#[derive(Debug)]
pub(crate) struct Raw<T: AsFd = io::Stdin> {
    terminal: T,
    before: Termios,
}

impl<T: AsFd> Raw<T> {
    /// Takes `terminal` over, if it is one.
    pub(crate) fn take(terminal: T) -> Option<Self> {
        if !isatty(&terminal) {
            return None;
        }
        let before = tcgetattr(&terminal).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&terminal, OptionalActions::Drain, &raw).ok()?;
        Some(Self { terminal, before })
    }
}

impl<T: AsFd> Drop for Raw<T> {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _restored_or_gone = tcsetattr(&self.terminal, OptionalActions::Drain, &self.before);
    }
}

/// Hears of changes of our terminal's size (SIGWINCH).
#[derive(Debug)]
pub(crate) struct Window(SignalFd);

impl Window {
    /// Listens from now on, in place of all threads that are started from now on.
    pub(crate) fn listen() -> io::Result<Self> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGWINCH);
        signals.thread_block()?;
        Ok(Self(SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC)?))
    }

    /// Passes each change on to a command, for as long as that runs.
    pub(crate) fn follow(self, command: ProcessControl) {
        thread::spawn(move || {
            while let Ok(Some(_)) = self.0.read_signal() {
                if command.resize(size()).is_err() {
                    return;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Mode, OFlags, open};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::LocalModes;

    #[test]
    fn a_terminal_is_raw_while_it_is_lent_and_then_as_it_was() {
        let main = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&main).unwrap();
        unlockpt(&main).unwrap();
        let name = ptsname(&main, Vec::new()).unwrap();
        let line = open(
            name.as_c_str(),
            OFlags::RDWR | OFlags::NOCTTY,
            Mode::empty(),
        )
        .unwrap();
        let modes = || tcgetattr(&line).unwrap().local_modes;
        let before = modes();
        assert!(before.contains(LocalModes::ISIG | LocalModes::ICANON | LocalModes::ECHO));
        let raw = Raw::take(&line).unwrap();
        assert!(!modes().intersects(LocalModes::ISIG | LocalModes::ICANON | LocalModes::ECHO));
        drop(raw);
        assert_eq!(modes(), before);
    }

    #[test]
    fn what_is_no_terminal_is_left_alone() {
        assert!(Raw::take(std::fs::File::open("/dev/null").unwrap()).is_none());
    }

    #[test]
    fn a_change_of_size_is_heard() {
        let window = Window::listen().unwrap();
        nix::sys::signal::raise(Signal::SIGWINCH).unwrap();
        let heard = window.0.read_signal().unwrap().unwrap();
        assert_eq!(heard.ssi_signo, Signal::SIGWINCH as u32);
    }
}
