//! Stores that are mended from the registry that their snapshots were pushed to.

use std::fs;
use std::path::PathBuf;

use rootfs_store::{BlobDigest, NotRepaired, RepairError, RepairSource, SnapshotDigest, Store};
use testbed::{Fault, Front};

use super::snapshots::{base, changed, exported, noise, push};
use super::{Bed, chain, reference};

const NAME: &str = "labs/disk:v1";

/// A store behind a front, with a named snapshot that was pushed.
struct Pushed {
    bed: Bed,
    front: Front,
    store: Store,
    snapshot: SnapshotDigest,
    bytes: Vec<u8>,
}

impl Pushed {
    fn new() -> Self {
        let bed = Bed::plain();
        let front = Front::start(bed.registry.host()).unwrap();
        let store = bed.store("store", &[front.host()]);
        let snapshot = changed(&store, &base(&bed, &store), 8 << 20, &noise(1, 1 << 20));
        push(&store, &snapshot, front.host(), NAME);
        let bytes = exported(&store, &snapshot, bed.dir.path());
        Self {
            bed,
            front,
            store,
            snapshot,
            bytes,
        }
    }

    fn source(&self) -> RepairSource {
        reference(self.front.host(), NAME).into()
    }

    fn path(&self, blob: &BlobDigest) -> PathBuf {
        let blobs = self.store.dir().join("blobs/sha256");
        blobs.join(&blob.to_string()[7..])
    }

    /// The largest pack.
    fn pack(&self) -> BlobDigest {
        let packs = self.store.snapshot(&self.snapshot).unwrap().packs;
        packs.iter().max_by_key(|pack| pack.bytes).unwrap().digest
    }

    /// Writes other bytes in the place of a blob, or none.
    fn damage(&self, blob: &BlobDigest, change: impl Fn(&mut Vec<u8>) -> bool) {
        let path = self.path(blob);
        let mut bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        if change(&mut bytes) {
            fs::write(&path, bytes).unwrap();
        }
    }

    fn lose(&self, blob: &BlobDigest) {
        self.damage(blob, |_| false);
    }

    /// The store is as it was, by itself.
    fn check_all(&self) {
        self.front.down();
        assert!(self.store.verify(&()).unwrap().faults.is_empty());
        assert!(self.store.elsewhere(&self.snapshot).unwrap().is_empty());
        let read = exported(&self.store, &self.snapshot, self.bed.dir.path());
        assert!(read == self.bytes, "the disk reads differently");
    }
}

#[test]
fn damaged_pack_comes_back_from_the_registry() {
    let pushed = Pushed::new();
    let pack = pushed.pack();
    let flip = |bytes: &mut Vec<u8>| {
        bytes[100] ^= 1;
        true
    };
    let truncate = |bytes: &mut Vec<u8>| {
        bytes.truncate(bytes.len() / 2);
        true
    };
    let lose = |_: &mut Vec<u8>| false;
    let damages: [fn(&mut Vec<u8>) -> bool; 3] = [flip, truncate, lose];
    for damage in damages {
        let before = pushed.path(&pack).metadata().unwrap().len();
        pushed.damage(&pack, damage);
        assert!(!pushed.store.verify(&()).unwrap().faults.is_empty());
        let repaired = pushed.store.repair(&pushed.source(), &()).unwrap();
        assert!(repaired.lost.is_empty(), "{:?}", repaired.lost);
        assert!(repaired.verified.faults.is_empty());
        assert_eq!((&repaired.blobs[..], repaired.bytes), (&[pack][..], before));
    }
    pushed.check_all();
}

#[test]
fn snapshot_of_which_nothing_is_left_comes_back_with_its_manifest() {
    let pushed = Pushed::new();
    pushed.store.remove_name("base").unwrap();
    for entry in fs::read_dir(pushed.store.dir().join("blobs/sha256")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let repaired = pushed.store.repair(&pushed.source(), &()).unwrap();
    // Only the manifest says what else there was.
    assert_eq!(repaired.blobs[0], pushed.snapshot.into());
    // The base, which its own name led to, was not pushed; nothing needs it any more.
    assert!(
        repaired.verified.faults.is_empty(),
        "{:?}",
        repaired.verified
    );
    pushed.check_all();
}

#[test]
fn connections_that_break_and_bytes_that_change_on_the_way_end_in_the_right_bytes() {
    let pushed = Pushed::new();
    let pack = pushed.pack();
    pushed.lose(&pack);
    let mut faults = vec![Fault::TruncateBody(1000), Fault::Status(503)];
    pushed.front.set_plan(move |_, seen| match &*seen.method {
        "GET" => faults.pop(),
        _ => None,
    });
    let repaired = pushed.store.repair(&pushed.source(), &()).unwrap();
    assert_eq!(repaired.blobs, [pack]);
    pushed.lose(&pack);
    pushed
        .front
        .set_plan(|_, seen| (seen.method == "GET").then_some(Fault::CorruptBody(1000)));
    let repaired = pushed.store.repair(&pushed.source(), &()).unwrap();
    let [(digest, NotRepaired::Damaged { place, .. })] = &repaired.lost[..] else {
        panic!("{:?}", repaired.lost)
    };
    assert_eq!(*digest, pack);
    let host = pushed.front.host();
    assert_eq!(*place, format!("docker://{host}/labs/disk@{pack}"));
    assert!(!pushed.path(&pack).exists());
    pushed.front.clear_plan();
    pushed.store.repair(&pushed.source(), &()).unwrap();
    pushed.check_all();
}

#[test]
fn repository_that_lacks_a_pack_leaves_the_store_as_it_is() {
    let pushed = Pushed::new();
    let pack = pushed.pack();
    pushed.lose(&pack);
    let elsewhere = reference(pushed.front.host(), "labs/other").into();
    let repaired = pushed.store.repair(&elsewhere, &()).unwrap();
    let [(digest, NotRepaired::Missing { .. })] = &repaired.lost[..] else {
        panic!("{:?}", repaired.lost)
    };
    assert_eq!(*digest, pack);
    // It does not count as being elsewhere.
    assert_eq!(repaired.verified.faults.len(), 1);
    assert_eq!(repaired.verified.faults[0].digest, Some(pack));
    assert!(pushed.store.snapshot(&pushed.snapshot).is_err());
}

#[test]
fn pack_that_is_longer_in_the_registry_is_not_fetched() {
    let pushed = Pushed::new();
    let pack = pushed.pack();
    pushed.lose(&pack);
    pushed
        .front
        .set_plan(|_, _| Some(Fault::LyingLength(1 << 40)));
    let repaired = pushed.store.repair(&pushed.source(), &()).unwrap();
    let [(_, NotRepaired::TooLong { limit, .. })] = repaired.lost[..] else {
        panic!("{:?}", repaired.lost)
    };
    let packs = repaired.verified.faults[0].digest;
    assert_eq!(packs, Some(pack));
    assert!(limit < 8 << 20);
}

#[test]
fn registry_that_goes_away_ends_a_repair_and_what_is_back_stays() {
    let pushed = Pushed::new();
    let packs = pushed.store.snapshot(&pushed.snapshot).unwrap().packs;
    packs.iter().for_each(|pack| pushed.lose(&pack.digest));
    assert!(packs.len() > 1);
    let mut answered = 0;
    pushed.front.set_plan(move |_, seen| {
        answered += u32::from(seen.method == "GET");
        (answered > 1).then_some(Fault::DropBefore)
    });
    let error = pushed.store.repair(&pushed.source(), &()).unwrap_err();
    assert!(matches!(error, RepairError::Registry { .. }), "{error:?}");
    let text = chain(&error);
    assert!(text.contains(pushed.front.host()), "{text}");
    let back = packs
        .iter()
        .filter(|pack| pushed.path(&pack.digest).exists());
    assert_eq!(back.count(), 1);
    pushed.front.clear_plan();
    let repaired = pushed.store.repair(&pushed.source(), &()).unwrap();
    assert_eq!(repaired.blobs.len(), packs.len() - 1);
    pushed.check_all();
}
