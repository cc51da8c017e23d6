//! What a machine is made of.

use std::iter;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use agent::protocol::Config;
use vmm_core::{BlockBackend, Drive, Net, RECOMMENDED_COMMAND_LINE, VmConfig};

use super::ROOT_SERIAL;
use super::news::News;
use crate::console::{Console, ConsoleFiles};
use crate::disk::RootDisk;
use crate::event::Events;
use crate::kernel::HeldKernel;

/// The guest's address; it means something to its own VM alone.
const CID: u32 = 3;

/// Nobody logs in on the console, which has no input. Without udev in the image, systemd would wait 90 s for it.
const NO_GETTY: &str = "systemd.getty_auto=0";

/// A machine to be booted.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) kernel: HeldKernel,
    pub(crate) has_modules: bool,
    pub(crate) initramfs: Vec<u8>,
    pub(crate) nets: Vec<Net>,
    pub(crate) vcpus: u8,
    pub(crate) memory_mib: u32,
    pub(crate) disk: Arc<RootDisk>,
    pub(crate) drives: Vec<Attached>,
    pub(crate) console: ConsoleFiles,
    /// Who is told how far it has come, and what happens to its devices.
    pub(crate) events: Arc<Events>,
    pub(crate) config: Config,
    /// How long it may take until the guest takes commands.
    pub(crate) deadline: Duration,
}

/// A further drive of a machine.
#[derive(Debug)]
pub(crate) struct Attached {
    /// What the agent knows it by.
    pub(crate) serial: String,
    pub(crate) read_only: bool,
    pub(crate) disk: Arc<RootDisk>,
}

impl From<Attached> for Drive {
    fn from(attached: Attached) -> Self {
        let limiter = attached.disk.limiter().clone();
        let mut drive = Self::new(attached.disk);
        drive.serial = attached.serial;
        drive.read_only = attached.read_only;
        drive.limiter = limiter;
        drive
    }
}

/// A machine that can be started, and what its owner needs of it then.
pub(super) struct Parts {
    pub(super) vm: VmConfig,
    pub(super) agent: Config,
    pub(super) console: Console,
    pub(super) disk: Arc<RootDisk>,
    pub(super) kernel: HeldKernel,
    pub(super) has_modules: bool,
    pub(super) has_tripped: Arc<AtomicBool>,
    pub(super) events: Arc<Events>,
    pub(super) deadline: Duration,
}

impl Spec {
    pub(super) fn into_parts(self) -> Parts {
        let console = Console::new(self.console);
        let has_tripped = Arc::<AtomicBool>::default();
        let news = News {
            events: Arc::clone(&self.events),
            drives: self
                .drives
                .iter()
                .map(|drive| drive.serial.clone())
                .collect(),
            has_tripped: Arc::clone(&has_tripped),
        };
        let mut root = Drive::new(Arc::clone(&self.disk) as Arc<dyn BlockBackend>);
        root.serial = ROOT_SERIAL.to_owned();
        root.limiter = self.disk.limiter().clone();
        let mut vm = VmConfig::new(self.kernel.kernel());
        vm.initrd = Some(self.initramfs);
        vm.command_line = format!("{RECOMMENDED_COMMAND_LINE} {NO_GETTY}");
        vm.vcpus = self.vcpus;
        vm.memory_mib = self.memory_mib;
        let further = self.drives.into_iter().map(Drive::from);
        vm.drives = iter::once(root).chain(further).collect();
        vm.nets = self.nets;
        vm.vsock_cid = Some(CID);
        vm.console = Box::new(console.clone());
        vm.on_event = Some(Box::new(move |event| news.hear(event)));
        Parts {
            vm,
            agent: self.config,
            console,
            disk: self.disk,
            kernel: self.kernel,
            has_modules: self.has_modules,
            has_tripped,
            events: self.events,
            deadline: self.deadline,
        }
    }
}
