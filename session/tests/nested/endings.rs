//! Guests that end, or never begin, by themselves.

use std::time::{Duration, Instant};

use session::{
    AtEnd, ErrorKind, ExtraDrive, Kernel, Limits, Session, SessionState, Snapshot, Status,
};

use super::bed::{Bed, env, kernel, patient, sh};

/// Waits until the guest has ended by itself, and the session with it.
fn wait_for_end(session: &Session) -> Snapshot {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match session.status() {
            Status::Stopped(snapshot) => return snapshot,
            status => assert!(Instant::now() < deadline, "{status}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_session_whose_guest_powers_itself_off_is_shut_down() {
    let bed = Bed::busybox();
    let session = bed.start("off");
    // The shutdown may be faster than the end of the command that asked for it.
    let off = session
        .command("sh")
        .args(["-c", "echo kept > /kept; poweroff"]);
    drop(off.output().wait());
    let snapshot = wait_for_end(&session);
    let late = session.command("true").output().wait().unwrap_err();
    assert!(late.to_string().contains("it was shut down"), "{late}");
    assert_eq!(bed.shut_down(&session), snapshot);
    assert_eq!(sh(&bed.resume("off"), "cat /kept"), "kept\n");
}

#[test]
fn a_session_whose_guest_powers_itself_off_is_thrown_away_if_its_limits_say_so() {
    let bed = Bed::busybox();
    let mut limits = Limits::default();
    limits.at_power_off = AtEnd::Terminate;
    let new = Session::from_snapshot(&bed.store, bed.image).id("gone");
    let session = patient(new.kernel(kernel())).limits(limits).start();
    let session = session.wait().unwrap();
    drop(session.command("poweroff").output().wait());
    let deadline = Instant::now() + Duration::from_secs(180);
    while session.status() != Status::Terminated {
        assert!(Instant::now() < deadline, "{}", session.status());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(bed.store.session("gone").unwrap_err().is_not_found());
}

#[test]
fn a_guest_that_panics_is_quoted_and_keeps_what_it_synced() {
    let bed = Bed::busybox();
    let session = bed.start("panic");
    sh(&session, "echo synced > /synced; sync");
    let crash = session
        .command("sh")
        .args(["-c", "echo c > /proc/sysrq-trigger; sleep 60"]);
    let error = crash.output().wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Guest);
    assert!(
        error
            .to_string()
            .contains("Kernel panic - not syncing: sysrq"),
        "{error}"
    );
    let deadline = Instant::now() + Duration::from_secs(60);
    let reason = loop {
        match session.status() {
            Status::GuestGone { reason } => break reason,
            status => assert!(Instant::now() < deadline, "{status}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(reason.contains("sysrq"), "{reason}");
    // A look by whoever else comes before the watcher is through sees it run.
    let mut info = bed.store.session("panic").unwrap();
    while info.state != SessionState::Failed {
        assert!(Instant::now() < deadline, "{}", info.state);
        std::thread::sleep(Duration::from_millis(20));
        info = bed.store.session("panic").unwrap();
    }
    assert_eq!(info.failure, Some(reason));
    let snapshot = session.shutdown().wait().unwrap();
    assert!(!snapshot.clean);
    let again = bed.resume("panic");
    assert_eq!(sh(&again, "cat /synced"), "synced\n");
    bed.shut_down(&again);
}

#[test]
fn a_guest_that_does_not_shut_down_is_ended_by_force() {
    let bed = Bed::busybox();
    let builder = Session::resume(&bed.store, "stuck");
    bed.shut_down(&bed.start("stuck"));
    let session = patient(builder)
        .shutdown_timeout(Duration::from_secs(3))
        .start()
        .wait()
        .unwrap();
    sh(
        &session,
        "echo synced > /synced; sync; (sleep 1; kill -STOP $(pidof vm-agent)) >/dev/null 2>&1 &",
    );
    std::thread::sleep(Duration::from_secs(3));
    let begun = Instant::now();
    let snapshot = session.shutdown().wait().unwrap();
    assert!(!snapshot.clean && begun.elapsed() < Duration::from_secs(60));
    assert_eq!(sh(&bed.resume("stuck"), "cat /synced"), "synced\n");
}

#[test]
fn a_dropped_session_is_interrupted_and_resumes_with_what_was_synced() {
    let bed = Bed::busybox();
    let session = bed.start("cut");
    sh(&session, "echo synced > /synced; sync");
    drop(session);
    let info = bed.store.session("cut").unwrap();
    assert_eq!(
        (info.state, info.snapshot),
        (SessionState::Interrupted, bed.image)
    );
    let again = bed.resume("cut");
    assert_eq!(sh(&again, "cat /synced"), "synced\n");
    bed.shut_down(&again);
}

#[test]
fn a_kernel_without_its_modules_says_so() {
    let bed = Bed::busybox();
    // By a name that leads to no modules.
    let image = bed.folder.path().join("vmlinuz");
    std::fs::copy(env("VM_TEST_KERNEL"), &image).unwrap();
    let builder = Session::from_snapshot(&bed.store, bed.image).id("bare");
    let builder = patient(builder).kernel(Kernel::from_path(image).unwrap());
    let error = builder.start().wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Guest);
    let text = error.to_string();
    assert!(
        text.contains("agent: fatal") && text.contains("modules"),
        "{text}"
    );
    assert!(bed.store.sessions().unwrap().is_empty());
}

#[test]
fn a_guest_that_is_too_slow_is_given_up_and_stays_as_it_was() {
    let bed = Bed::busybox();
    bed.shut_down(&bed.start("slow"));
    let before = bed.store.session("slow").unwrap();
    let hasty = Session::resume(&bed.store, "slow").boot_timeout(Duration::from_millis(50));
    let error = hasty.start().wait().unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert_eq!(bed.store.session("slow").unwrap(), before);
    sh(&bed.resume("slow"), "true");
}

#[test]
fn a_guest_whose_memory_is_too_small_says_what_it_lacks() {
    let bed = Bed::busybox();
    let start = |mib, vcpus| {
        let builder = Session::from_snapshot(&bed.store, bed.image).id("small");
        let builder = builder.kernel(kernel()).memory_mib(mib).vcpus(vcpus);
        patient(builder).start().wait().unwrap_err()
    };
    // The kernel itself does not fit.
    let error = start(32, 1);
    assert_eq!(error.kind(), ErrorKind::Kernel, "{error}");
    // It fits, and has no room to boot with what each processor takes: a panic in the middle of a start.
    let error = start(66, 8);
    assert_eq!(error.kind(), ErrorKind::Guest, "{error}");
    let text = error.to_string();
    assert!(text.contains("Kernel panic - not syncing"), "{text}");
    assert!(bed.store.sessions().unwrap().is_empty());
}

#[test]
fn a_guest_that_powers_itself_off_without_unmounting_is_not_called_clean() {
    let bed = Bed::busybox();
    let session = bed.start("hasty");
    sh(&session, "echo synced > /synced; sync");
    drop(
        session
            .command("poweroff")
            .args(["-n", "-f"])
            .output()
            .wait(),
    );
    assert!(!wait_for_end(&session).clean);
    // Without end, both times.
    let again = Session::resume(&bed.store, "hasty")
        .boot_timeout(Duration::MAX)
        .shutdown_timeout(Duration::MAX);
    let again = again.start().wait().unwrap();
    assert_eq!(sh(&again, "cat /synced"), "synced\n");
    bed.shut_down(&again);
}

#[test]
fn a_termination_overtakes_a_shutdown() {
    let bed = Bed::busybox();
    let session = bed.start("overtaken");
    sh(
        &session,
        "(sleep 1; kill -STOP $(pidof vm-agent)) >/dev/null 2>&1 &",
    );
    std::thread::sleep(Duration::from_secs(3));
    let begun = Instant::now();
    let shutdown = session.shutdown();
    std::thread::sleep(Duration::from_secs(1));
    session.terminate().wait().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(60));
    let error = shutdown.wait().unwrap_err();
    assert!(error.to_string().contains("terminated"), "{error}");
    assert_eq!(session.status(), Status::Terminated);
    assert!(bed.store.sessions().unwrap().is_empty());
}

#[test]
fn processes_get_the_time_that_a_shutdown_has_and_drives_say_how_they_were_left() {
    let bed = Bed::busybox();
    let data = ExtraDrive::empty("data", 64 << 20).mount("/data");
    let builder = Session::from_snapshot(&bed.store, bed.image).id("late");
    let builder = patient(builder.kernel(kernel())).drive(data);
    let session = builder.start().wait().unwrap();
    let slow = "(trap 'sleep 4; echo late > /data/late; exit' TERM; while :; do sleep 0.1; done) \
                </dev/null >/dev/null 2>&1 & echo note > /data/note; sleep 1";
    sh(&session, slow);
    let snapshot = session.shutdown().wait().unwrap();
    assert!(snapshot.clean && snapshot.drives[0].clean);
    drop(session);
    let session = bed.resume("late");
    let found = sh(
        &session,
        "cat /data/late /data/note; echo lost > /data/lost; sync",
    );
    assert_eq!(found, "late\nnote\n");
    let off = session.command("poweroff").args(["-n", "-f"]);
    drop(off.output().wait());
    let snapshot = wait_for_end(&session);
    assert!(!snapshot.clean && !snapshot.drives[0].clean);
    // What has a journal to replay, and can't be written to, is mounted without it.
    let data = ExtraDrive::from_snapshot("data", &snapshot.drives[0])
        .read_only()
        .mount("/data");
    let builder = Session::from_snapshot(&bed.store, bed.image).id("reader");
    let builder = patient(builder.kernel(kernel())).drive(data);
    let reader = builder.start().wait().unwrap();
    assert_eq!(sh(&reader, "cat /data/note"), "note\n");
    let last = reader.shutdown().wait().unwrap();
    assert_eq!(last.drives[0].digest, snapshot.drives[0].digest);
}
