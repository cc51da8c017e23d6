//! What a guest wrote is there again, byte for byte.

use session::{Session, SessionState, Status};

use super::bed::{Bed, noise, sh};

const FILE_BYTES: usize = 3_000_001;

/// Waits until systemd has started everything; says how that went, and what failed or still waits.
const SETTLED: &str = "for i in $(seq 150); do state=$(systemctl is-system-running 2>&1); \
                       case $state in running|degraded) break;; esac; sleep 1; done; \
                       echo $(cat /proc/1/comm) $state; \
                       systemctl list-units --failed --no-legend --plain; systemctl list-jobs --no-legend";

/// Writes files in a session and reads them in the resumed one, which `look` then sees.
fn round_trip(bed: &Bed, look: impl FnOnce(&Session)) {
    let bytes = noise(FILE_BYTES);
    let session = bed.start("trip");
    assert_eq!(
        bed.store.session("trip").unwrap().state,
        SessionState::Running
    );
    let write = session
        .command("sh")
        .args(["-c", "mkdir -p /d && cat > /d/file && sync"]);
    let written = write.stdin(bytes.clone()).output().wait().unwrap();
    assert!(written.status.success(), "{written:?}");
    sh(
        &session,
        "ln -s file /d/link; chmod 640 /d/file; touch '/d/a name'",
    );
    let snapshot = bed.shut_down(&session);
    assert_eq!(session.status(), Status::Stopped(snapshot.clone()));
    assert!(snapshot.new_bytes >= FILE_BYTES as u64);
    assert!(
        snapshot.stored_bytes < 10 * FILE_BYTES as u64,
        "{snapshot:?}"
    );
    println!("{:?}", session.timings());
    drop(session);

    let info = bed.store.session("trip").unwrap();
    assert_eq!(
        (info.state, info.snapshot),
        (SessionState::Stopped, snapshot.digest)
    );
    assert_eq!(bed.store.resolve("trip").unwrap(), snapshot.digest);
    let again = bed.resume("trip");
    let read = again.command("cat").arg("/d/link").output().wait().unwrap();
    assert!(
        read.stdout == bytes,
        "{} bytes came back",
        read.stdout.len()
    );
    let listed = sh(&again, "stat -c '%a %s' /d/file; ls /d");
    assert_eq!(listed, format!("640 {FILE_BYTES}\na name\nfile\nlink\n"));
    look(&again);
    let second = bed.shut_down(&again);
    assert_ne!(second.digest, snapshot.digest);
    assert!(
        second.new_bytes < FILE_BYTES as u64,
        "reading stores nothing: {second:?}"
    );
}

#[test]
fn a_busybox_guest_comes_back_with_its_files() {
    round_trip(&Bed::busybox(), |_| ());
}

#[test]
fn a_debian_guest_comes_back_with_its_files() {
    round_trip(&Bed::debian(), |session| {
        let state = sh(session, SETTLED);
        assert!(state.starts_with("systemd running\n"), "{state}");
    });
}

#[test]
fn many_shutdowns_in_a_row_keep_all_files() {
    let bed = Bed::busybox();
    bed.shut_down(&bed.start("row"));
    for round in 0..2 {
        let session = bed.resume("row");
        sh(&session, &format!("echo {round} >> /rounds"));
        bed.shut_down(&session);
    }
    let session = bed.resume("row");
    assert_eq!(sh(&session, "cat /rounds"), "0\n1\n");
}
