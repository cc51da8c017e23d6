//! Sessions beside each other, and what they leave alone.

use session::{ErrorKind, Status};

use super::bed::{Bed, sh};

#[test]
fn two_sessions_from_one_snapshot_do_not_see_each_other() {
    let bed = Bed::busybox();
    let (a, b) = std::thread::scope(|scope| {
        let a = scope.spawn(|| bed.start("a"));
        let b = bed.start("b");
        (a.join().unwrap(), b)
    });
    sh(&a, "echo a > /which; sync");
    sh(&b, "test ! -e /which; echo b > /which; sync");
    assert_eq!(sh(&a, "cat /which"), "a\n");
    let taken = bed.store.remove_session("a").unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::Busy);
    bed.shut_down(&a);
    bed.shut_down(&b);
    assert_eq!(sh(&bed.resume("a"), "cat /which"), "a\n");
    assert_eq!(sh(&bed.resume("b"), "cat /which"), "b\n");
    let clean = bed.start("c");
    assert_eq!(sh(&clean, "ls /which 2>/dev/null || echo none"), "none\n");
}

#[test]
fn terminating_leaves_nothing_but_the_base() {
    let bed = Bed::busybox();
    let session = bed.start("gone");
    sh(&session, "echo x > /x; sync");
    session.terminate().wait().unwrap();
    assert_eq!(session.status(), Status::Terminated);
    assert!(session.shutdown().wait().is_err());
    let late = session.command("true").output().wait().unwrap_err();
    assert!(late.to_string().contains("terminated"), "{late}");
    assert!(bed.store.sessions().unwrap().is_empty());
    assert!(bed.store.resolve("gone").unwrap_err().is_not_found());
    bed.check(bed.image);
    let fresh = bed.start("gone");
    assert_eq!(sh(&fresh, "ls /x 2>/dev/null || echo none"), "none\n");
    // A session that was shut down can be terminated, too.
    bed.shut_down(&fresh);
    fresh.terminate().wait().unwrap();
    assert!(bed.store.sessions().unwrap().is_empty());
}

#[test]
fn hostname_memory_and_processors_are_as_asked_and_kept() {
    let bed = Bed::busybox();
    let builder = session::Session::from_snapshot(&bed.store, bed.image).id("set");
    let builder = builder
        .kernel(super::bed::kernel())
        .hostname("lab-7")
        .vcpus(2)
        .memory_mib(192);
    let session = super::bed::patient(builder).start().wait().unwrap();
    let facts = "hostname; cat /etc/hostname; grep -c ^processor /proc/cpuinfo";
    assert_eq!(sh(&session, facts), "lab-7\nlab-7\n2\n");
    bed.shut_down(&session);
    let again = bed.resume("set");
    assert_eq!(sh(&again, facts), "lab-7\nlab-7\n2\n");
    let total = sh(&again, "grep MemTotal /proc/meminfo");
    let kib: u32 = total.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!((128 << 10..192 << 10).contains(&kib), "{kib} KiB");
}

#[test]
fn a_disk_that_grows_has_a_file_system_that_does() {
    let bed = Bed::busybox();
    let large = super::bed::DISK_BYTES + (2 << 30);
    let from =
        || session::Session::from_snapshot(&bed.store, bed.image).kernel(super::bed::kernel());
    let builder = super::bed::patient(from().id("large").disk_bytes(large));
    let session = builder.start().wait().unwrap();
    // In KiB; a little of the disk is the file system's own.
    let size = "df -k / | tail -1 | awk '{print $2}'";
    let kib = |text: String| text.trim().parse::<u64>().unwrap() << 10;
    assert!(kib(sh(&session, size)) > large / 100 * 95);
    sh(&session, "echo kept > /note; sync");
    bed.shut_down(&session);
    // Once more when it is resumed, and from then on it stays.
    let larger = large + (6 << 30);
    let builder = super::bed::patient(session::Session::resume(&bed.store, "large"));
    let session = builder.disk_bytes(larger).start().wait().unwrap();
    assert!(kib(sh(&session, size)) > larger / 100 * 95);
    assert_eq!(sh(&session, "cat /note"), "kept\n");
    bed.shut_down(&session);
    let shrunk = session::Session::resume(&bed.store, "large").disk_bytes(large);
    let error = shrunk.start().wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    bed.shut_down(&bed.resume("large"));
}
