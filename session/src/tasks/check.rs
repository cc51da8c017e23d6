//! Whether tasks are a graph that can be run.

use std::collections::{BTreeMap, BTreeSet};

use super::{Run, Task};
use crate::error::{Error, Repr};
use crate::identity::check::{bad, check_owner, check_variable};

const MAX_NAME: usize = 32;
/// The most tasks of a session.
const MAX_TASKS: usize = 256;
/// The most bytes of a script, or of a command's argument: the kernel takes one argument of 128 KiB.
const MAX_ARGUMENT: usize = 120 << 10;
/// The most arguments of a command.
const MAX_ARGUMENTS: usize = 1024;

/// Checks tasks as a whole.
///
/// # Errors
/// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput): one is not acceptable, two have one name, one
/// needs what is not there, or they need each other.
pub(crate) fn check(tasks: &[Task]) -> Result<(), Error> {
    if tasks.len() > MAX_TASKS {
        return Err(bad("tasks", tasks.len(), "a session has at most 256"));
    }
    let mut names = BTreeSet::new();
    for task in tasks {
        check_one(task)?;
        if !names.insert(task.name.as_str()) {
            return Err(bad("task", &task.name, "it is described twice"));
        }
    }
    for task in tasks {
        if let Some(need) = task
            .needs
            .iter()
            .find(|need| !names.contains(need.as_str()))
        {
            let (task, need) = (task.name.clone(), need.clone());
            return Err(Repr::UnknownNeed { task, need }.into());
        }
    }
    match circle(tasks) {
        Some(names) => Err(Repr::TaskCircle { names }.into()),
        None => Ok(()),
    }
}

fn check_one(task: &Task) -> Result<(), Error> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if !(1..=MAX_NAME).contains(&task.name.len()) || !task.name.chars().all(is_plain) {
        let problem = "a name is 1 to 32 lower-case letters, digits, '-' or '_'";
        return Err(bad("task", task.name.escape_debug(), problem));
    }
    let arguments = match &task.run {
        Run::Script(script) => std::slice::from_ref(script),
        Run::Command(argv) => argv.as_slice(),
    };
    let is_empty = arguments.first().is_none_or(String::is_empty);
    let is_argument = |text: &String| text.len() <= MAX_ARGUMENT && !text.contains('\0');
    if is_empty || arguments.len() > MAX_ARGUMENTS || !arguments.iter().all(is_argument) {
        let problem = "it runs nothing, or has a NUL, or more than 120 KiB in one piece";
        return Err(bad("task", &task.name, problem));
    }
    if task.timeout.is_zero() {
        return Err(bad("timeout of task", &task.name, "it is zero"));
    }
    if let Some(user) = &task.user {
        check_owner("user of a task", user)?;
    }
    for (name, value) in &task.env {
        check_variable(name, value)?;
    }
    Ok(())
}

/// The tasks that can never begin, as each of them needs another of them.
fn circle(tasks: &[Task]) -> Option<Vec<String>> {
    let mut left: BTreeMap<&str, &Task> = tasks.iter().map(|task| (task.name(), task)).collect();
    loop {
        let before = left.len();
        let waiting: BTreeSet<&str> = left.keys().copied().collect();
        left.retain(|_, task| {
            task.needs
                .iter()
                .any(|need| waiting.contains(need.as_str()))
        });
        if left.is_empty() {
            return None;
        }
        if left.len() == before {
            return Some(left.keys().map(|&name| name.to_owned()).collect());
        }
    }
}
