//! Running tasks: one thread that decides, and one for each task that runs.
//!
//! Invariant: when a [`Runner`] is dropped, every task has ended, and no thread of it is left, but for one that drops it
//! itself as it tells of a task: that ends by itself.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use agent::protocol::{FailureKind, Once};

use super::board::{Board, State};
use super::{Run, Task, TaskState};
use crate::command::{Command, ExitStatus, Guest};
use crate::error::{Error, Repr, one_line};
use crate::event::{Event, Events};

/// How many tasks run at the same time.
const PARALLEL: usize = 4;
/// Whom tasks run as, unless they say so.
const ROOT: &str = "0:0";
const SHELL: &str = "sh";

/// The tasks of a session that runs.
#[derive(Debug)]
pub(crate) struct Runner {
    board: Arc<Board>,
    thread: Option<JoinHandle<()>>,
}

/// What the threads share.
struct Context {
    board: Arc<Board>,
    guest: Arc<dyn Guest>,
    events: Arc<Events>,
    /// The guest's id, which says in whose life a task is done.
    machine: String,
}

impl Runner {
    /// Begins to run what is on the board.
    pub(crate) fn start(
        board: &Arc<Board>,
        guest: Arc<dyn Guest>,
        events: Arc<Events>,
        machine: &str,
    ) -> Self {
        let context = Context {
            board: Arc::clone(board),
            guest,
            events,
            machine: machine.to_owned(),
        };
        let thread = thread::Builder::new().name("tasks".to_owned());
        let thread = match thread.spawn(move || context.run()) {
            Ok(thread) => Some(thread),
            Err(error) => {
                let reason = format!("could not start a thread: {error}");
                board.change(|state| break_all(state, &reason));
                None
            }
        };
        Self {
            board: Arc::clone(board),
            thread,
        }
    }

    /// Lets no further task begin.
    pub(crate) fn cancel(&self) {
        self.board.change(cancel);
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.board.change(|state| {
            cancel(state);
            state
                .entries
                .iter()
                .filter_map(|entry| entry.killer.as_ref())
                .for_each(|k| k.kill());
        });
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that runs tasks panicked");
            self.board
                .change(|state| break_all(state, "a defect in this library"));
        }
    }
}

fn cancel(state: &mut State) {
    state.is_over = true;
    for entry in &mut state.entries {
        if entry.state == TaskState::Waiting {
            entry.state = TaskState::Cancelled;
        }
    }
}

fn break_all(state: &mut State, reason: &str) {
    for entry in &mut state.entries {
        if !entry.state.is_ended() {
            entry.state = TaskState::Broken {
                reason: reason.to_owned(),
            };
        }
    }
}

impl Context {
    fn run(&self) {
        thread::scope(|scope| {
            let mut state = self.board.lock();
            loop {
                let skipped = skip_hopeless(&mut state);
                if !skipped.is_empty() {
                    drop(state);
                    skipped.into_iter().for_each(|at| self.tell(at));
                    state = self.board.lock();
                    continue;
                }
                if state.is_ended() {
                    break;
                }
                let deadline = kill_late(&mut state);
                if let Some(at) = next(&state) {
                    state.entries[at].state = TaskState::Running;
                    let thread = thread::Builder::new().name("task".to_owned());
                    if let Err(error) = thread.spawn_scoped(scope, move || self.perform(at)) {
                        let reason = format!("could not start a thread: {error}");
                        state.entries[at].state = TaskState::Broken { reason };
                    }
                    continue;
                }
                state = self.board.wait_change(state, deadline);
            }
        });
        // Those who wait may have looked before the last ones were skipped.
        self.board.change(|_| ());
    }

    /// Tells of the end of a task.
    fn tell(&self, at: usize) {
        let status = self.board.lock().entries[at].status();
        tracing::debug!(task = status.name, state = %status.state, "a task ended");
        self.events.tell(Event::TaskEnded { status });
    }

    /// Runs one task to its end.
    fn perform(&self, at: usize) {
        let task = self.board.lock().entries[at].task.clone();
        // Reaching the guest is a part of it.
        self.board.change(|state| {
            state.entries[at].deadline = Instant::now().checked_add(task.timeout);
        });
        let ended = self.command(&task).follow(
            |killer| {
                let mut state = self.board.lock();
                // Whoever ends the session, or late tasks, has gone through the killers that were there.
                if state.is_over || state.entries[at].is_late {
                    killer.kill();
                }
                state.entries[at].killer = Some(killer);
            },
            |bytes| self.board.print(at, bytes),
        );
        let ended = state_after(ended);
        self.board.change(|state| {
            let entry = &mut state.entries[at];
            entry.killer = None;
            entry.deadline = None;
            entry.state = match ended {
                TaskState::Broken { .. } if entry.is_late => TaskState::TimedOut,
                ended => ended,
            };
        });
        self.tell(at);
    }

    fn command(&self, task: &Task) -> Command {
        let guest = Arc::clone(&self.guest);
        let command = match &task.run {
            Run::Script(script) => Command::new(guest, SHELL.to_owned()).args(["-c", script]),
            Run::Command(argv) => {
                let (program, args) = argv
                    .split_first()
                    .map_or(("", argv.as_slice()), |(p, a)| (p, a));
                Command::new(guest, program.to_owned()).args(args.to_vec())
            }
        };
        let variables = task.env.iter();
        let command = variables.fold(command, |command, (name, value)| command.env(name, value));
        // Where commands start may be what a task has yet to make.
        let command = command.cwd("/").user(task.user.as_deref().unwrap_or(ROOT));
        match task.every_start {
            true => command,
            false => command.once(Once {
                task: task.name.clone(),
                machine: self.machine.clone(),
            }),
        }
    }
}

fn state_after(ended: Result<ExitStatus, Error>) -> TaskState {
    match ended {
        Ok(status) if status.success() => TaskState::Done,
        Ok(status) => TaskState::Failed(status),
        Err(error) => match error.repr() {
            Repr::Command {
                kind: FailureKind::DoneBefore,
                ..
            } => TaskState::DoneBefore,
            _ => TaskState::Broken {
                reason: one_line(&error),
            },
        },
    }
}

/// Ends the tasks whose needs did not succeed; which ones.
fn skip_hopeless(state: &mut State) -> Vec<usize> {
    let mut skipped = Vec::new();
    for at in 0..state.entries.len() {
        let entry = &state.entries[at];
        if entry.state != TaskState::Waiting {
            continue;
        }
        let has_failed = |need: &&String| {
            let found = state.state_of(need);
            found.is_none_or(|need| need.is_ended() && !need.is_success())
        };
        if let Some(need) = entry.task.needs.iter().find(has_failed).cloned() {
            state.entries[at].state = TaskState::Skipped { need };
            skipped.push(at);
        }
    }
    skipped
}

/// Kills what has taken too long; when the next one will have.
fn kill_late(state: &mut State) -> Option<Instant> {
    let now = Instant::now();
    for entry in &mut state.entries {
        if entry.deadline.is_some_and(|deadline| deadline <= now) {
            entry.deadline = None;
            entry.is_late = true;
            if let Some(killer) = &entry.killer {
                killer.kill();
            }
        }
    }
    state
        .entries
        .iter()
        .filter_map(|entry| entry.deadline)
        .min()
}

/// A task that can begin.
fn next(state: &State) -> Option<usize> {
    if state.is_over || state.running() >= PARALLEL {
        return None;
    }
    let is_ready = |task: &Task| {
        let mut needs = task.needs.iter();
        needs.all(|need| state.state_of(need).is_some_and(TaskState::is_success))
    };
    let mut entries = state.entries.iter();
    entries.position(|entry| entry.state == TaskState::Waiting && is_ready(&entry.task))
}
