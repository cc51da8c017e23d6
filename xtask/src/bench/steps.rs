//! Steps of a measurement, shown as they go and timed as processes.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

use super::BenchError;
use super::statistics::median;
use super::table::seconds;
use crate::command;
use crate::file_error::file_error;

/// A step that takes longer is measured once, others three times.
const ONCE_SECONDS: f64 = 10.0;
const ROUNDS: usize = 3;

/// What a step took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Time {
    pub(super) seconds: f64,
    /// Of all cores, user and system.
    pub(super) cpu_seconds: f64,
}

impl Time {
    /// One after the other.
    pub(super) fn and(self, next: Self) -> Self {
        Self {
            seconds: self.seconds + next.seconds,
            cpu_seconds: self.cpu_seconds + next.cpu_seconds,
        }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wall, cpu) = (seconds(self.seconds), seconds(self.cpu_seconds));
        write!(f, "{wall} ({cpu} of CPU)")
    }
}

/// A folder for the files of steps, and the list that a person watches.
#[derive(Debug)]
pub(super) struct Steps {
    work: PathBuf,
}

impl Steps {
    /// Begins with an empty folder `work`; what it held is removed.
    ///
    /// # Errors
    /// [`BenchError::File`].
    pub(super) fn begin(work: &Path) -> Result<Self, BenchError> {
        remove(work)?;
        fs::create_dir_all(work).map_err(file_error("create", work))?;
        Ok(Self {
            work: work.to_owned(),
        })
    }

    /// A new and empty folder `name`, without what an earlier one of that name held.
    ///
    /// # Errors
    /// [`BenchError::File`].
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf, BenchError> {
        let folder = self.path(name)?;
        fs::create_dir_all(&folder).map_err(file_error("create", &folder))?;
        Ok(folder)
    }

    /// A path where nothing is any more.
    ///
    /// # Errors
    /// [`BenchError::File`].
    pub(super) fn path(&self, name: &str) -> Result<PathBuf, BenchError> {
        let path = self.work.join(name);
        remove(&path)?;
        Ok(path)
    }

    /// The path `name`, whatever is there.
    pub(super) fn place(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }

    /// Removes all files of the steps.
    ///
    /// # Errors
    /// [`BenchError::File`].
    pub(super) fn end(self) -> Result<(), BenchError> {
        remove(&self.work)
    }

    /// Does something that is not measured.
    ///
    /// # Errors
    /// What `prepare` gives.
    pub(super) fn prepare<T>(
        &self,
        name: &str,
        prepare: impl FnOnce() -> Result<T, BenchError>,
    ) -> Result<T, BenchError> {
        show(&format!("  {name} …"));
        let begun = Instant::now();
        let done = prepare()?;
        println!(" {:.1} s", begun.elapsed().as_secs_f64());
        Ok(done)
    }

    /// Times the commands that `round` returns, one after the other, once unmeasured and then as often as it counts.
    ///
    /// What `round` does itself is not timed. The result is the median round.
    ///
    /// # Errors
    /// What `round` gives, or [`BenchError::Command`] if a command fails.
    pub(super) fn measure(
        &self,
        name: &str,
        mut round: impl FnMut(usize) -> Result<Vec<Command>, BenchError>,
    ) -> Result<Time, BenchError> {
        show(&format!("  {name}: warming up …"));
        let warm = timed(&mut round(0)?)?;
        let rounds = match warm.seconds < ONCE_SECONDS {
            true => ROUNDS,
            false => 1,
        };
        let mut times = Vec::new();
        for number in 1..=rounds {
            show(&format!(" {number} of {rounds} …"));
            times.push(timed(&mut round(number)?)?);
        }
        let of = |part: fn(&Time) -> f64| {
            let parts: Vec<f64> = times.iter().map(part).collect();
            median(&parts).unwrap_or(f64::NAN)
        };
        let time = Time {
            seconds: of(|time| time.seconds),
            cpu_seconds: of(|time| time.cpu_seconds),
        };
        println!(" {time}");
        Ok(time)
    }
}

fn timed(commands: &mut [Command]) -> Result<Time, BenchError> {
    let before = children_seconds()?;
    let begun = Instant::now();
    for command in commands {
        command::run(command)?;
    }
    Ok(Time {
        seconds: begun.elapsed().as_secs_f64(),
        cpu_seconds: children_seconds()? - before,
    })
}

/// CPU time of all processes that this one has waited for.
fn children_seconds() -> Result<f64, BenchError> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).map_err(BenchError::Usage)?;
    let total = usage.user_time() + usage.system_time();
    // A session's worth of microseconds is far below 2^52.
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    Ok(total.num_microseconds() as f64 / 1e6)
}

fn show(text: &str) {
    print!("{text}");
    // A terminal that is gone is no reason to stop measuring.
    let _ = io::stdout().flush();
}

fn remove(path: &Path) -> Result<(), BenchError> {
    let removed = match path.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    match removed {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(file_error("remove", path)(source).into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_repeated_in_a_folder_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let work = folder.path().join("work");
        fs::create_dir(&work).unwrap();
        fs::write(work.join("left"), "by an earlier run").unwrap();
        let steps = Steps::begin(&work).unwrap();
        assert!(!work.join("left").exists());
        let mut rounds = Vec::new();
        let time = steps.measure("true", |round| {
            rounds.push(round);
            Ok(vec![Command::new("true"), Command::new("true")])
        });
        assert!(time.unwrap().seconds < ONCE_SECONDS);
        assert_eq!(rounds, [0, 1, 2, 3]);
        steps.end().unwrap();
        assert!(!work.exists());
    }

    #[test]
    fn times_add_up_and_show_the_cpus_part() {
        let time = Time {
            seconds: 1.5,
            cpu_seconds: 0.25,
        };
        assert_eq!(time.and(time).to_string(), "3 s (500 ms of CPU)");
    }
}
