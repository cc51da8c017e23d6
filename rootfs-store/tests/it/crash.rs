//! Power cuts after every change, and disks that fill up or fail at every change.

mod facts;
mod log;
mod scenarios;
mod world;

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rootfs_store::{Store, StoreError, StoreOptions};
use tempfile::TempDir;

use facts::Expected;
use log::{Fault, Log, Step};
use scenarios::{Act, Scenario};
use world::{Fate, World};

use crate::remote::origin::{self, Memory};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// A folder in memory where there is one: thousands of stores are made here, and what a sync does is simulated.
fn scratch() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// The registry that all of these stores read from; it has what any scenario put there, by digest.
static ORIGIN: LazyLock<Arc<Memory>> = LazyLock::new(Arc::default);

fn open(root: &Path, watch: Option<Arc<Log>>) -> Result<Store, StoreError> {
    let options = StoreOptions {
        watch: watch.map(|watch| watch as _),
        ..origin::options(&ORIGIN)
    };
    Store::open_with(root, options)
}

/// A folder where a scenario begins, and the changes that led to it.
struct Start {
    dir: TempDir,
    steps: Vec<Step>,
}

impl Start {
    fn of(scenario: &Scenario) -> Self {
        let dir = scratch();
        fs::create_dir(dir.path().join("store")).unwrap();
        let mut start = Self {
            dir,
            steps: Vec::new(),
        };
        if let Some(before) = scenario.before {
            let (log, result) = run(before, start.dir.path(), Vec::new(), None);
            result.unwrap();
            start.steps = log.steps();
        }
        start
    }

    /// Runs the scenario in a copy whose changes are recorded, and fail as `fault` says.
    fn record(
        &self,
        scenario: &Scenario,
        dir: &Path,
        fault: Option<Fault>,
    ) -> (Arc<Log>, Result<(), Box<dyn Error>>) {
        let from = self.dir.path().join(".");
        let copied = Command::new("cp").arg("-a").args([&from, dir]).status();
        assert!(copied.unwrap().success());
        run(scenario.act, dir, self.steps.clone(), fault)
    }
}

fn run(
    act: Act,
    dir: &Path,
    steps: Vec<Step>,
    fault: Option<Fault>,
) -> (Arc<Log>, Result<(), Box<dyn Error>>) {
    let root = dir.join("store");
    let log = Arc::new(Log::new(&root, steps, fault));
    let watch = Arc::clone(&log);
    let result = open(&root, Some(watch))
        .map_err(Into::into)
        .and_then(|store| act(&store, &log, dir));
    (log, result)
}

/// Cuts the power after every change and every report, in several ways, and checks what is there then.
fn survives_every_cut(scenario: &Scenario) {
    let start = Start::of(scenario);
    let dir = scratch();
    let (log, result) = start.record(scenario, dir.path(), None);
    result.unwrap();
    let steps = log.steps();
    let mut expected = Expected::of(&steps);
    let mut world = World::new();
    for (number, step) in steps.iter().enumerate() {
        expected.follow(step);
        let is_cut = world.follow(step) || matches!(step, Step::Done(_));
        if is_cut && number >= start.steps.len() {
            let seed = number as u64 + 1;
            for (names, bytes) in [
                (Fate::Lost, Fate::Lost),
                (Fate::Kept, Fate::Lost),
                (Fate::Kept, Fate::Kept),
                (Fate::Chance(seed), Fate::Chance(seed)),
            ] {
                check_cut(&world, &expected, names, bytes, (number, step));
            }
        }
    }
    assert!(
        steps.len() > start.steps.len() + 20,
        "hardly anything was recorded"
    );
}

/// Kills the process after every change that `kills`, which leaves all that it wrote to be read but not on the disk;
/// then cuts the power after every change and report of the next process.
fn survives_every_cut_of_the_next_life(
    scenario: &Scenario,
    kills: fn(&Step, &Expected) -> bool,
    next: Act,
) {
    let dir = scratch();
    let (log, result) = Start::of(scenario).record(scenario, dir.path(), None);
    result.unwrap();
    let steps = log.steps();
    let (mut expected, mut world) = (Expected::of(&steps), World::new());
    let mut lives = 0;
    for (number, step) in steps.iter().enumerate() {
        expected.follow(step);
        if world.follow(step) && kills(step, &expected) {
            let _shown_if_it_fails = Shown(format!("killed after step {number}: {}", brief(step)));
            cut_next_life(world.clone(), expected.clone(), next);
            lives += 1;
        }
    }
    assert!(lives > 10, "hardly anything was recorded");
}

fn cut_next_life(mut world: World, mut expected: Expected, next: Act) {
    let dir = scratch();
    let root = dir.path().join("store");
    fs::create_dir(&root).unwrap();
    world.cut(&root, Fate::Kept, Fate::Kept);
    let (log, result) = run(next, dir.path(), Vec::new(), None);
    result.unwrap();
    for (number, step) in log.steps().iter().enumerate() {
        expected.follow(step);
        if world.follow(step) || matches!(step, Step::Done(_)) {
            let seed = number as u64 + 1;
            for fate in [Fate::Lost, Fate::Chance(seed)] {
                check_cut(&world, &expected, fate, fate, (number, step));
            }
            check_cut(&world, &expected, Fate::Kept, Fate::Lost, (number, step));
        }
    }
}

fn check_cut(
    world: &World,
    expected: &Expected,
    names: Fate,
    bytes: Fate,
    (number, step): (usize, &Step),
) {
    let dir = scratch();
    let root = dir.path().join("store");
    fs::create_dir(&root).unwrap();
    world.cut(&root, names, bytes);
    let _shown_if_it_fails = Shown(format!(
        "cut after step {number}, names {names:?}, bytes {bytes:?}: {}",
        brief(step)
    ));
    let store = open(&root, None).unwrap();
    expected.check(&store, dir.path());
    expected.check_held(&store, dir.path());
    // A collection takes nothing of what was reported, but for what only the process that died held.
    store.gc(Duration::ZERO, &()).unwrap();
    expected.check(&store, dir.path());
}

/// Lets each change fail in its turn; what the caller knows stays so, and the same can be done again afterwards.
fn survives_every_fault(scenario: &Scenario, errno: i32, stays: bool, again: bool) {
    let start = Start::of(scenario);
    let dir = scratch();
    let (log, result) = start.record(scenario, dir.path(), None);
    result.unwrap();
    let whole = log.steps();
    for at in 0..log.changes() {
        let _shown_if_it_fails = Shown(format!(
            "change {at} of {} fails with errno {errno}",
            scenario.name
        ));
        let dir = scratch();
        let fault = Fault {
            at,
            stays,
            errno,
            again,
        };
        let (log, result) = start.record(scenario, dir.path(), Some(fault));
        // What only cleans up may fail unnoticed.
        if let Err(error) = &result {
            assert!(!error.to_string().is_empty());
        }
        // What follows a fault may be another snapshot than without one.
        let steps = log.steps();
        let mut expected = Expected::of(&[whole.as_slice(), &steps].concat());
        steps.iter().for_each(|step| expected.follow(step));
        let root = dir.path().join("store");
        expected.check(&open(&root, None).unwrap(), dir.path());
        // The folder is good for the whole of it, too.
        fs::remove_dir_all(root.join("disks")).unwrap_or_default();
        let again = Log::new(&root, Vec::new(), None);
        (scenario.act)(&open(&root, None).unwrap(), &again, dir.path()).unwrap();
    }
}

/// Says where a test was when it fails.
struct Shown(String);

impl Drop for Shown {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

fn brief(step: &Step) -> String {
    let mut text = format!("{step:?}");
    text.truncate(200);
    text
}

#[test]
fn every_cut_of_imports_and_names_leaves_what_was_reported() {
    survives_every_cut(&scenarios::IMPORT_AND_NAME);
}

#[test]
fn every_cut_of_raw_disks_leaves_what_was_reported() {
    survives_every_cut(&scenarios::RAW_DISKS);
}

#[test]
fn every_cut_of_growths_leaves_what_was_reported() {
    survives_every_cut(&scenarios::GROWTHS);
}

#[test]
fn every_cut_of_a_disks_life_leaves_what_was_reported() {
    survives_every_cut(&scenarios::DISK_LIFE);
}

#[test]
fn every_cut_of_live_commits_leaves_what_was_reported() {
    survives_every_cut(&scenarios::LIVE_COMMITS);
}

#[test]
fn every_cut_between_the_steps_of_a_freeze_leaves_what_was_reported() {
    survives_every_cut(&scenarios::FREEZES);
}

#[test]
fn every_cut_of_commits_without_a_name_leaves_what_was_reported() {
    survives_every_cut(&scenarios::UNNAMED_COMMITS);
}

#[test]
fn every_cut_of_the_life_after_a_killed_one_leaves_what_that_found() {
    let has_begun = |_: &Step, so_far: &Expected| so_far.has_disk();
    survives_every_cut_of_the_next_life(
        &scenarios::ONE_LIVE_COMMIT,
        has_begun,
        scenarios::next_life,
    );
}

#[test]
fn every_cut_of_the_import_after_a_killed_one_leaves_what_was_reported() {
    let changes_names =
        |step: &Step, _: &Expected| matches!(step, Step::CreateDir { .. } | Step::Rename { .. });
    survives_every_cut_of_the_next_life(
        &scenarios::IMPORT_AND_NAME,
        changes_names,
        scenarios::next_import,
    );
}

#[test]
fn every_cut_of_collections_leaves_what_was_reported() {
    survives_every_cut(&scenarios::COLLECTIONS);
}

#[test]
fn every_cut_of_compactions_leaves_what_was_reported() {
    survives_every_cut(&scenarios::COMPACTIONS);
}

#[test]
fn every_cut_of_gatherings_leaves_what_was_reported() {
    survives_every_cut(&scenarios::GATHERINGS);
}

#[test]
fn every_cut_of_repairs_leaves_what_was_reported() {
    survives_every_cut(&scenarios::REPAIRS);
}

#[test]
fn every_cut_of_packs_that_are_elsewhere_leaves_what_was_reported() {
    survives_every_cut(&scenarios::REMOTES);
}

#[test]
fn full_disk_at_any_change_loses_nothing() {
    for scenario in &scenarios::ALL {
        survives_every_fault(scenario, ENOSPC, true, false);
    }
}

#[test]
fn error_of_the_disk_at_any_change_loses_nothing() {
    for scenario in &scenarios::ALL {
        survives_every_fault(scenario, EIO, false, false);
    }
}

#[test]
fn whatever_failed_works_again_when_the_disk_has_room() {
    for scenario in &scenarios::ALL {
        survives_every_fault(scenario, ENOSPC, true, true);
    }
}

#[test]
fn whatever_failed_works_again_after_an_error_of_the_disk() {
    for scenario in &scenarios::ALL {
        survives_every_fault(scenario, EIO, false, true);
    }
}
