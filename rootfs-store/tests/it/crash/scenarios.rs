//! What is done to a store while the power fails.

mod remotes;
mod upkeep;

use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rootfs_store::{ImportOptions, SnapshotDigest, Store, StoreError, WritableDisk};

use super::facts::{Fact, REGION, REGION_BYTES, exported_region, region};
use super::log::Log;
use crate::sample_image::{self, Sample};
pub(crate) use remotes::REMOTES;
pub(crate) use upkeep::{COLLECTIONS, COMPACTIONS, GATHERINGS, REPAIRS};

type Outcome = Result<(), Box<dyn Error>>;
/// Works on a store, tells the log what it asked for and what it was told; the folder is for scratch files.
pub(crate) type Act = fn(&Store, &Log, &Path) -> Outcome;

/// Something that is done to a store.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// What is done before the power can fail.
    pub(crate) before: Option<Act>,
    pub(crate) act: Act,
}

impl Scenario {
    const fn new(name: &'static str, act: Act) -> Self {
        let before = None;
        Self { name, before, act }
    }
}

pub(crate) const IMPORT_AND_NAME: Scenario = Scenario::new("import and name", import_and_name);
pub(crate) const RAW_DISKS: Scenario = Scenario::new("raw disks", raw_disks);
pub(crate) const GROWTHS: Scenario = Scenario::new("growths", growths);
pub(crate) const DISK_LIFE: Scenario = Scenario::new("a disk's life", disk_life);
pub(crate) const LIVE_COMMITS: Scenario = Scenario::new("live commits", live_commits);
pub(crate) const ONE_LIVE_COMMIT: Scenario = Scenario::new("one live commit", one_live_commit);
pub(crate) const FREEZES: Scenario = Scenario::new("freezes", freezes);
pub(crate) const UNNAMED_COMMITS: Scenario = Scenario::new("unnamed commits", unnamed_commits);

pub(crate) const ALL: [Scenario; 12] = [
    IMPORT_AND_NAME,
    RAW_DISKS,
    GROWTHS,
    DISK_LIFE,
    LIVE_COMMITS,
    FREEZES,
    UNNAMED_COMMITS,
    COLLECTIONS,
    COMPACTIONS,
    GATHERINGS,
    REPAIRS,
    REMOTES,
];

const DISK_BYTES: u64 = 16 << 20;

fn import(
    store: &Store,
    log: &Log,
    scratch: &Path,
    note: &str,
) -> Result<SnapshotDigest, Box<dyn Error>> {
    let sample = Sample {
        note,
        ..Sample::default()
    };
    let image = sample_image::write(&scratch.join(note), &sample);
    let options = ImportOptions {
        disk_bytes: Some(DISK_BYTES),
        ..ImportOptions::default()
    };
    let imported = log.attempt(|| store.import(&image, &options, &()))?;
    Ok(imported.snapshot)
}

fn name(store: &Store, log: &Log, name: &'static str, digest: SnapshotDigest) -> Outcome {
    log.begun(Fact::Name(name, Some(digest)));
    log.attempt(|| store.set_name(name, &digest))?;
    log.done(Fact::Name(name, Some(digest)));
    Ok(())
}

fn remove_base(store: &Store, log: &Log) -> Outcome {
    log.begun(Fact::Name("base", None));
    log.attempt(|| match store.remove_name("base") {
        // It was taken away, but that could not be made durable.
        Err(StoreError::NotFound { .. }) => Ok(()),
        removed => removed,
    })?;
    log.done(Fact::Name("base", None));
    Ok(())
}

fn remove_disk(store: &Store, log: &Log) -> Outcome {
    log.begun(Fact::Disk("d", None));
    log.attempt(|| store.remove_disk("d"))?;
    log.done(Fact::Disk("d", None));
    Ok(())
}

/// Imports an image and tells the log what it looks like.
fn base(store: &Store, log: &Log, scratch: &Path) -> Result<SnapshotDigest, Box<dyn Error>> {
    let base = import(store, log, scratch, "base")?;
    log.done(Fact::Snapshot(base, exported_region(store, &base, scratch)));
    name(store, log, "base", base)?;
    Ok(base)
}

fn import_and_name(store: &Store, log: &Log, scratch: &Path) -> Outcome {
    let first = base(store, log, scratch)?;
    name(store, log, "app", first)?;
    let second = import(store, log, scratch, "second")?;
    log.done(Fact::Snapshot(
        second,
        exported_region(store, &second, scratch),
    ));
    name(store, log, "app", second)?;
    remove_base(store, log)?;
    Ok(())
}

/// Raw disks become snapshots; the last is the first one again, of which everything may have gone.
fn raw_disks(store: &Store, log: &Log, scratch: &Path) -> Outcome {
    let raw = scratch.join("raw");
    for byte in [1, 2, 1] {
        let region = vec![byte; REGION_BYTES];
        let file = File::create(&raw)?;
        file.set_len(DISK_BYTES)?;
        file.write_all_at(&region, REGION)?;
        let imported = log.attempt(|| store.import_disk(&raw, &()))?;
        log.done(Fact::Snapshot(imported.snapshot, region));
        name(store, log, "raw", imported.snapshot)?;
        drop(imported);
        log.attempt(|| store.gc(Duration::ZERO, &()))?;
    }
    Ok(())
}

/// Disks grow: to an index of another level, and to one of the same.
fn growths(store: &Store, log: &Log, scratch: &Path) -> Outcome {
    let mut from = base(store, log, scratch)?;
    let region = exported_region(store, &from, scratch);
    for disk_bytes in [DISK_BYTES + (1 << 20), 2 * DISK_BYTES] {
        let grown = log.attempt(|| store.grow(&from, disk_bytes))?;
        log.done(Fact::Snapshot(grown.snapshot, region.clone()));
        name(store, log, "grown", grown.snapshot)?;
        from = grown.snapshot;
    }
    remove_base(store, log)?;
    log.attempt(|| store.gc(Duration::ZERO, &()))?;
    Ok(())
}

/// A disk, and what it should hold.
struct Writer<'a> {
    log: &'a Log,
    disk: Arc<WritableDisk>,
    region: Vec<u8>,
}

impl<'a> Writer<'a> {
    fn create(store: &Store, log: &'a Log, base: &SnapshotDigest) -> Result<Self, Box<dyn Error>> {
        let mut bytes = vec![0; REGION_BYTES];
        // Known beforehand: the region lies in free space.
        log.begun(Fact::Disk("d", Some(bytes.clone())));
        let disk = log.attempt(|| store.create_disk("d", base))?;
        bytes.clone_from(&region(&disk));
        log.done(Fact::Disk("d", Some(bytes.clone())));
        Ok(Self {
            log,
            disk: Arc::new(disk),
            region: bytes,
        })
    }

    fn open(store: &Store, log: &'a Log) -> Result<Self, Box<dyn Error>> {
        let disk = log.attempt(|| store.open_disk("d"))?;
        let region = region(&disk);
        let disk = Arc::new(disk);
        Ok(Self { log, disk, region })
    }

    fn fill(&mut self, range: std::ops::Range<usize>, byte: u8) -> Outcome {
        self.region[range.clone()].fill(byte);
        self.tell();
        let bytes = vec![byte; range.len()];
        let at = REGION + range.start as u64;
        self.log.attempt(|| self.disk.write_at(&bytes, at))?;
        Ok(())
    }

    fn discard(&mut self, range: std::ops::Range<usize>) -> Outcome {
        self.region[range.clone()].fill(0);
        self.tell();
        let (at, len) = (REGION + range.start as u64, range.len() as u64);
        self.log.attempt(|| self.disk.discard(at, len))?;
        Ok(())
    }

    fn flush(&self) -> Outcome {
        self.disk.flush()?;
        self.log.done(Fact::Disk("d", Some(self.region.clone())));
        Ok(())
    }

    fn tell(&self) {
        self.log.begun(Fact::Disk("d", Some(self.region.clone())));
    }
}

fn disk_life(store: &Store, log: &Log, scratch: &Path) -> Outcome {
    let base = base(store, log, scratch)?;
    let mut writer = Writer::create(store, log, &base)?;
    writer.fill(0..8192, 1)?;
    writer.flush()?;
    writer.fill(4096..12_288, 2)?;
    writer.fill(20_000..20_500, 3)?;
    writer.flush()?;
    writer.discard(0..8192)?;
    writer.fill(40_960..45_056, 4)?;
    let committed = log.attempt(|| store.commit(&writer.disk, &()))?.snapshot;
    log.done(Fact::Disk("d", Some(writer.region.clone())));
    log.done(Fact::Snapshot(committed, writer.region.clone()));
    name(store, log, "kept", committed)?;
    drop(writer);
    remove_disk(store, log)?;
    Ok(())
}

fn live_commits(store: &Store, log: &Log, scratch: &Path) -> Outcome {
    let base = base(store, log, scratch)?;
    let mut writer = Writer::create(store, log, &base)?;
    for round in 0..3u8 {
        let start = usize::from(round) * 10_000;
        writer.fill(start..start + 15_000, 10 + round)?;
        let committed = log
            .attempt(|| store.commit_live(&writer.disk, &()))?
            .snapshot;
        log.done(Fact::Disk("d", Some(writer.region.clone())));
        log.done(Fact::Snapshot(committed, writer.region.clone()));
        name(store, log, "live", committed)?;
        writer.fill(50_000..50_100, 20 + round)?;
        if round != 1 {
            writer.flush()?;
        }
    }
    Ok(())
}

/// Disks that are frozen in steps, with writes and flushes between these; some of the steps are the last ones.
fn freezes(store: &Store, log: &Log, scratch: &Path) -> Outcome {
    let base = base(store, log, scratch)?;
    let mut writer = Writer::create(store, log, &base)?;
    let disk = Arc::clone(&writer.disk);
    writer.fill(0..8192, 1)?;
    let prepared = log.attempt(|| store.prepare_freeze(&disk))?;
    writer.fill(4096..12_288, 2)?;
    writer.flush()?;
    let frozen = prepared.freeze();
    writer.fill(8192..16_384, 3)?;
    writer.flush()?;
    drop(frozen);
    drop(log.attempt(|| store.prepare_freeze(&disk))?);
    writer.fill(12_288..20_480, 4)?;
    let frozen = log.attempt(|| store.prepare_freeze(&disk))?.freeze();
    let mut held = writer.region.clone();
    writer.fill(16_384..24_576, 5)?;
    writer.flush()?;
    writer.fill(20_480..28_672, 6)?;
    let committed = match store.commit_frozen(frozen, &()) {
        Ok(committed) => committed,
        // What was frozen is a part of the disk again.
        Err(_) => {
            held = writer.region.clone();
            log.attempt(|| store.commit_live(&disk, &()))?
        }
    };
    log.done(Fact::Snapshot(committed.snapshot, held));
    name(store, log, "frozen", committed.snapshot)?;
    writer.flush()?;
    // Nothing was written since, so that what is made ready is not needed.
    let committed = log.attempt(|| store.commit_live(&disk, &()))?;
    log.done(Fact::Snapshot(committed.snapshot, writer.region.clone()));
    name(store, log, "frozen", committed.snapshot)?;
    let again = log.attempt(|| store.commit_live(&disk, &()))?;
    assert_eq!(again.snapshot, committed.snapshot);
    Ok(())
}

/// A disk whose snapshot was taken while it was in use, and what was written before and after.
fn one_live_commit(store: &Store, log: &Log, scratch: &Path) -> Outcome {
    let base = base(store, log, scratch)?;
    let mut writer = Writer::create(store, log, &base)?;
    writer.fill(0..8192, 1)?;
    writer.flush()?;
    writer.fill(4096..12_288, 2)?;
    let committed = log.attempt(|| store.commit_live(&writer.disk, &()))?;
    log.done(Fact::Disk("d", Some(writer.region.clone())));
    log.done(Fact::Snapshot(committed.snapshot, writer.region.clone()));
    writer.fill(8192..16_384, 3)?;
    writer.flush()
}

/// Goes on with a disk that the one before left, if there is one: what it finds there is flushed like its own.
pub(crate) fn next_life(store: &Store, log: &Log, _: &Path) -> Outcome {
    if !store.disk_exists("d") {
        return Ok(());
    }
    let mut writer = Writer::open(store, log)?;
    writer.tell();
    writer.flush()?;
    writer.fill(20_480..24_576, 4)?;
    writer.flush()
}

/// Imports what the one before may have imported, or begun to, and makes a disk of it.
pub(crate) fn next_import(store: &Store, log: &Log, scratch: &Path) -> Outcome {
    let base = import(store, log, scratch, "base")?;
    name(store, log, "base", base)?;
    let mut writer = Writer::create(store, log, &base)?;
    writer.fill(0..8192, 1)?;
    writer.flush()
}

/// Nothing but a lease keeps what is committed, and nothing but the disk what that lies on.
fn unnamed_commits(store: &Store, log: &Log, scratch: &Path) -> Outcome {
    let base = base(store, log, scratch)?;
    let mut writer = Writer::create(store, log, &base)?;
    remove_base(store, log)?;
    for byte in 1..3 {
        writer.fill(0..8192, byte)?;
        let committed = log.attempt(|| store.commit(&writer.disk, &()))?;
        log.done(Fact::Disk("d", Some(writer.region.clone())));
        log.done(Fact::Snapshot(committed.snapshot, writer.region.clone()));
        log.done(Fact::Held(Some(committed.snapshot)));
        writer.fill(4096..12_288, 10 + byte)?;
        writer.flush()?;
        log.begun(Fact::Held(None));
        drop(committed);
        log.done(Fact::Held(None));
    }
    Ok(())
}
