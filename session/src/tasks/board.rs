//! Where every task stands, for those who ask and those who wait.
//!
//! Invariant: a task that has ended never changes again.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::{Task, TaskState, TaskStatus};
use crate::command::Killer;

/// How much of a task's output is kept.
const OUTPUT_BYTES: usize = 16 << 10;

/// The tasks of a session.
#[derive(Debug, Default)]
pub(crate) struct Board {
    state: Mutex<State>,
    /// Notified when anything has changed that somebody waits for.
    changed: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) entries: Vec<Entry>,
    /// No task begins any more.
    pub(super) is_over: bool,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) task: Task,
    pub(super) state: TaskState,
    output: Vec<u8>,
    /// For a task that runs.
    pub(super) killer: Option<Killer>,
    pub(super) deadline: Option<Instant>,
    pub(super) is_late: bool,
}

impl Entry {
    fn new(task: Task) -> Self {
        Self {
            task,
            state: TaskState::Waiting,
            output: Vec::new(),
            killer: None,
            deadline: None,
            is_late: false,
        }
    }

    pub(super) fn status(&self) -> TaskStatus {
        TaskStatus {
            name: self.task.name.clone(),
            state: self.state.clone(),
            output: self.output.clone(),
        }
    }

    fn print(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(OUTPUT_BYTES)..];
        let surplus = (self.output.len() + bytes.len()).saturating_sub(OUTPUT_BYTES);
        self.output.drain(..surplus);
        self.output.extend(bytes);
    }
}

impl Board {
    pub(crate) fn new(tasks: Vec<Task>) -> Self {
        Self {
            state: Mutex::new(State {
                entries: tasks.into_iter().map(Entry::new).collect(),
                is_over: false,
            }),
            changed: Condvar::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.lock());
        self.changed.notify_all();
        changed
    }

    pub(super) fn print(&self, at: usize, bytes: &[u8]) {
        self.lock().entries[at].print(bytes);
    }

    /// Waits for a change, or until `deadline`.
    pub(super) fn wait_change<'a>(
        &self,
        state: MutexGuard<'a, State>,
        deadline: Option<Instant>,
    ) -> MutexGuard<'a, State> {
        match deadline {
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                let waited = self.changed.wait_timeout(state, left);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// How all tasks are at this moment, in the order in which they were described.
    pub(crate) fn statuses(&self) -> Vec<TaskStatus> {
        self.lock().entries.iter().map(Entry::status).collect()
    }

    /// Waits until all have ended.
    pub(crate) fn wait(&self) -> Vec<TaskStatus> {
        let mut state = self.lock();
        while !state.is_ended() {
            state = self.wait_change(state, None);
        }
        state.entries.iter().map(Entry::status).collect()
    }
}

impl State {
    pub(super) fn is_ended(&self) -> bool {
        self.entries.iter().all(|entry| entry.state.is_ended())
    }

    pub(super) fn running(&self) -> usize {
        let is_running = |entry: &&Entry| entry.state == TaskState::Running;
        self.entries.iter().filter(is_running).count()
    }

    pub(super) fn state_of(&self, name: &str) -> Option<&TaskState> {
        let entry = self.entries.iter().find(|entry| entry.task.name == name)?;
        Some(&entry.state)
    }
}
