//! Power cuts after every change, and disks that fill up or fail at every change.

mod facts;
mod log;
mod scenarios;
mod world;

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rootfs_store::Store;
use tempfile::TempDir;

use facts::Expected;
use log::{Fault, Log, Step};
use scenarios::Scenario;
use world::{Fate, World};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// A folder in memory where there is one: thousands of stores are made here, and what a sync does is simulated.
fn scratch() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// Runs a scenario in a new folder whose changes are recorded, and fail as `fault` says.
fn record(
    scenario: Scenario,
    dir: &Path,
    fault: Option<Fault>,
) -> (Arc<Log>, Result<(), Box<dyn Error>>) {
    let root = dir.join("store");
    fs::create_dir(&root).unwrap();
    let log = Arc::new(Log::new(&root, fault));
    let watch = Arc::clone(&log);
    let result = Store::open_watched(&root, watch)
        .map_err(Into::into)
        .and_then(|store| scenario(&store, &log, dir));
    (log, result)
}

/// Cuts the power after every change, in several ways, and checks what is there then.
fn survives_every_cut(scenario: Scenario) {
    let dir = scratch();
    let (log, result) = record(scenario, dir.path(), None);
    result.unwrap();
    let steps = log.steps();
    let mut expected = Expected::of(&steps);
    let mut world = World::new();
    for (number, step) in steps.iter().enumerate() {
        expected.follow(step);
        if world.follow(step) {
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
    assert!(steps.len() > 20, "hardly anything was recorded");
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
    let store = Store::open(&root).unwrap();
    expected.check(&store, dir.path());
    // A collection takes nothing of that.
    store.gc(Duration::ZERO, &()).unwrap();
    expected.check(&store, dir.path());
}

/// Lets each change fail in its turn; what the caller knows stays so, and the same can be done again afterwards.
fn survives_every_fault(scenario: Scenario, errno: i32, stays: bool, again: bool) {
    let dir = scratch();
    let (log, result) = record(scenario, dir.path(), None);
    result.unwrap();
    let snapshots = log.steps();
    for at in 0..log.changes() {
        let _shown_if_it_fails = Shown(format!("change {at} fails with errno {errno}"));
        let dir = scratch();
        let fault = Fault {
            at,
            stays,
            errno,
            again,
        };
        let (log, result) = record(scenario, dir.path(), Some(fault));
        // What only cleans up may fail unnoticed.
        if let Err(error) = &result {
            assert!(!error.to_string().is_empty());
        }
        let mut expected = Expected::of(&snapshots);
        log.steps().iter().for_each(|step| expected.follow(step));
        let root = dir.path().join("store");
        expected.check(&Store::open(&root).unwrap(), dir.path());
        // The folder is good for the whole of it, too.
        fs::remove_dir_all(root.join("disks")).unwrap_or_default();
        let again = Log::new(&root, None);
        scenario(&Store::open(&root).unwrap(), &again, dir.path()).unwrap();
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
    survives_every_cut(scenarios::import_and_name);
}

#[test]
fn every_cut_of_a_disks_life_leaves_what_was_reported() {
    survives_every_cut(scenarios::disk_life);
}

#[test]
fn every_cut_of_live_commits_leaves_what_was_reported() {
    survives_every_cut(scenarios::live_commits);
}

#[test]
fn every_cut_of_collections_leaves_what_was_reported() {
    survives_every_cut(scenarios::collections);
}

#[test]
fn every_cut_of_compactions_leaves_what_was_reported() {
    survives_every_cut(scenarios::compactions);
}

#[test]
fn full_disk_at_any_change_loses_nothing() {
    for scenario in scenarios::ALL {
        survives_every_fault(scenario, ENOSPC, true, false);
    }
}

#[test]
fn error_of_the_disk_at_any_change_loses_nothing() {
    for scenario in scenarios::ALL {
        survives_every_fault(scenario, EIO, false, false);
    }
}

#[test]
fn whatever_failed_works_again_when_the_disk_has_room() {
    for scenario in scenarios::ALL {
        survives_every_fault(scenario, ENOSPC, true, true);
    }
}

#[test]
fn whatever_failed_works_again_after_an_error_of_the_disk() {
    for scenario in scenarios::ALL {
        survives_every_fault(scenario, EIO, false, true);
    }
}
