//! What is done to a store while the power fails.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use rootfs_store::{ImportOptions, SnapshotDigest, Store, StoreError, WritableDisk};

use super::facts::{Fact, REGION, exported_region, region};
use super::log::Log;
use crate::sample_image::{self, Sample};

type Outcome = Result<(), Box<dyn Error>>;
/// Works on a store, tells the log what it asked for and what it was told; the folder is for scratch files.
pub(crate) type Scenario = fn(&Store, &Log, &Path) -> Outcome;

pub(crate) const ALL: [Scenario; 5] = [
    import_and_name,
    disk_life,
    live_commits,
    collections,
    compactions,
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
    log.attempt(|| match store.remove_name("base") {
        // It was taken away, but that could not be made durable.
        Err(StoreError::NotFound { .. }) => Ok(()),
        removed => removed,
    })
}

/// Imports an image and tells the log what it looks like.
fn base(store: &Store, log: &Log, scratch: &Path) -> Result<SnapshotDigest, Box<dyn Error>> {
    let base = import(store, log, scratch, "base")?;
    log.done(Fact::Snapshot(base, exported_region(store, &base, scratch)));
    name(store, log, "base", base)?;
    Ok(base)
}

pub(crate) fn import_and_name(store: &Store, log: &Log, scratch: &Path) -> Outcome {
    let first = base(store, log, scratch)?;
    name(store, log, "app", first)?;
    let second = import(store, log, scratch, "second")?;
    log.done(Fact::Snapshot(
        second,
        exported_region(store, &second, scratch),
    ));
    name(store, log, "app", second)?;
    log.begun(Fact::Name("base", None));
    remove_base(store, log)?;
    log.done(Fact::Name("base", None));
    Ok(())
}

/// A disk, and what it should hold.
struct Writer<'a> {
    log: &'a Log,
    disk: WritableDisk,
    region: Vec<u8>,
}

impl<'a> Writer<'a> {
    fn create(store: &Store, log: &'a Log, base: &SnapshotDigest) -> Result<Self, Box<dyn Error>> {
        let mut bytes = vec![0; super::facts::REGION_BYTES];
        // Known beforehand: the region lies in free space.
        log.begun(Fact::Disk("d", Some(bytes.clone())));
        let disk = log.attempt(|| store.create_disk("d", base))?;
        bytes.clone_from(&region(&disk));
        log.done(Fact::Disk("d", Some(bytes.clone())));
        Ok(Self {
            log,
            disk,
            region: bytes,
        })
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

pub(crate) fn disk_life(store: &Store, log: &Log, scratch: &Path) -> Outcome {
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
    log.begun(Fact::Disk("d", None));
    log.attempt(|| store.remove_disk("d"))?;
    log.done(Fact::Disk("d", None));
    Ok(())
}

pub(crate) fn live_commits(store: &Store, log: &Log, scratch: &Path) -> Outcome {
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

/// Names and disks come and go, and after each of that everything that may go does.
pub(crate) fn collections(store: &Store, log: &Log, scratch: &Path) -> Outcome {
    let collect = || log.attempt(|| store.gc(Duration::ZERO, &()));
    let base = base(store, log, scratch)?;
    let mut writer = Writer::create(store, log, &base)?;
    log.begun(Fact::Name("base", None));
    remove_base(store, log)?;
    log.done(Fact::Name("base", None));
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
    log.begun(Fact::Disk("d", None));
    log.attempt(|| store.remove_disk("d"))?;
    log.done(Fact::Disk("d", None));
    collect()?;
    Ok(())
}

/// A pack that later commits made useless is written anew, and goes.
pub(crate) fn compactions(store: &Store, log: &Log, scratch: &Path) -> Outcome {
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
    log.begun(Fact::Disk("d", None));
    log.attempt(|| store.remove_disk("d"))?;
    log.done(Fact::Disk("d", None));
    log.begun(Fact::Name("base", None));
    remove_base(store, log)?;
    log.done(Fact::Name("base", None));
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
