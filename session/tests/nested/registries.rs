//! Sessions that start from snapshots in a registry, and go on elsewhere.

use std::path::Path;
use std::time::Instant;

use session::{
    Registries, RegistryOptions, Session, Snapshot, SnapshotDigest, Store, StoreOptions,
};
use testbed::{Front, Options, Registry};

use super::bed::{Bed, kernel, patient, sh};

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

/// A Debian with systemd, run and shut down on one host, starts on another before a tenth of it is there.
#[test]
fn a_debian_session_starts_from_a_registry_by_a_part_of_it() {
    let registry = Registry::start(&Options::default()).unwrap();
    let front = Front::start(registry.host()).unwrap();
    let bed = Bed::debian();
    let pusher = store(bed.store.dir(), &front);
    push(&pusher, bed.image, &front, "labs/image:v1");
    let session = bed.start("first");
    sh(&session, "echo one > /note");
    let first = bed.shut_down(&session);
    push(&pusher, first.digest, &front, "labs/disk:v1");

    // Without a boot profile, each read asks for what it needs.
    let (without, session, plain) =
        start_lazily(&bed.folder.path().join("without"), &front, "labs/image:v1");
    session.terminate().wait().unwrap();
    drop((session, without));
    // With one, fewer requests bring it all; few if what they ask for lies together.
    let (one, session, profiled) =
        start_lazily(&bed.folder.path().join("one"), &front, "labs/disk:v1");
    session.terminate().wait().unwrap();
    drop((session, one));
    let packed = pusher.with_boot_pack(first.digest).start().wait().unwrap();
    push(&pusher, packed.snapshot, &front, "labs/disk:v1");
    let (two, session, together) =
        start_lazily(&bed.folder.path().join("two"), &front, "labs/disk:v1");
    assert_eq!(sh(&session, "cat /note"), "one\n");
    sh(&session, "echo two >> /note");
    let second = shut_down(&session);
    assert!(second.clean);
    assert!(!two.elsewhere(second.digest).unwrap().is_empty());
    push(&two, second.digest, &front, "labs/disk:v1");

    // The first host pulls again, and goes on.
    let pull = pusher.pull(format!("{}/labs/disk:v1", front.host()), Some("back"));
    assert_eq!(pull.start().wait().unwrap().snapshot, second.digest);
    let third = bed.start_from(second.digest, "third");
    assert_eq!(sh(&third, "cat /note"), "one\ntwo\n");
    bed.shut_down(&third);
    assert!(plain.share() <= 0.10, "{plain:?}");
    assert!(profiled.share() <= 0.10, "{profiled:?}");
    assert!(together.share() <= 0.10, "{together:?}");
    assert!(profiled.requests < plain.requests, "{plain:?} {profiled:?}");
    assert!(
        together.requests * 5 <= plain.requests,
        "{plain:?} {together:?}"
    );
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
