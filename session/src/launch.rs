//! Starting a session: everything that can be wrong is looked at before anything is made.
//!
//! Invariant: a failure leaves no new session, and a resumed one as it was.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use agent::protocol::{Config, DriveMount, Root};
use rootfs_store::{Lease, SnapshotDigest};
use vmm_core::{MAX_VCPUS, MIN_MEMORY_MIB, StartError};

use crate::background::Background;
use crate::builder::{SessionBuilder, Settings, Source};
use crate::disk::RootDisk;
use crate::drive::{self, DriveRecord, MountPoint};
use crate::error::Error;
use crate::holding::Holding;
use crate::id;
use crate::initramfs;
use crate::kernel::Kernel;
use crate::machine::{Attached, BootTimes, Machine, ROOT_SERIAL, Spec};
use crate::record::{Record, RecordState};
use crate::session::Session;
use crate::store::Store;
use crate::telemetry;
use crate::timings::Timings;

const DEFAULT_VCPUS: u8 = 1;
const DEFAULT_MEMORY_MIB: u32 = 512;

/// The file system that imports write.
const ROOT_FSTYPE: &str = "ext4";

const KVM: &str = "/dev/kvm";

/// Starts the session that was described.
pub(crate) fn launch(builder: SessionBuilder) -> Result<Session, Error> {
    let begun = Instant::now();
    let started = start(builder);
    telemetry::started(&started, begun.elapsed());
    started
}

fn start(builder: SessionBuilder) -> Result<Session, Error> {
    let SessionBuilder {
        store,
        source,
        settings,
        events,
    } = builder;
    check(&settings)?;
    check_kvm(Path::new(KVM))?;
    let mut timings = Timings::default();
    let mut holding = match source {
        Source::Session(id) => resume(&store, &id, &settings)?,
        Source::Snapshot(base) => {
            // A snapshot that the store doesn't hold is an error about it, not about a disk.
            store.snapshot(&base)?;
            kernel_for_new(&store, &settings)?;
            let drives = drive::resolve(&store, &settings.drives)?;
            create(&store, base, &settings, drives)?
        }
        Source::Image(import) => {
            let import = match settings.disk_bytes {
                Some(bytes) => import.disk_bytes(bytes),
                None => *import,
            };
            import.check()?;
            kernel_for_new(&store, &settings)?;
            let begun = Instant::now();
            let drives = drive::resolve(&store, &settings.drives)?;
            let (snapshot, _until_it_is_named) = import.obtain()?;
            timings.import = Some(begun.elapsed());
            create(&store, snapshot, &settings, drives)?
        }
    };
    telemetry::of_session(&holding.record().id);
    holding.tell(Arc::new(events));
    match boot(&store, &mut holding, &settings, &mut timings) {
        Ok((machine, background)) => Ok(Session::new(
            store,
            machine,
            background,
            holding,
            settings.shutdown_timeout,
            timings,
        )),
        Err(error) => {
            holding.give_back();
            Err(error)
        }
    }
}

/// Checks what can be checked without touching the store.
fn check(settings: &Settings) -> Result<(), Error> {
    settings.id.as_deref().map_or(Ok(()), id::check)?;
    settings
        .hostname
        .as_deref()
        .map_or(Ok(()), id::check_hostname)?;
    drive::check(&settings.drives)?;
    if let Some(asked) = settings.vcpus
        && !(1..=MAX_VCPUS).contains(&asked)
    {
        return Err(StartError::Vcpus { asked }.into());
    }
    if let Some(asked_mib) = settings.memory_mib
        && asked_mib < MIN_MEMORY_MIB
    {
        return Err(StartError::TooLittleMemory { asked_mib }.into());
    }
    Ok(())
}

/// Fails early where no VM can run, before an image is imported for nothing.
fn check_kvm(device: &Path) -> Result<(), Error> {
    match File::options().read(true).write(true).open(device) {
        Ok(_) => Ok(()),
        Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
            Err(StartError::KvmPermission { source }.into())
        }
        Err(source) => Err(StartError::NoKvm { source }.into()),
    }
}

fn kernel_for_new(store: &Store, settings: &Settings) -> Result<Kernel, Error> {
    let kernel = match &settings.kernel {
        Some(kernel) => kernel.clone(),
        None => Kernel::default_for(store.dir())?,
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

fn create(
    store: &Store,
    base: SnapshotDigest,
    settings: &Settings,
    (drives, _until_they_are_named): (Vec<DriveRecord>, Vec<Lease>),
) -> Result<Holding, Error> {
    let kernel = kernel_for_new(store, settings)?;
    let (snapshot, _until_it_is_named) = grown(store, base, settings)?;
    let id = settings.id.clone().map_or_else(id::random, Ok)?;
    let record = Record {
        id,
        state: RecordState::Stopped,
        snapshot,
        origin: base,
        kernel: kernel.image().to_owned(),
        modules: kernel.modules().map(Path::to_owned),
        vcpus: settings.vcpus.unwrap_or(DEFAULT_VCPUS),
        memory_mib: settings.memory_mib.unwrap_or(DEFAULT_MEMORY_MIB),
        hostname: settings.hostname.clone(),
        created: 0,
        changed: 0,
        drives,
    };
    Holding::create(store.inner(), record)
}

fn resume(store: &Store, id: &str, settings: &Settings) -> Result<Holding, Error> {
    if let Some(other) = settings.id.as_ref().filter(|other| *other != id) {
        return Err(crate::error::Repr::IdOfResumed { id: other.clone() }.into());
    }
    if !settings.drives.is_empty() {
        return Err(crate::error::Repr::DrivesOfResumed { id: id.to_owned() }.into());
    }
    let mut holding = Holding::take(store.inner(), id)?;
    let record = holding.record();
    let recorded = || Kernel::recorded(record.kernel.clone(), record.modules.clone());
    let kernel = settings.kernel.clone().unwrap_or_else(recorded);
    kernel.check()?;
    if record.state == RecordState::Open
        && let Some(bytes) = settings.disk_bytes
        && bytes > store.snapshot(&record.snapshot)?.disk_bytes
    {
        return Err(crate::error::Repr::GrowInterrupted { id: id.to_owned() }.into());
    }
    let (snapshot, lease) = grown(store, record.snapshot, settings)?;
    holding.keep_until_open(lease);
    let record = holding.record_mut();
    record.snapshot = snapshot;
    record.kernel = kernel.image().to_owned();
    record.modules = kernel.modules().map(Path::to_owned);
    record.vcpus = settings.vcpus.unwrap_or(record.vcpus);
    record.memory_mib = settings.memory_mib.unwrap_or(record.memory_mib);
    record.hostname = settings.hostname.clone().or(record.hostname.take());
    Ok(holding)
}

fn boot(
    store: &Store,
    holding: &mut Holding,
    settings: &Settings,
    timings: &mut Timings,
) -> Result<(Machine, Background), Error> {
    let begun = Instant::now();
    let record = holding.record();
    let kernel = Kernel::recorded(record.kernel.clone(), record.modules.clone());
    let initramfs = initramfs::build(&kernel)?;
    let opened = store.kernels().open(kernel.image())?;
    let config = guest_config(store, holding)?;
    let console = holding.folder().console()?;
    let disks = holding.open_disks()?;
    let (disk, drives) = (Arc::clone(disks.root()), disks.drives().to_vec());
    let background = Background::begin(store.inner(), &holding.record().snapshot, settings.fill);
    let started = Arc::clone(&disk);
    let spec = Spec {
        kernel: opened,
        has_modules: kernel.modules().is_some(),
        initramfs,
        vcpus: holding.record().vcpus,
        memory_mib: holding.record().memory_mib,
        disk,
        drives: attached(holding.record(), drives),
        console,
        config,
        deadline: settings.boot_timeout,
    };
    timings.prepare = Some(begun.elapsed());
    let span = telemetry::boot_span(&holding.record().id);
    let (machine, times): (Machine, BootTimes) = span.in_scope(|| Machine::boot(spec))?;
    started.is_ready();
    background.is_ready();
    timings.set_boot(times);
    Ok((machine, background))
}

/// The further drives as the machine has them.
fn attached(record: &Record, disks: Vec<Arc<RootDisk>>) -> Vec<Attached> {
    let attached = |(drive, disk): (&DriveRecord, _)| Attached {
        serial: drive.name.clone(),
        read_only: drive.read_only,
        disk,
    };
    record.drives.iter().zip(disks).map(attached).collect()
}

/// Where the further drives are mounted, those first that others may lie below.
fn mounts(record: &Record) -> Vec<DriveMount> {
    let mount = |drive: &DriveRecord| {
        let MountPoint { path, options } = drive.mount.clone()?;
        Some(DriveMount {
            serial: drive.name.clone(),
            path,
            fstype: ROOT_FSTYPE.to_owned(),
            read_only: drive.read_only,
            options,
        })
    };
    let mut mounts: Vec<_> = record.drives.iter().filter_map(mount).collect();
    mounts.sort_by(|one, other| one.path.cmp(&other.path));
    mounts
}

/// What the guest shall be, by the image's config and the session's record.
fn guest_config(store: &Store, holding: &Holding) -> Result<Config, Error> {
    let image = store.snapshot(&holding.record().snapshot)?.machine;
    let unless_empty = |text: String| (!text.is_empty()).then_some(text);
    Ok(Config {
        hostname: holding.record().hostname.clone(),
        root: Root {
            serial: ROOT_SERIAL.to_owned(),
            fstype: ROOT_FSTYPE.to_owned(),
            read_only: false,
        },
        env: image.env,
        working_dir: unless_empty(image.working_dir),
        user: unless_empty(image.user),
        mounts: mounts(holding.record()),
    })
}

#[cfg(test)]
mod tests;
