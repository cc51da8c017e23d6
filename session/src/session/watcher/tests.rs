use std::fs;
use std::sync::mpsc;

use super::*;
use crate::limits::{Limit, Limits};
use crate::session::Status;
use crate::session::turn::tests::Bed;

fn over_at_once(at_end: AtEnd) -> Limits {
    Limits {
        max_uptime: Some(Duration::ZERO),
        at_end,
        ..Limits::none()
    }
}

#[test]
fn a_limit_throws_nothing_away_that_somebody_has_shut_down_meanwhile() {
    let bed = Bed::new();
    *bed.shared().limits() = over_at_once(AtEnd::Terminate);
    assert_eq!(is_due(bed.shared(), Limit::Uptime), Some(AtEnd::Terminate));
    let snapshot = bed.session.shutdown().wait().unwrap();
    end(bed.shared(), || is_due(bed.shared(), Limit::Uptime)).unwrap();
    assert_eq!(bed.session.status(), Status::Stopped(snapshot));
    bed.store.session(bed.session.id()).unwrap();
}

#[test]
fn a_limit_that_is_raised_before_its_turn_comes_ends_nothing() {
    let bed = Bed::new();
    *bed.shared().limits() = over_at_once(AtEnd::Shutdown);
    let turn = Claim::new(bed.shared()).wait();
    let shared = Arc::clone(bed.shared());
    let (done, is_done) = mpsc::channel();
    let ending = thread::spawn(move || {
        end(&shared, || is_due(&shared, Limit::Uptime)).unwrap();
        done.send(()).unwrap();
    });
    assert!(is_done.recv_timeout(Duration::from_millis(100)).is_err());
    *bed.shared().limits() = Limits::none();
    drop(turn);
    ending.join().unwrap();
    assert_eq!(bed.session.status(), Status::Unsaved);
}

#[test]
fn a_limit_that_is_over_ends_the_session_as_it_says_at_that_moment() {
    let bed = Bed::new();
    *bed.shared().limits() = over_at_once(AtEnd::Terminate);
    end(bed.shared(), || is_due(bed.shared(), Limit::Uptime)).unwrap();
    assert_eq!(bed.session.status(), Status::Terminated);
}

fn watcher(shared: &Arc<Shared>) -> Watcher {
    Watcher {
        session: Arc::downgrade(shared),
        over: Arc::clone(&shared.over),
        last_beat: None,
        room: Room::default(),
        retry: Retry::default(),
    }
}

#[test]
fn a_removal_that_failed_is_tried_again_after_a_pause() {
    let bed = Bed::new();
    let shared = bed.shared();
    let mut watcher = watcher(shared);
    let in_the_way = bed.block_removal();
    watcher.end(shared, || Some(AtEnd::Terminate));
    assert!(watcher.look().is_some());
    fs::remove_file(in_the_way).unwrap();
    watcher.try_again(shared);
    assert_eq!(bed.session.status(), Status::Unremoved);
    watcher.retry.quiet_until = None;
    watcher.try_again(shared);
    assert_eq!(bed.session.status(), Status::Terminated);
}

#[test]
fn a_removal_that_failed_for_its_owner_is_tried_again() {
    let bed = Bed::new();
    let in_the_way = bed.block_removal();
    bed.session.terminate().wait().unwrap_err();
    fs::remove_file(in_the_way).unwrap();
    watcher(bed.shared()).try_again(bed.shared());
    assert_eq!(bed.session.status(), Status::Terminated);
}

#[test]
fn a_shutdown_that_was_due_and_failed_is_tried_again_after_a_pause() {
    let bed = Bed::new();
    let shared = bed.shared();
    let mut watcher = watcher(shared);
    let folder = bed.store.dir().join("sessions").join(bed.session.id());
    let elsewhere = folder.with_file_name("elsewhere");
    fs::rename(&folder, &elsewhere).unwrap();
    watcher.end(shared, || Some(AtEnd::Shutdown));
    fs::rename(&elsewhere, &folder).unwrap();
    assert_eq!(bed.session.status(), Status::Unsaved);
    watcher.try_again(shared);
    assert_eq!(bed.session.status(), Status::Unsaved);
    watcher.retry.quiet_until = None;
    watcher.try_again(shared);
    assert!(matches!(bed.session.status(), Status::Stopped(_)));
}

#[test]
fn a_session_whose_guest_is_gone_and_that_nothing_was_to_end_is_left_to_its_owner() {
    let bed = Bed::new();
    watcher(bed.shared()).try_again(bed.shared());
    assert_eq!(bed.session.status(), Status::Unsaved);
}
