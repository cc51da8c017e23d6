//! The session that is started: a new one, or one that is there.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use rootfs_store::{Lease, SnapshotDigest};

use super::checks::{check_architecture, check_machine};
use crate::about::About;
use crate::builder::{Settings, Source};
use crate::drive::{self, DriveRecord};
use crate::error::{Error, Repr};
use crate::holding::Holding;
use crate::id;
use crate::identity::Identity;
use crate::kernel::Kernel;
use crate::limits::Limits;
use crate::quotas;
use crate::record::{Record, RecordState};
use crate::store::Store;
use crate::timings::Timings;

const DEFAULT_VCPUS: u8 = 1;
const DEFAULT_MEMORY_MIB: u32 = 512;

/// What a new session is made of.
struct New {
    base: SnapshotDigest,
    /// What is not set is as it is with this one.
    like: Option<Box<Record>>,
    kernel: Kernel,
    drives: Vec<DriveRecord>,
    _until_named: Vec<Lease>,
}

/// The labels that the session has, or will have.
pub(super) fn labels(
    store: &Store,
    source: &Source,
    settings: &Settings,
) -> Result<BTreeMap<String, String>, Error> {
    Ok(match (&settings.about, source) {
        (Some(about), _) => about.labels.clone(),
        (None, Source::Session(id)) => store.session(id)?.about.labels,
        (None, Source::Like(record, _)) => record.about.labels.clone(),
        (None, Source::Snapshot(_) | Source::Image(_)) => BTreeMap::new(),
    })
}

/// Makes the new session that was described.
pub(super) fn make(
    store: &Store,
    source: Source,
    settings: &Settings,
    timings: &mut Timings,
) -> Result<Holding, Error> {
    // Before an image is imported for nothing; it is counted again when there is something to make a session of.
    drop(quotas::check_new(store)?);
    match source {
        Source::Session(id) => Err(Repr::SessionExists { id }.into()),
        Source::Snapshot(base) => {
            // A snapshot that the store doesn't hold is an error about it, not about a disk.
            check_machine(store, &base)?;
            New::of(store, settings, None, || Ok((base, None)))?.create(store, settings)
        }
        Source::Like(record, _until_it_is_named) => {
            let base = record.snapshot;
            check_machine(store, &base)?;
            New::of(store, settings, Some(record), || Ok((base, None)))?.create(store, settings)
        }
        Source::Image(import) => {
            let import = match settings.disk_bytes {
                Some(bytes) => import.disk_bytes(bytes),
                None => *import,
            };
            let (_, options) = import.check()?;
            check_architecture(&options.platform.architecture)?;
            let obtain = || {
                let begun = Instant::now();
                let (base, lease) = import.obtain()?;
                timings.import = Some(begun.elapsed());
                check_machine(store, &base)?;
                Ok((base, Some(lease)))
            };
            New::of(store, settings, None, obtain)?.create(store, settings)
        }
    }
}

fn kernel_for_new(
    store: &Store,
    settings: &Settings,
    like: Option<&Record>,
) -> Result<Kernel, Error> {
    let kernel = match (&settings.kernel, like) {
        (Some(kernel), _) => kernel.clone(),
        (None, Some(like)) => Kernel::recorded(like.kernel.clone(), like.modules.clone()),
        (None, None) => Kernel::default_for(store.dir())?,
    };
    kernel.check()?;
    Ok(kernel)
}

/// The snapshot, or a larger one of the same bytes if that was asked for, which the lease keeps.
fn grown(
    store: &Store,
    base: SnapshotDigest,
    settings: &Settings,
) -> Result<(SnapshotDigest, Option<Lease>), Error> {
    let Some(bytes) = settings.disk_bytes else {
        return Ok((base, None));
    };
    let grown = store.inner().grow(&base, bytes)?;
    Ok((grown.snapshot, Some(grown.lease)))
}

/// Puts what was set into a record.
fn apply(settings: &Settings, kernel: &Kernel, record: &mut Record) {
    record.kernel = kernel.image().to_owned();
    record.modules = kernel.modules().map(Path::to_owned);
    record.vcpus = settings.vcpus.unwrap_or(record.vcpus);
    record.memory_mib = settings.memory_mib.unwrap_or(record.memory_mib);
    record.hostname = settings.hostname.clone().or(record.hostname.take());
    if let Some(limits) = &settings.limits {
        record.limits = limits.clone();
    }
    if let Some(about) = &settings.about {
        record.about = about.clone();
    }
}

impl New {
    /// Calls `obtain` for the base once nothing else is missing.
    fn of(
        store: &Store,
        settings: &Settings,
        like: Option<Box<Record>>,
        obtain: impl FnOnce() -> Result<(SnapshotDigest, Option<Lease>), Error>,
    ) -> Result<Self, Error> {
        let kernel = kernel_for_new(store, settings, like.as_deref())?;
        let (more, mut leases) = drive::resolve(store, &settings.drives)?;
        let there = like
            .as_ref()
            .map_or_else(Vec::new, |like| like.drives.clone());
        let drives = drive::together(there, more)?;
        let (base, lease) = obtain()?;
        leases.extend(lease);
        Ok(Self {
            base,
            like,
            kernel,
            drives,
            _until_named: leases,
        })
    }

    fn create(self, store: &Store, settings: &Settings) -> Result<Holding, Error> {
        let (snapshot, _until_it_is_named) = grown(store, self.base, settings)?;
        let id = settings.id.clone().map_or_else(id::random, Ok)?;
        let mut record = self.record(id, snapshot, settings)?;
        apply(settings, &self.kernel, &mut record);
        let _others_wait = quotas::check_new(store)?;
        Holding::create(store, record)
    }

    fn record(
        &self,
        id: String,
        snapshot: SnapshotDigest,
        settings: &Settings,
    ) -> Result<Record, Error> {
        let description = settings.description.clone();
        let identity = match &self.like {
            // Another machine, that is described like the first.
            Some(like) => like.identity.of_another(description)?,
            None => Identity::create(description)?,
        };
        let record = Record {
            id,
            state: RecordState::Stopped,
            snapshot,
            origin: self.base,
            kernel: self.kernel.image().to_owned(),
            modules: None,
            vcpus: DEFAULT_VCPUS,
            memory_mib: DEFAULT_MEMORY_MIB,
            hostname: None,
            identity,
            created: 0,
            changed: 0,
            started: None,
            failure: None,
            limits: Limits::default(),
            about: About::default(),
            drives: self.drives.clone(),
        };
        let Some(like) = &self.like else {
            return Ok(record);
        };
        let labels = like.about.labels.clone();
        Ok(Record {
            vcpus: like.vcpus,
            memory_mib: like.memory_mib,
            hostname: like.hostname.clone(),
            limits: like.limits.clone(),
            about: About {
                labels,
                ..About::default()
            },
            ..record
        })
    }
}

/// Takes a session that is there, as it shall be from now on.
pub(super) fn resume(store: &Store, id: &str, settings: &Settings) -> Result<Holding, Error> {
    if let Some(other) = settings.id.as_ref().filter(|other| *other != id) {
        return Err(Repr::IdOfResumed { id: other.clone() }.into());
    }
    if !settings.drives.is_empty() {
        return Err(Repr::DrivesOfResumed { id: id.to_owned() }.into());
    }
    let mut holding = Holding::take(store, id)?;
    if settings.disk_bytes.is_some() {
        holding.find_bases()?;
    }
    let record = holding.record();
    if !record.state.has_disk() {
        check_machine(store, &record.snapshot)?;
    }
    let recorded = || Kernel::recorded(record.kernel.clone(), record.modules.clone());
    let kernel = settings.kernel.clone().unwrap_or_else(recorded);
    kernel.check()?;
    if record.state.has_disk()
        && let Some(bytes) = settings.disk_bytes
        && bytes > store.snapshot(&record.snapshot)?.disk_bytes
    {
        return Err(Repr::GrowInterrupted { id: id.to_owned() }.into());
    }
    let (snapshot, lease) = grown(store, record.snapshot, settings)?;
    holding.keep_until_open(lease);
    let record = holding.record_mut();
    record.snapshot = snapshot;
    apply(settings, &kernel, record);
    record.identity.describe(settings.description.clone())?;
    Ok(holding)
}
