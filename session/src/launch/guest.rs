//! The guest of a session: what it is made of, and its boot.

use std::sync::Arc;
use std::time::Instant;

use agent::protocol::{Config, DriveMount, Root};

use super::Plan;
use crate::background::Background;
use crate::disk::RootDisk;
use crate::drive::{DriveRecord, MountPoint};
use crate::error::Error;
use crate::event::{Event, StartStep};
use crate::holding::Holding;
use crate::identity::Description;
use crate::initramfs;
use crate::kernel::Kernel;
use crate::machine::{Attached, BootTimes, Machine, ROOT_SERIAL, Spec, Watch};
use crate::network;
use crate::record::Record;
use crate::store::Store;
use crate::telemetry;
use crate::timings::Timings;

/// The file system that imports write.
const ROOT_FSTYPE: &str = "ext4";

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
        events: Arc::clone(holding.events()),
        config,
        deadline: plan.boot_timeout,
    };
    timings.prepare = Some(begun.elapsed());
    let step = StartStep::Prepared;
    holding.events().tell(Event::Starting { step });
    let span = telemetry::boot_span(&holding.record().id);
    let (machine, times): (Machine, BootTimes) =
        span.in_scope(|| Machine::boot(spec, begun_with))?;
    for message in machine.complaints() {
        tracing::warn!(
            message,
            "a part of a guest's identity could not be carried out"
        );
        let message = message.clone();
        holding.events().tell(Event::IdentityIncomplete { message });
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
