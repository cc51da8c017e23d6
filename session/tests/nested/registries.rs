//! Sessions that start from snapshots in a registry, and go on elsewhere.

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use session::{
    Event, Registries, RegistryOptions, Session, Snapshot, SnapshotDigest, Store, StoreOptions,
};
use testbed::{Front, Options, Registry};

use super::bed::{Bed, kernel, next_news, patient, sh};

/// Opens a store that knows the registry behind a front.
fn store(dir: &Path, front: &Front) -> Store {
    let mut registries = RegistryOptions::default();
    registries.plain_http.insert(front.host().to_owned());
    let options = StoreOptions {
        registries: Some(Registries::new(registries).unwrap()),
        ..StoreOptions::default()
    };
    Store::open_with(dir, options).unwrap()
}

/// What a start took from the registry.
#[derive(Debug)]
struct Start {
    requests: usize,
    bytes: u64,
    packs_bytes: u64,
    seconds: f64,
}

impl Start {
    fn share(&self) -> f64 {
        self.bytes as f64 / self.packs_bytes as f64
    }
}

/// Starts a session from a reference in a store that is new, up to the first command's answer.
fn start_lazily(dir: &Path, front: &Front, name: &str) -> (Store, Session, Start) {
    let store = store(dir, front);
    front.clear_log();
    let begun = Instant::now();
    let builder = Session::from_image(&store, format!("docker://{}/{name}", front.host()));
    let session = patient(builder.id("lazy").kernel(kernel()))
        .start()
        .wait()
        .unwrap();
    sh(&session, "true");
    let seconds = begun.elapsed().as_secs_f64();
    let log = front.log();
    let from = store.session("lazy").unwrap().snapshot;
    let start = Start {
        requests: log.len(),
        bytes: log.iter().map(|seen| seen.to_client).sum(),
        packs_bytes: store.snapshot(&from).unwrap().packs_bytes(),
        seconds,
    };
    let (requests, bytes, share) = (start.requests, start.bytes, 100.0 * start.share());
    println!(
        "{name}: {requests} requests, {bytes} bytes, {share:.1} %, {:.1} s",
        start.seconds
    );
    (store, session, start)
}

fn shut_down(session: &Session) -> Snapshot {
    session.shutdown().wait().unwrap()
}

fn push(store: &Store, snapshot: SnapshotDigest, front: &Front, name: &str) {
    let to = format!("{}/{name}", front.host());
    let pushed = store.push(snapshot, to).start().wait().unwrap();
    println!("{name}: {pushed:?}");
}

/// A Debian with systemd starts on a host before a tenth of it is there, and with a boot pack by a handful of requests.
#[test]
fn a_debian_session_starts_from_a_registry_by_a_part_of_it() {
    let registry = Registry::start(&Options::default()).unwrap();
    let front = Front::start(registry.host()).unwrap();
    let bed = Bed::debian();
    let pusher = store(bed.store.dir(), &front);
    push(&pusher, bed.image, &front, "labs/image:v1");

    let session = bed.start("first");
    sh(&session, "echo one > /note");
    let first = shut_down(&session);
    // What that start read lies together in a boot pack.
    let packed = pusher.with_boot_pack(first.digest).start().wait().unwrap();
    push(&pusher, packed.snapshot, &front, "labs/disk:v1");

    // Without a boot profile, each read asks for what it needs.
    let folder = bed.folder.path();
    let (without, session, plain) = start_lazily(&folder.join("without"), &front, "labs/image:v1");
    session.terminate().wait().unwrap();
    drop((session, without));
    let (with, session, together) = start_lazily(&folder.join("with"), &front, "labs/disk:v1");
    assert_eq!(sh(&session, "cat /note"), "one\n");
    let second = shut_down(&session);
    assert!(second.clean);
    assert!(!with.elsewhere(second.digest).unwrap().is_empty());
    assert!(plain.share() <= 0.10, "{plain:?}");
    assert!(together.share() <= 0.10, "{together:?}");
    assert!(
        together.requests * 5 <= plain.requests,
        "{plain:?} {together:?}"
    );
}

/// What one host shut down and pushed goes on at another, and back.
#[test]
fn a_session_goes_to_another_host_and_comes_back() {
    let registry = Registry::start(&Options::default()).unwrap();
    let front = Front::start(registry.host()).unwrap();
    let bed = Bed::busybox();
    let here = store(bed.store.dir(), &front);
    let session = bed.start("first");
    sh(&session, "echo one > /note");
    let first = bed.shut_down(&session);
    push(&here, first.digest, &front, "labs/disk:v1");

    let (there, session, _) =
        start_lazily(&bed.folder.path().join("there"), &front, "labs/disk:v1");
    sh(&session, "echo two >> /note");
    let second = shut_down(&session);
    assert!(second.clean);
    push(&there, second.digest, &front, "labs/disk:v1");

    let pull = here.pull(format!("{}/labs/disk:v1", front.host()), Some("back"));
    assert_eq!(pull.start().wait().unwrap().snapshot, second.digest);
    let third = bed.start_from(second.digest, "third");
    assert_eq!(sh(&third, "cat /note"), "one\ntwo\n");
    bed.shut_down(&third);
}

/// What a guest can't read because the registry is gone is an I/O error to it, and there again later.
#[test]
fn a_guest_reads_on_when_its_registry_is_back() {
    let registry = Registry::start(&Options::default()).unwrap();
    let front = Front::start(registry.host()).unwrap();
    let bed = Bed::busybox();
    let pusher = store(bed.store.dir(), &front);
    let session = bed.start("first");
    sh(
        &session,
        "dd if=/dev/urandom of=/large bs=65536 count=64 2>/dev/null; md5sum /large > /sum",
    );
    let first = bed.shut_down(&session);
    push(&pusher, first.digest, &front, "labs/disk:v1");
    let (_store, session, _) =
        start_lazily(&bed.folder.path().join("lazy"), &front, "labs/disk:v1");
    front.down();
    let reads = session.command("sh").args(["-c", "md5sum -c /sum"]);
    let waits = reads.output();
    std::thread::sleep(std::time::Duration::from_secs(5));
    front.up().unwrap();
    let output = waits.wait().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(shut_down(&session).clean);
}

/// A store as [`store`], whose reads wait for a registry for two seconds only.
fn impatient_store(dir: &Path, front: &Front) -> Store {
    let mut registries = RegistryOptions::default();
    registries.plain_http.insert(front.host().to_owned());
    let options = StoreOptions {
        registries: Some(Registries::new(registries).unwrap()),
        read_patience: Duration::from_secs(2),
        ..StoreOptions::default()
    };
    Store::open_with(dir, options).unwrap()
}

/// Pushes the disk of a session that wrote 4 MiB that no start reads, and pulls it lazily to another store.
fn with_a_large_file(bed: &Bed, front: &Front) -> (Store, SnapshotDigest) {
    let pusher = store(bed.store.dir(), front);
    let session = bed.start("first");
    sh(
        &session,
        "dd if=/dev/urandom of=/large bs=65536 count=64 2>/dev/null; md5sum /large > /sum",
    );
    let first = bed.shut_down(&session);
    push(&pusher, first.digest, front, "labs/disk:v1");
    let lazy = impatient_store(&bed.folder.path().join("lazy"), front);
    let name = format!("{}/labs/disk:v1", front.host());
    lazy.pull_lazily(name, Some("disk")).start().wait().unwrap();
    (lazy, first.digest)
}

/// A registry that stays away longer than a read waits is an I/O error to the guest and an event to its owner.
#[test]
fn a_registry_that_is_gone_is_an_error_to_the_guest_and_an_event_to_its_owner() {
    let registry = Registry::start(&Options::default()).unwrap();
    let front = Front::start(registry.host()).unwrap();
    let bed = Bed::busybox();
    let (lazy, snapshot) = with_a_large_file(&bed, &front);
    let (telling, told) = mpsc::channel();
    let builder = Session::from_snapshot(&lazy, snapshot).kernel(kernel());
    let builder = builder.on_event(move |event| drop(telling.send(event.clone())));
    let session = patient(builder).start().wait().unwrap();
    // Nothing but the content of the file shall be missing.
    sh(&session, "cat /bin/busybox /sum >/dev/null; stat /large");
    assert_eq!(session.disk_trouble(), None);
    front.down();
    let read = session.command("cat").arg("/large").output();
    let output = read.wait().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(complaint.contains("Input/output error"), "{complaint}");
    match next_news(&told) {
        Event::DiskUnreachable { message } => {
            assert!(message.contains(front.host()), "{message}");
        }
        other => panic!("{other:?}"),
    }
    assert!(session.disk_trouble().unwrap().reads > 0);
    front.up().unwrap();
    assert!(sh(&session, "md5sum -c /sum").contains("OK"));
    let next = next_news(&told);
    let again = matches!(next, Event::DiskReachableAgain { failed: 1.., .. });
    assert!(again, "{next:?}");
    assert!(shut_down(&session).clean);
    assert_eq!(session.disk_trouble(), None);
}

/// A session that fetches the rest of its disk in the background needs the registry no more after that.
#[test]
fn a_disk_that_was_filled_while_its_session_ran_reads_without_the_registry() {
    let registry = Registry::start(&Options::default()).unwrap();
    let front = Front::start(registry.host()).unwrap();
    let bed = Bed::busybox();
    let (lazy, snapshot) = with_a_large_file(&bed, &front);
    let builder = Session::from_snapshot(&lazy, snapshot).kernel(kernel());
    let builder = builder.fill_in_background(None);
    let session = patient(builder).start().wait().unwrap();
    sh(&session, "true");
    let begun = Instant::now();
    while !lazy.elsewhere(snapshot).unwrap().is_empty() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "it does not fill"
        );
        thread::sleep(Duration::from_millis(50));
    }
    front.down();
    assert!(sh(&session, "md5sum -c /sum").contains("OK"));
    assert!(shut_down(&session).clean);
}
