//! What keeps a store small and whole.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rootfs_store::formats::parse_manifest;
use rootfs_store::{DEFAULT_CHUNK_BYTES, NotRepaired, RepairError, Store};

use super::{Outcome, Scenario, Writer, base, import, name, remove_base, remove_disk};
use crate::crash::facts::{Fact, REGION, blob_path};
use crate::crash::log::Log;

pub(crate) const COLLECTIONS: Scenario = Scenario::new("collections", collections);
pub(crate) const COMPACTIONS: Scenario = Scenario::new("compactions", compactions);
pub(crate) const GATHERINGS: Scenario = Scenario {
    name: "gatherings",
    before: Some(many_packs),
    act: gatherings,
};
pub(crate) const REPAIRS: Scenario = Scenario {
    name: "repairs",
    before: Some(second_copy),
    act: repairs,
};

/// Most packs of a snapshot that was committed.
const MAX_PACKS: usize = 100;
const CHUNK_BYTES: u64 = DEFAULT_CHUNK_BYTES as u64;
/// Chunks behind the region that are written in turn.
const CHUNKS: u64 = 60;
/// Bytes that are written of each.
const NOISE_BYTES: usize = 8 << 10;

/// Names and disks come and go, and after each of that everything that may go does.
fn collections(store: &Store, log: &Log, scratch: &Path) -> Outcome {
    let collect = || log.attempt(|| store.gc(Duration::ZERO, &()));
    let base = base(store, log, scratch)?;
    let mut writer = Writer::create(store, log, &base)?;
    remove_base(store, log)?;
    collect()?;
    writer.fill(0..8192, 1)?;
    let live = log
        .attempt(|| store.commit_live(&writer.disk, &()))?
        .snapshot;
    log.done(Fact::Disk("d", Some(writer.region.clone())));
    log.done(Fact::Snapshot(live, writer.region.clone()));
    collect()?;
    writer.fill(4096..12_288, 2)?;
    let committed = log.attempt(|| store.commit(&writer.disk, &()))?;
    log.done(Fact::Disk("d", Some(writer.region.clone())));
    log.done(Fact::Snapshot(committed.snapshot, writer.region.clone()));
    name(store, log, "kept", committed.snapshot)?;
    drop((writer, committed));
    collect()?;
    remove_disk(store, log)?;
    collect()?;
    Ok(())
}

/// A pack that later commits made useless is written anew, and goes.
fn compactions(store: &Store, log: &Log, scratch: &Path) -> Outcome {
    let base = base(store, log, scratch)?;
    let mut writer = Writer::create(store, log, &base)?;
    for byte in 1..3 {
        writer.fill(0..30_000, byte)?;
        let committed = log
            .attempt(|| store.commit_live(&writer.disk, &()))?
            .snapshot;
        log.done(Fact::Disk("d", Some(writer.region.clone())));
        log.done(Fact::Snapshot(committed, writer.region.clone()));
        name(store, log, "live", committed)?;
    }
    let region = writer.region.clone();
    drop(writer);
    remove_disk(store, log)?;
    remove_base(store, log)?;
    // The same snapshot is compacted to the same, so this one is known before the name is moved to it.
    let compacted = store.compact(&store.resolve("live")?, &())?;
    assert_ne!(compacted.snapshot, compacted.from);
    log.done(Fact::Snapshot(compacted.snapshot, region));
    log.begun(Fact::Name("live", Some(compacted.snapshot)));
    log.attempt(|| store.compact_names(&|_| true, &()))?;
    log.done(Fact::Name("live", Some(compacted.snapshot)));
    log.attempt(|| store.gc(Duration::ZERO, &()))?;
    Ok(())
}

/// A snapshot of as many packs as may be: of some, all is live, of others nothing is.
fn many_packs(store: &Store, log: &Log, scratch: &Path) -> Outcome {
    let base = base(store, log, scratch)?;
    let writer = Writer::create(store, log, &base)?;
    let mut packs = 0;
    for round in 0u8.. {
        let chunk = 1 + u64::from(round) % CHUNKS;
        writer
            .disk
            .write_at(&noise(round), REGION + chunk * CHUNK_BYTES)?;
        let committed = store.commit_live(&writer.disk, &())?.snapshot;
        packs = store.snapshot(&committed)?.packs.len();
        if packs == MAX_PACKS {
            log.done(Fact::Snapshot(committed, writer.region.clone()));
            name(store, log, "live", committed)?;
            break;
        }
    }
    assert_eq!(packs, MAX_PACKS);
    drop(writer);
    remove_disk(store, log)?;
    remove_base(store, log)?;
    store.gc(Duration::ZERO, &())?;
    Ok(())
}

/// Bytes that can't be compressed: a pack that is all live must not be taken for one that is not.
fn noise(seed: u8) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    let mut next = || {
        // Xorshift (Marsaglia 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..NOISE_BYTES / 8).flat_map(|_| next()).collect()
}

/// A commit makes a pack too many, so it gathers; then what it gathered from goes.
fn gatherings(store: &Store, log: &Log, _scratch: &Path) -> Outcome {
    let from = store.resolve("live")?;
    let mut writer = Writer::create(store, log, &from)?;
    writer.fill(0..30_000, 1)?;
    let committed = log
        .attempt(|| store.commit_live(&writer.disk, &()))?
        .snapshot;
    assert!(store.snapshot(&committed)?.packs.len() < MAX_PACKS);
    log.done(Fact::Disk("d", Some(writer.region.clone())));
    log.done(Fact::Snapshot(committed, writer.region.clone()));
    name(store, log, "live", committed)?;
    log.attempt(|| store.gc(Duration::ZERO, &()))?;
    Ok(())
}

/// An image in the store, and in another one.
pub(super) fn second_copy(store: &Store, log: &Log, scratch: &Path) -> Outcome {
    let digest = base(store, log, scratch)?;
    let copy = Store::open(scratch.join("copy"))?;
    let copied = import(&copy, log, scratch, "base")?;
    assert_eq!(copied, digest);
    copy.set_name("base", &digest)?;
    Ok(())
}

/// A blob of each kind is damaged or lost, and put back.
fn repairs(store: &Store, log: &Log, scratch: &Path) -> Outcome {
    let copy = scratch.join("copy");
    let digest = store.resolve("base")?;
    let pack = store.snapshot(&digest)?.packs[0].digest;
    let manifest = blob_path(store, &digest.into());
    let config = parse_manifest(&fs::read(&manifest)?)?.config.digest;
    let broken = vec![digest.into(), config, pack];
    log.begun(Fact::Broken(broken.clone(), copy.clone()));
    log.damage(&manifest, 9);
    log.lose(&blob_path(store, &config));
    log.damage(&blob_path(store, &pack), 9);
    log.done(Fact::Broken(broken, copy.clone()));
    log.attempt(|| repair(store, &copy))?;
    log.done(Fact::Broken(Vec::new(), copy));
    name(store, log, "mended", digest)
}

/// A blob that could not be written is no error of a repair, but it is one here.
fn repair(store: &Store, copy: &Path) -> Result<(), NotRepaired> {
    let repaired = store
        .repair(&copy.into(), &())
        .map_err(|error| match error {
            RepairError::Store(error) => error,
            other => panic!("{other}"),
        })?;
    match repaired.lost.into_iter().next() {
        Some((_, error)) => return Err(error),
        None => assert!(repaired.verified.faults.is_empty()),
    }
    Ok(())
}
