//! Starting a session: everything that can be wrong is looked at before anything is made.
//!
//! Invariant: a failure leaves no new session, and a resumed one as it was.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::protocol::{Config, DriveMount, Root};
use rootfs_store::{Lease, SnapshotDigest};
use vmm_core::{MAX_VCPUS, MIN_MEMORY_MIB, StartError, Switch};

use crate::about::About;
use crate::background::{Background, Fill};
use crate::builder::{SessionBuilder, Settings, Source};
use crate::clock;
use crate::disk::RootDisk;
use crate::drive::{self, DriveRecord, MountPoint};
use crate::error::{Error, Repr};
use crate::event::{Event, Events};
use crate::holding::Holding;
use crate::id;
use crate::identity::{Description, Identity};
use crate::initramfs;
use crate::kernel::Kernel;
use crate::machine::{Attached, BootTimes, Machine, ROOT_SERIAL, Spec, Watch};
use crate::network;
use crate::quotas;
use crate::record::{Record, RecordState};
use crate::session::Session;
use crate::store::{SessionInfo, Store};
use crate::telemetry;
use crate::timings::Timings;

const DEFAULT_VCPUS: u8 = 1;
const DEFAULT_MEMORY_MIB: u32 = 512;

/// The file system that imports write.
const ROOT_FSTYPE: &str = "ext4";

const KVM: &str = "/dev/kvm";

/// What guests can run, as Go names it.
const ARCHITECTURES: [&str; 2] = ["amd64", "386"];

/// What a start of a guest takes that no record holds.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) fill: Option<Fill>,
    /// Those that were given for the guest's networks, in their order.
    pub(crate) switches: Vec<Option<Switch>>,
    pub(crate) boot_timeout: Duration,
}

/// A session whose guest takes commands.
pub(crate) struct Launched {
    pub(crate) store: Store,
    pub(crate) machine: Machine,
    pub(crate) background: Background,
    pub(crate) holding: Holding,
    pub(crate) events: Arc<Events>,
    pub(crate) plan: Plan,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) timings: Timings,
    /// How long the run had lasted when it was cut off, if it goes on.
    pub(crate) used: Duration,
}

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
    quotas::check_start(&store, &labels(&store, &source, &settings)?)?;
    let mut timings = Timings::default();
    let mut holding = match source {
        Source::Session(id) => resume(&store, &id, &settings)?,
        new => make(&store, new, &settings, &mut timings)?,
    };
    telemetry::of_session(&holding.record().id);
    let events = Arc::new(events);
    holding.tell(Arc::clone(&events));
    // An image may have taken what room there was.
    if timings.import.is_some()
        && let Err(error) = quotas::check_start(&store, &holding.record().about.labels)
    {
        holding.give_back();
        return Err(error);
    }
    let now = clock::unix(store.clock());
    let used = begin_run(holding.record_mut(), now);
    let plan = Plan {
        fill: settings.fill,
        switches: settings.switches.clone(),
        boot_timeout: settings.boot_timeout,
    };
    match boot(&store, &mut holding, &plan, &mut timings, &|_| ()) {
        Ok((machine, background)) => Session::new(Launched {
            store,
            machine,
            background,
            holding,
            events,
            plan,
            shutdown_timeout: settings.shutdown_timeout,
            timings,
            used,
        }),
        Err(error) => {
            holding.give_back();
            Err(error)
        }
    }
}

/// Makes the session that was described, without starting it.
pub(crate) fn make_only(builder: SessionBuilder) -> Result<SessionInfo, Error> {
    let SessionBuilder {
        store,
        source,
        settings,
        ..
    } = builder;
    check(&settings)?;
    if let Source::Session(id) = source {
        return Err(Repr::SessionExists { id }.into());
    }
    let holding = make(&store, source, &settings, &mut Timings::default())?;
    let id = holding.record().id.clone();
    drop(holding);
    store.session(&id)
}

/// The labels that the session has, or will have.
fn labels(
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

fn make(
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
            kernel_for_new(store, settings, None)?;
            let drives = drive::resolve(store, &settings.drives)?;
            create(store, base, None, settings, drives)
        }
        Source::Like(record, _until_it_is_named) => {
            check_machine(store, &record.snapshot)?;
            kernel_for_new(store, settings, Some(&record))?;
            let (more, leases) = drive::resolve(store, &settings.drives)?;
            let drives = drive::together(record.drives.clone(), more)?;
            create(
                store,
                record.snapshot,
                Some(*record),
                settings,
                (drives, leases),
            )
        }
        Source::Image(import) => {
            let import = match settings.disk_bytes {
                Some(bytes) => import.disk_bytes(bytes),
                None => *import,
            };
            let (_, options) = import.check()?;
            check_architecture(&options.platform.architecture)?;
            kernel_for_new(store, settings, None)?;
            let begun = Instant::now();
            let drives = drive::resolve(store, &settings.drives)?;
            let (snapshot, _until_it_is_named) = import.obtain()?;
            timings.import = Some(begun.elapsed());
            check_machine(store, &snapshot)?;
            create(store, snapshot, None, settings, drives)
        }
    }
}

/// Notes that a run begins, or goes on that was cut off before its time was over. Returns how long that had lasted by
/// the time of day; one that was set back makes no run shorter than it is, and none longer.
fn begin_run(record: &mut Record, now: u64) -> Duration {
    record.failure = None;
    let used = record.started.and_then(|started| now.checked_sub(started));
    let used = used.map(Duration::from_secs).filter(|used| {
        let limit = record.limits.max_uptime;
        record.state.has_disk() && limit.is_none_or(|limit| *used < limit)
    });
    if used.is_none() {
        record.started = Some(now);
    }
    used.unwrap_or_default()
}

/// Checks what can be checked without touching the store.
fn check(settings: &Settings) -> Result<(), Error> {
    settings.id.as_deref().map_or(Ok(()), id::check)?;
    settings
        .hostname
        .as_deref()
        .map_or(Ok(()), id::check_hostname)?;
    settings
        .limits
        .as_ref()
        .map_or(Ok(()), |limits| limits.check())?;
    let about = settings.about.as_ref();
    about.map_or(Ok(()), About::check)?;
    settings.description.check()?;
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

/// Refuses a snapshot whose programs the guest's processor can't run.
fn check_machine(store: &Store, snapshot: &SnapshotDigest) -> Result<(), Error> {
    check_architecture(store.snapshot(snapshot)?.machine.architecture())
}

fn check_architecture(architecture: &str) -> Result<(), Error> {
    match ARCHITECTURES.contains(&architecture) {
        true => Ok(()),
        false => Err(Repr::OtherMachine {
            architecture: architecture.to_owned(),
        }
        .into()),
    }
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

/// Makes a new session from a snapshot; what is not set is as it is with `like`, if there is such a one.
fn create(
    store: &Store,
    base: SnapshotDigest,
    like: Option<Record>,
    settings: &Settings,
    (drives, _until_they_are_named): (Vec<DriveRecord>, Vec<Lease>),
) -> Result<Holding, Error> {
    let kernel = kernel_for_new(store, settings, like.as_ref())?;
    let (snapshot, _until_it_is_named) = grown(store, base, settings)?;
    let id = settings.id.clone().map_or_else(id::random, Ok)?;
    let like = like.as_ref();
    let vcpus = like.map_or(DEFAULT_VCPUS, |like| like.vcpus);
    let memory_mib = like.map_or(DEFAULT_MEMORY_MIB, |like| like.memory_mib);
    let hostname = like.and_then(|like| like.hostname.clone());
    let limits = like.map(|like| like.limits.clone());
    let identity = match like {
        // Another machine, that is described like the first.
        Some(like) => like.identity.of_another(settings.description.clone())?,
        None => Identity::create(settings.description.clone())?,
    };
    let about = About {
        labels: like.map_or_else(BTreeMap::new, |like| like.about.labels.clone()),
        ..About::default()
    };
    let record = Record {
        id,
        state: RecordState::Stopped,
        snapshot,
        origin: base,
        kernel: kernel.image().to_owned(),
        modules: kernel.modules().map(Path::to_owned),
        vcpus: settings.vcpus.unwrap_or(vcpus),
        memory_mib: settings.memory_mib.unwrap_or(memory_mib),
        hostname: settings.hostname.clone().or(hostname),
        identity,
        created: 0,
        changed: 0,
        started: None,
        failure: None,
        limits: settings.limits.clone().or(limits).unwrap_or_default(),
        about: settings.about.clone().unwrap_or(about),
        drives,
    };
    let _others_wait = quotas::check_new(store)?;
    Holding::create(store, record)
}

fn resume(store: &Store, id: &str, settings: &Settings) -> Result<Holding, Error> {
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
    record.identity.describe(settings.description.clone())?;
    Ok(holding)
}

/// Boots the guest of a session. `begun_with` is told of the machine as soon as there is one.
pub(crate) fn boot(
    store: &Store,
    holding: &mut Holding,
    plan: &Plan,
    timings: &mut Timings,
    begun_with: &dyn Fn(Watch),
) -> Result<(Machine, Background), Error> {
    let begun = Instant::now();
    let record = holding.record();
    let kernel = Kernel::recorded(record.kernel.clone(), record.modules.clone());
    let identity = &record.identity;
    let cards = &identity.description().networks;
    let initramfs = initramfs::build(&kernel, !cards.is_empty())?;
    let machine_id = identity.machine_id().unwrap_or_default();
    let nets = network::open(cards, &plan.switches, machine_id)?;
    let opened = store.kernels().open(kernel.image())?;
    let console = holding.folder().console()?;
    let disks = holding.open_disks()?;
    let (disk, drives) = (Arc::clone(disks.root()), disks.drives().to_vec());
    let config = guest_config(store, holding)?;
    let background = Background::begin(store.inner(), &holding.record().snapshot, plan.fill);
    let started = Arc::clone(&disk);
    let spec = Spec {
        kernel: opened,
        has_modules: kernel.modules().is_some(),
        initramfs,
        nets,
        vcpus: holding.record().vcpus,
        memory_mib: holding.record().memory_mib,
        disk,
        drives: attached(holding.record(), drives),
        console,
        config,
        deadline: plan.boot_timeout,
    };
    timings.prepare = Some(begun.elapsed());
    let span = telemetry::boot_span(&holding.record().id);
    let (machine, times): (Machine, BootTimes) =
        span.in_scope(|| Machine::boot(spec, begun_with))?;
    for message in machine.complaints() {
        tracing::warn!(
            message,
            "a part of a guest's identity could not be carried out"
        );
        let message = message.clone();
        holding
            .events()
            .tell(&Event::IdentityIncomplete { message });
    }
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
    let Record {
        hostname, identity, ..
    } = holding.record();
    let Description {
        env,
        working_dir,
        run_as,
        ..
    } = identity.description().clone();
    let env = env
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"));
    Ok(Config {
        hostname: hostname.clone(),
        root: Root {
            serial: ROOT_SERIAL.to_owned(),
            fstype: ROOT_FSTYPE.to_owned(),
            read_only: false,
        },
        env: image.env.into_iter().chain(env).collect(),
        working_dir: working_dir.or(unless_empty(image.working_dir)),
        user: run_as.or(unless_empty(image.user)),
        identity: Box::new(identity.to_wire()),
        mounts: mounts(holding.record()),
    })
}

#[cfg(test)]
mod tests;
