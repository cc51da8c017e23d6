use std::fs;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::slice;
use std::time::Instant;

use super::*;
use crate::chunk::{DEFAULT_CHUNK_BYTES, Encoder, MIN_CHUNK_BYTES};
use crate::digest::ChunkDigest;
use crate::index::{Locator, PackRef, Page};
use crate::testing::{bomb, bomb_of, snapshot_of};

const DISK: usize = 1 << 20;
const CHUNK: u64 = DEFAULT_CHUNK_BYTES as u64;

/// Chunks that don't compress, so that a snapshot needs several packs, and no two chunks are equal.
fn noise(seed: u64) -> Vec<u8> {
    noise_of(seed, DISK)
}

fn noise_of(seed: u64, len: usize) -> Vec<u8> {
    let mut state = 2 * seed + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..len / 8).flat_map(|_| next()).collect()
}

fn named(store: &Store, name: &str, seed: u64) -> Snapshot {
    let digest = snapshot_of(store, &noise(seed));
    store.set_name(name, &digest).unwrap();
    store.snapshot(&digest).unwrap()
}

/// Changes a blob in place, as a failing disk does.
fn damage(store: &Store, digest: &BlobDigest, at: u64) {
    let path = store.blobs().path(digest);
    let mut bytes = fs::read(&path).unwrap();
    bytes[usize::try_from(at).unwrap()] ^= 0x10;
    replace(&path, &bytes);
}

fn replace(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

fn verify(store: &Store) -> Verified {
    store.verify(&()).unwrap()
}

/// Ranges of the one snapshot that a fault hits.
fn ranges(fault: &Fault) -> &[Range<u64>] {
    assert_eq!(fault.affected.len(), 1, "{fault}");
    &fault.affected[0].ranges
}

#[test]
fn whole_store_has_no_faults_and_counts_what_nothing_needs() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let snapshot = named(&store, "web", 1);
    assert!(snapshot.packs.len() > 2);
    let disk = store.create_disk("d", &snapshot.digest).unwrap();
    disk.write_at(&[1; 5000], 100).unwrap();
    disk.flush().unwrap();
    snapshot_of(&store, &[3; DISK]);
    let verified = verify(&store);
    assert_eq!(verified.faults.len(), 0, "{:?}", verified.faults);
    assert_eq!((verified.snapshots, verified.disks), (1, 1));
    assert_eq!(verified.blobs, snapshot.packs.len() as u64 + 2);
    assert_eq!(verified.unreachable_blobs, 3);
    assert!(verified.bytes > DISK as u64 && verified.unreachable_bytes > 0);
}

#[test]
fn damaged_chunk_is_named_with_all_that_it_costs() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let snapshot = named(&store, "web", 1);
    store.set_name("copy", &snapshot.digest).unwrap();
    named(&store, "other", 2);
    let at = snapshot
        .index()
        .get(&store.inner.source, 5)
        .unwrap()
        .unwrap();
    let PackRef::Complete(pack) = at.pack else {
        panic!("{at:?}")
    };
    damage(&store, &pack, at.offset + 1000);
    let verified = verify(&Store::open(dir.path()).unwrap());
    let [fault] = &verified.faults[..] else {
        panic!("{:?}", verified.faults)
    };
    assert!(matches!(fault.problem, Problem::Content { .. }));
    assert_eq!(fault.digest, Some(pack));
    assert_eq!(ranges(fault), slice::from_ref(&(5 * CHUNK..6 * CHUNK)));
    let names = ["copy", "web"].map(|name| Root::Name(name.to_owned()));
    assert_eq!(fault.affected[0].roots, names);
    assert_eq!(fault.affected[0].snapshot, snapshot.digest);
}

#[test]
fn missing_pack_costs_the_chunks_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let snapshot = named(&store, "web", 1);
    fs::remove_file(store.blobs().path(&snapshot.packs[0].digest)).unwrap();
    let verified = verify(&Store::open(dir.path()).unwrap());
    let [fault] = &verified.faults[..] else {
        panic!("{:?}", verified.faults)
    };
    assert!(matches!(fault.problem, Problem::Missing));
    assert_eq!(ranges(fault)[0].start, 0);
}

#[test]
fn damaged_index_page_costs_what_hangs_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let snapshot = named(&store, "web", 1);
    let root = snapshot.root.unwrap();
    damage(&store, &root.pack, root.offset + 20);
    let verified = verify(&Store::open(dir.path()).unwrap());
    let [fault] = &verified.faults[..] else {
        panic!("{:?}", verified.faults)
    };
    assert_eq!(ranges(fault), slice::from_ref(&(0..DISK as u64)));
}

#[test]
fn pack_that_lost_its_table_still_has_its_chunks() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let snapshot = named(&store, "web", 1);
    let pack = snapshot.packs[0];
    // The table's checksum, not the footer that reading needs.
    damage(&store, &pack.digest, pack.bytes - 60);
    let verified = verify(&Store::open(dir.path()).unwrap());
    let [fault] = &verified.faults[..] else {
        panic!("{:?}", verified.faults)
    };
    assert!(matches!(fault.problem, Problem::Content { .. }), "{fault}");
    assert_eq!(ranges(fault), []);
}

#[test]
fn every_kind_of_blob_is_looked_at_and_none_keeps_others_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let [lost, damaged, config, short, unreadable] =
        [1, 2, 3, 4, 5].map(|seed| named(&store, &format!("n{seed}"), seed));
    fs::remove_file(store.blobs().path(&lost.digest.into())).unwrap();
    damage(&store, &damaged.digest.into(), 10);
    let manifest = store.blobs().document(&config.digest.into()).unwrap();
    let config = parse_manifest(&manifest.unwrap()).unwrap().config.digest;
    damage(&store, &config, 10);
    let path = store.blobs().path(&short.packs[0].digest);
    let bytes = fs::read(&path).unwrap();
    replace(&path, &bytes[..bytes.len() - 1]);
    let path = store.blobs().path(&unreadable.packs[0].digest);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let verified = verify(&Store::open(dir.path()).unwrap());
    let digests: BTreeSet<_> = verified
        .faults
        .iter()
        .filter_map(|fault| fault.digest)
        .collect();
    let expected: BTreeSet<BlobDigest> = BTreeSet::from([
        lost.digest.into(),
        damaged.digest.into(),
        config,
        short.packs[0].digest,
        unreadable.packs[0].digest,
    ]);
    assert_eq!(digests, expected);
    for fault in &verified.faults {
        assert!(
            !fault.affected.is_empty() && !fault.advice().is_empty(),
            "{fault}"
        );
        assert!(fault.is_repairable(), "{fault}");
    }
}

#[test]
fn damaged_map_of_a_disk_is_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let snapshot = named(&store, "web", 1);
    let disk = store.create_disk("d", &snapshot.digest).unwrap();
    disk.write_at(&[1; 4096], 0).unwrap();
    disk.flush().unwrap();
    drop(disk);
    let map = dir.path().join("disks/d/map");
    let mut bytes = fs::read(&map).unwrap();
    bytes[512] ^= 2;
    fs::write(&map, bytes).unwrap();
    let verified = verify(&store);
    let [fault] = &verified.faults[..] else {
        panic!("{:?}", verified.faults)
    };
    assert_eq!(fault.file, map);
    assert!(matches!(fault.problem, Problem::Disk { .. }));
}

#[test]
fn damaged_index_of_the_layout_is_a_fault_and_disks_are_verified_still() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let snapshot = named(&store, "web", 1);
    drop(store.create_disk("d", &snapshot.digest).unwrap());
    replace(&dir.path().join("index.json"), b"{");
    let verified = verify(&store);
    assert_eq!(verified.faults.len(), 1, "{:?}", verified.faults);
    assert_eq!(verified.snapshots, 1);
}

#[test]
fn manifest_that_lies_about_a_size_is_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let snapshot = named(&store, "web", 1);
    let manifest = fs::read_to_string(store.blobs().path(&snapshot.digest.into())).unwrap();
    let bytes = snapshot.packs[0].bytes;
    let lie = manifest.replace(
        &format!("\"size\":{bytes}"),
        &format!("\"size\":{}", bytes + 1),
    );
    assert_ne!(lie, manifest);
    let digest = SnapshotDigest::of(lie.as_bytes());
    fs::write(store.blobs().path(&digest.into()), lie).unwrap();
    let references = &store.inner.references;
    references.set_name("lie", digest, 1).unwrap();
    let verified = verify(&store);
    assert!(!verified.faults.is_empty());
    for fault in &verified.faults {
        assert!(matches!(fault.problem, Problem::Size { .. }));
        assert_eq!(fault.affected.len(), 1, "{fault}");
        assert_eq!(fault.affected[0].snapshot, digest);
    }
}

#[test]
fn manifest_that_is_no_json_is_one_fault_with_all_that_it_hits() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let bad = BlobDigest::of(b"no JSON");
    fs::write(store.blobs().path(&bad), "no JSON").unwrap();
    let references = &store.inner.references;
    references.set_name("bad", bad.into(), 7).unwrap();
    // Another one leads to it, too.
    let snapshot = named(&store, "web", 1);
    let manifest = fs::read_to_string(store.blobs().path(&snapshot.digest.into())).unwrap();
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let subject =
        format!(r#"{{"subject":{{"mediaType":"{media_type}","digest":"{bad}","size":7}},"#);
    let manifest = manifest.replacen('{', &subject, 1);
    let other = SnapshotDigest::of(manifest.as_bytes());
    fs::write(store.blobs().path(&other.into()), &manifest).unwrap();
    references
        .set_name("other", other, manifest.len() as u64)
        .unwrap();
    let verified = verify(&store);
    let [fault] = &verified.faults[..] else {
        panic!("{:?}", verified.faults)
    };
    assert_eq!(fault.digest, Some(bad));
    assert!(matches!(fault.problem, Problem::Document { .. }), "{fault}");
    let mut affected: Vec<_> = fault.affected.iter().map(|hit| hit.snapshot).collect();
    affected.sort_unstable();
    let mut expected = [bad.into(), other];
    expected.sort_unstable();
    assert_eq!(affected, expected);
}

#[test]
fn name_of_something_that_is_no_disk_is_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let snapshot = named(&store, "web", 1);
    let manifest = fs::read_to_string(store.blobs().path(&snapshot.digest.into())).unwrap();
    let manifest = manifest.replace("vm-sessions.disk.v1", "vm-sessions.disc.v1");
    let digest = SnapshotDigest::of(manifest.as_bytes());
    fs::write(store.blobs().path(&digest.into()), &manifest).unwrap();
    let references = &store.inner.references;
    references
        .set_name("disc", digest, manifest.len() as u64)
        .unwrap();
    let verified = verify(&store);
    let [fault] = &verified.faults[..] else {
        panic!("{:?}", verified.faults)
    };
    assert!(matches!(fault.problem, Problem::Manifest { .. }), "{fault}");
    assert_eq!(fault.digest, Some(digest.into()));
}

#[test]
fn newer_config_is_named_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let snapshot = named(&store, "web", 1);
    let manifest = fs::read_to_string(store.blobs().path(&snapshot.digest.into())).unwrap();
    let old = parse_manifest(manifest.as_bytes()).unwrap().config.digest;
    let config = fs::read_to_string(store.blobs().path(&old)).unwrap();
    let config = config.replace("\"version\":1", "\"version\":2");
    let new = BlobDigest::of(config.as_bytes());
    fs::write(store.blobs().path(&new), config).unwrap();
    let manifest = manifest.replace(&old.file_name(), &new.file_name());
    let digest = SnapshotDigest::of(manifest.as_bytes());
    fs::write(store.blobs().path(&digest.into()), &manifest).unwrap();
    let references = &store.inner.references;
    references
        .set_name("new", digest, manifest.len() as u64)
        .unwrap();
    let verified = verify(&store);
    let [fault] = &verified.faults[..] else {
        panic!("{:?}", verified.faults)
    };
    assert!(fault.to_string().contains("version 2"), "{fault}");
    // And a collection keeps all that it names.
    store.gc(Duration::ZERO, &()).unwrap();
    assert!(store.blobs().path(&new).exists());
}

#[test]
fn file_without_permission_is_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let snapshot = named(&store, "web", 1);
    let path = store.blobs().path(&snapshot.packs[0].digest);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    // Root may read it nevertheless.
    let is_root = fs::File::open(&path).is_ok();
    let verified = verify(&Store::open(dir.path()).unwrap());
    assert_eq!(verified.faults.is_empty(), is_root);
}

#[test]
fn index_that_names_few_pages_many_times_takes_no_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let digest = bomb(&store, &[1]);
    store.set_name("bomb", &digest).unwrap();
    let begun = Instant::now();
    let verified = verify(&store);
    assert_eq!(verified.faults.len(), 0, "{:?}", verified.faults);
    store.usage().unwrap();
    store.compact(&digest, &()).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn damage_that_an_index_names_many_times_is_listed_up_to_a_limit() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let digest = bomb(&store, &[1, 2]);
    store.set_name("bomb", &digest).unwrap();
    let pack = store.snapshot(&digest).unwrap().packs[0].digest;
    // In the first chunk.
    damage(&store, &pack, 12);
    let begun = Instant::now();
    let verified = verify(&store);
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    let [fault] = &verified.faults[..] else {
        panic!("{:?}", verified.faults)
    };
    let chunk = u64::from(MIN_CHUNK_BYTES);
    assert_eq!(ranges(fault)[..2], [0..chunk, 2 * chunk..3 * chunk]);
    assert!(fault.affected[0].more && ranges(fault).len() <= 65_536);
}

#[test]
fn packs_that_an_index_names_wrongly_are_listed_up_to_a_limit() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let digest = bomb_of(&store, |packs| {
        let mut encoder = Encoder::new().unwrap();
        let mut leaf = |number: u8| {
            let foreign = |slot: u8| Locator {
                pack: PackRef::Complete(BlobDigest::of(&[number, slot])),
                offset: 0,
                len: 5,
                digest: ChunkDigest::of(&[slot]),
            };
            let entries = (0..250).map(|slot| (slot, foreign(slot))).collect();
            let page = Page { level: 0, entries };
            let bytes = page.to_bytes(packs.current(), |number| packs.digest(number));
            let frame = encoder.encode(&bytes).unwrap();
            packs.add_page(ChunkDigest::of(&bytes), &frame).unwrap()
        };
        (1, (0..6).map(|number| (number, leaf(number))).collect())
    });
    store.set_name("bomb", &digest).unwrap();
    let verified = verify(&store);
    assert!(verified.more_faults);
    assert_eq!(verified.faults.len(), 1000);
}

/// Names the store that a child process shall verify with few files.
const CHILD: &str = "VERIFY_STORE";
/// Files that the child may have open: more than the packs that are kept open, and fewer than there are packs.
const FILES: usize = 300;
/// Most files that are left to a child whose files run out.
const LEFT: usize = 24;

/// What the child process of the next test does; nothing in a usual run.
#[test]
fn child_verifies_with_few_files() {
    let Some(root) = std::env::var_os(CHILD) else {
        return;
    };
    let verified = verify(&Store::open(&root).unwrap());
    assert!(verified.faults.is_empty(), "{:?}", verified.faults);
    assert!(verified.blobs > FILES as u64);
    let mut held = Vec::new();
    while let Ok(file) = fs::File::open("/dev/null") {
        held.push(file);
        assert!(held.len() < FILES, "there is no limit");
    }
    held.truncate(held.len() - LEFT);
    let mut refused = 0;
    for left in (0..LEFT).rev() {
        held.push(fs::File::open("/dev/null").unwrap());
        // A new store has no packs open yet.
        let store = Store::open(&root);
        match store.and_then(|store| store.verify(&())) {
            Ok(verified) => assert!(verified.faults.is_empty(), "{left}: {:?}", verified.faults),
            Err(error) => {
                assert!(StoreError::is_of_too_many_files(&error), "{left}: {error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0);
}

#[test]
fn files_that_run_out_are_no_fault_of_a_blob() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let digest = snapshot_of(
        &store,
        &noise_of(7, (FILES + 10) * 4 * DEFAULT_CHUNK_BYTES as usize),
    );
    assert!(store.snapshot(&digest).unwrap().packs.len() > FILES);
    store.set_name("large", &digest).unwrap();
    let child = std::process::Command::new("sh")
        .arg("-c")
        .arg(format!("ulimit -n {FILES} && exec \"$0\" \"$@\""))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "verify::tests::child_verifies_with_few_files"])
        .env(CHILD, dir.path())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && printed.contains("1 passed"),
        "{printed}"
    );
}
