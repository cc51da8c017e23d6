//! Packs that are elsewhere: recorded, read, fetched as a whole, and collected.

use std::path::Path;
use std::time::Duration;

use rootfs_store::{BlobDigest, FillOptions, Pack, Store};

use super::upkeep::second_copy;
use super::{Outcome, Scenario, Writer, name, remove_disk};
use crate::crash::ORIGIN;
use crate::crash::facts::{Fact, blob_path};
use crate::crash::log::Log;
use crate::remote::origin;

pub(crate) const REMOTES: Scenario = Scenario {
    name: "packs that are elsewhere",
    before: Some(second_copy),
    act: remotes,
};

/// A snapshot's only pack goes, and is known to be elsewhere, as if the snapshot had been pulled lazily. It is read and
/// committed over, then fetched as a whole. What is known of another pack, which nothing needs, is collected.
fn remotes(store: &Store, log: &Log, scratch: &Path) -> Outcome {
    let path = scratch.join("copy");
    let (copy, base) = (Store::open(&path)?, store.resolve("base")?);
    let packs = copy.snapshot(&base)?.packs;
    let pack = packs[0].digest;
    ORIGIN.add(&copy, &pack);
    log.begun(Fact::Broken(vec![pack], path.clone()));
    if blob_path(store, &pack).exists() {
        log.lose(&blob_path(store, &pack));
    }
    log.done(Fact::Broken(vec![pack], path.clone()));
    let lease = log.attempt(|| store.lease())?;
    log.attempt(|| store.add_origin(&packs, origin::ORIGIN, &lease))?;
    log.done(Fact::Broken(Vec::new(), path));
    let other = Pack {
        digest: BlobDigest::of(b"another pack"),
        bytes: 100,
    };
    log.attempt(|| store.add_origin(&[other], origin::ORIGIN, &lease))?;

    let mut writer = Writer::create(store, log, &base)?;
    writer.fill(100..9000, 1)?;
    let committed = log
        .attempt(|| store.commit_live(&writer.disk, &()))?
        .snapshot;
    log.done(Fact::Disk("d", Some(writer.region.clone())));
    log.done(Fact::Snapshot(committed, writer.region.clone()));
    name(store, log, "kept", committed)?;
    drop((writer, lease));
    log.attempt(|| store.gc(Duration::ZERO, &()))?;
    log.attempt(|| store.fill(&committed, &FillOptions::default(), &()))?;
    log.attempt(|| store.fill(&base, &FillOptions::default(), &()))?;
    remove_disk(store, log)?;
    log.attempt(|| store.gc(Duration::ZERO, &()))?;
    Ok(())
}
