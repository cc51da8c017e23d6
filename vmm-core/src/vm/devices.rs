//! A VM's virtio devices: which there are, their threads, and their wires to the guest.

use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use kvm_ioctls::{IoEventAddress, VmFd};
use virtio_bindings::bindings::virtio_mmio::VIRTIO_MMIO_QUEUE_NOTIFY;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::build::host;
use super::kvm::kvm_error;
use super::{Exit, Outcome};
use crate::balloon::{self, BalloonDevice, SharedBalloon};
use crate::block::{self, Block, BlockState, ConfigSpace, DiskCounters, ErrorReports};
use crate::calls::SlowCalls;
use crate::config::VmConfig;
use crate::error::{RunError, StartError};
use crate::event::{Backend, Events};
use crate::layout::{
    POWER_BUTTON_GSI, SERIAL_GSI, VIRTIO_FIRST_GSI, VIRTIO_MMIO, VIRTIO_MMIO_STRIDE,
};
use crate::machine::PowerButton;
use crate::memory::Memory;
use crate::metrics::DeviceMeter;
use crate::net::{self, Link, NetDevice, NetState};
use crate::rate::RateLimiter;
use crate::rng;
use crate::seccomp::{DeviceCalls, Filters, HostCalls};
use crate::virtio::{DeviceInfo, Handler, Interrupt, LiveConfig, MmioTransport, Worker};
use crate::vsock::{self, Shared, Sockets, VsockDevice, VsockState};

/// A device that has not been started.
pub(super) struct Device {
    name: String,
    info: DeviceInfo,
    handler: Handlers,
    counters: Option<Arc<DiskCounters>>,
    calls: DeviceCalls,
    source: Source,
}

/// What a device is made of besides its transport: what its state comes from.
#[derive(Clone)]
pub(super) enum Source {
    Block {
        /// But for what its limits have left, and its driver chose.
        state: BlockState,
        space: Arc<ConfigSpace>,
        limiter: RateLimiter,
    },
    Net {
        /// But for what its limits have left, and its link.
        state: NetState,
        link: Arc<Link>,
        receive_limiter: RateLimiter,
        transmit_limiter: RateLimiter,
    },
    Vsock {
        state: VsockState,
        shared: Arc<Shared>,
    },
    Balloon(SharedBalloon),
    Entropy,
}

impl Device {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn info(&self) -> &DeviceInfo {
        &self.info
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }
}

/// What serves a device's queues.
enum Handlers {
    ForAll(Box<dyn Handler>),
    /// One for each, with a thread of its own.
    ForEach(Vec<Box<dyn Handler>>),
}

impl Handlers {
    fn live_config(&self) -> Option<Arc<dyn LiveConfig>> {
        match self {
            Self::ForAll(handler) => handler.live_config(),
            Self::ForEach(handlers) => handlers.iter().find_map(|handler| handler.live_config()),
        }
    }
}

/// The devices in the order of their register windows, which is that of `/dev/vda`, `/dev/vdb`, …. Takes the network
/// devices out of `config`.
pub(super) fn devices(
    config: &mut VmConfig,
    stopping: &Arc<AtomicBool>,
    vsock: Option<&Arc<Shared>>,
    balloon: Option<&SharedBalloon>,
    events: &Events,
    slow_calls: &mut SlowCalls,
) -> Result<Vec<Device>, StartError> {
    let mut devices = Vec::new();
    for (index, drive) in config.drives.iter().enumerate() {
        let reports = Arc::new(Mutex::new(ErrorReports::new(index, events.clone())));
        let counters = Arc::<DiskCounters>::default();
        let space = ConfigSpace::of(drive);
        let name = format!("vm-block{index}");
        let mut block = |queue: u16| -> io::Result<Box<dyn Handler>> {
            let thread = thread_name(&name, queue.into());
            let block = Block::new(drive, Arc::clone(stopping))?
                .sharing(&space)
                .reporting_to(Arc::clone(&reports))
                .counting_in(Arc::clone(&counters))
                .calling_as(slow_calls.of_thread(thread, Backend::Drive(index)));
            Ok(Box::new(block))
        };
        let handlers = (0..drive.queues).map(&mut block).collect::<io::Result<_>>();
        devices.push(Device {
            info: block::info(drive),
            handler: handlers
                .map(Handlers::ForEach)
                .map_err(host("make the descriptors of a drive's limits"))?,
            name,
            counters: Some(counters),
            calls: DeviceCalls::Of(drive.backend.host_calls()),
            source: Source::Block {
                state: BlockState::of(drive),
                space,
                limiter: drive.limiter.clone(),
            },
        });
    }
    for (index, mut net) in config.nets.drain(..).enumerate() {
        net.settle_mac(index);
        let name = format!("vm-net{index}");
        let calls = slow_calls.of_thread(name.clone(), Backend::Net(index));
        devices.push(Device {
            name,
            info: net::info(&net),
            calls: DeviceCalls::Of(net.backend.host_calls()),
            source: Source::Net {
                state: NetState::of(&net, index),
                link: Arc::clone(&net.link),
                receive_limiter: net.receive_limiter.clone(),
                transmit_limiter: net.transmit_limiter.clone(),
            },
            handler: NetDevice::new(net)
                .map(|device| device.telling(events.clone(), index).calling_as(calls))
                .map(|device| Handlers::ForAll(Box::new(device)))
                .map_err(|source| net_error(index, source))?,
            counters: None,
        });
    }
    if let (Some(shared), Some(cid)) = (vsock, config.vsock_cid) {
        let sockets = config
            .vsock_socket
            .as_deref()
            .map(Sockets::open)
            .transpose()?;
        let calls = match sockets {
            Some(_) => DeviceCalls::UnixSockets,
            None => DeviceCalls::Of(HostCalls::Descriptors),
        };
        devices.push(Device {
            name: "vm-vsock".to_owned(),
            info: vsock::info(cid),
            handler: Handlers::ForAll(Box::new(VsockDevice::new(Arc::clone(shared), sockets))),
            counters: None,
            calls,
            source: Source::Vsock {
                state: VsockState::new(cid),
                shared: Arc::clone(shared),
            },
        });
    }
    if let Some(balloon) = balloon {
        devices.push(Device {
            name: "vm-balloon".to_owned(),
            info: balloon::info(),
            handler: Handlers::ForAll(Box::new(BalloonDevice::new(Arc::clone(balloon)))),
            counters: None,
            calls: DeviceCalls::Of(HostCalls::Descriptors),
            source: Source::Balloon(Arc::clone(balloon)),
        });
    }
    devices.push(Device {
        name: "vm-rng".to_owned(),
        info: rng::info(),
        handler: Handlers::ForAll(Box::new(rng::Entropy)),
        counters: None,
        calls: DeviceCalls::Of(HostCalls::Descriptors),
        source: Source::Entropy,
    });
    Ok(devices)
}

/// The error of making a network device.
fn net_error(index: usize, source: io::Error) -> StartError {
    match source.raw_os_error() {
        // What epoll answers for files and folders.
        Some(libc::EPERM) => StartError::NetBackend { index, source },
        _ => host("make a descriptor for a network device")(source),
    }
}

/// The devices that have been started.
#[derive(Default)]
pub(super) struct Started {
    pub(super) transports: Vec<MmioTransport>,
    pub(super) threads: Vec<JoinHandle<()>>,
    pub(super) meters: Vec<DeviceMeter>,
    pub(super) sources: Vec<Source>,
}

/// Starts each device's threads and wires it to the guest. After an error `started` has what needs to be stopped.
pub(super) fn start_devices(
    vm: &VmFd,
    memory: &Memory,
    outcome: &Arc<Outcome>,
    devices: Vec<Device>,
    filters: &Filters,
    started: &mut Started,
) -> Result<(), StartError> {
    for (device, gsi) in devices.into_iter().zip(VIRTIO_FIRST_GSI..) {
        let base = VIRTIO_MMIO + started.transports.len() as u64 * VIRTIO_MMIO_STRIDE;
        let (name, disk) = (device.name.clone(), device.counters.clone());
        started.sources.push(device.source.clone());
        let threads = &mut started.threads;
        let (transport, spawned) = start_device(memory, outcome, device, filters, threads)
            .map_err(host("make a device's descriptors"))?;
        let wired = spawned
            .map_err(host("start a device's thread"))
            .and_then(|()| wire(vm, &transport, base, gsi));
        started.meters.push(DeviceMeter {
            name,
            queues: transport.worker().counters().to_vec(),
            interrupts: Arc::clone(transport.interrupt().counters()),
            disk,
        });
        started.transports.push(transport);
        wired?;
    }
    Ok(())
}

/// Makes a device's register window and starts its threads; if one of them does not start, the others need to
/// be stopped by the window.
pub(super) fn start_device(
    memory: &Memory,
    outcome: &Arc<Outcome>,
    device: Device,
    filters: &Filters,
    threads: &mut Vec<JoinHandle<()>>,
) -> io::Result<(MmioTransport, io::Result<()>)> {
    let interrupt = Interrupt::new()?;
    let queues = device.info.queue_sizes.len();
    let mut worker = Worker::new(queues)?;
    let live = device.handler.live_config();
    let handlers = match device.handler {
        Handlers::ForAll(handler) => vec![(device.name, queues, handler)],
        Handlers::ForEach(handlers) => (0..)
            .zip(handlers)
            .map(|(queue, handler)| (thread_name(&device.name, queue), 1, handler))
            .collect(),
    };
    let started = handlers
        .into_iter()
        .try_for_each(|(name, queues, handler)| {
            let (memory, interrupt) = (memory.clone(), interrupt.clone());
            let report = reporter(outcome);
            let thread = filters.device(name, device.calls);
            threads.push(worker.add_thread(thread, queues, handler, memory, interrupt, report)?);
            Ok(())
        });
    let transport = MmioTransport::new(device.info, interrupt, worker).with_live_config(live);
    Ok((transport, started))
}

/// The thread of a device's first queue has the device's name.
fn thread_name(device: &str, queue: usize) -> String {
    match queue {
        0 => device.to_owned(),
        queue => format!("{device}q{queue}"),
    }
}

/// Connects a device's interrupt and its queues' kicks with KVM.
fn wire(vm: &VmFd, transport: &MmioTransport, base: u64, gsi: u32) -> Result<(), StartError> {
    vm.register_irqfd(transport.interrupt().line(), gsi)
        .map_err(kvm_error("connect a device's interrupt"))?;
    let notify = IoEventAddress::Mmio(base + u64::from(VIRTIO_MMIO_QUEUE_NOTIFY));
    for (queue, kick) in (0u32..).zip(transport.worker().kicks()) {
        vm.register_ioevent(kick, &notify, queue)
            .map_err(kvm_error("connect a device's queue"))?;
    }
    Ok(())
}

/// The serial port's interrupt, connected.
pub(super) fn serial_line(vm: &VmFd) -> Result<Arc<EventFd>, StartError> {
    line(vm, SERIAL_GSI).map(Arc::new)
}

/// The power button, connected.
pub(super) fn power_button(vm: &VmFd) -> Result<Arc<PowerButton>, StartError> {
    let line = line(vm, POWER_BUTTON_GSI)?;
    Ok(Arc::new(PowerButton::new(line)))
}

/// A descriptor that raises interrupt line `gsi`.
fn line(vm: &VmFd, gsi: u32) -> Result<EventFd, StartError> {
    let line = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)
        .map_err(host("make a descriptor for an interrupt"))?;
    vm.register_irqfd(&line, gsi)
        .map_err(kvm_error("connect an interrupt"))?;
    Ok(line)
}

fn reporter(outcome: &Arc<Outcome>) -> impl FnOnce(RunError) + Send + 'static {
    let outcome = Arc::clone(outcome);
    move |error| {
        let _may_have_ended = outcome.end(Exit::Failed(Arc::new(error)));
    }
}
