//! A VM's virtio devices: which there are, their threads, and their wires to the guest.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use kvm_ioctls::{IoEventAddress, VmFd};
use virtio_bindings::bindings::virtio_mmio::VIRTIO_MMIO_QUEUE_NOTIFY;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::build::host;
use super::kvm::kvm_error;
use super::{Exit, Outcome};
use crate::block::{self, Block};
use crate::config::VmConfig;
use crate::error::{RunError, StartError};
use crate::layout::{SERIAL_GSI, VIRTIO_FIRST_GSI, VIRTIO_MMIO, VIRTIO_MMIO_STRIDE};
use crate::memory::Memory;
use crate::net::{self, NetDevice};
use crate::rng;
use crate::virtio::{DeviceInfo, Handler, Interrupt, MmioTransport, Worker};
use crate::vsock::{self, Shared, VsockDevice};

/// A device that has not been started.
pub(super) struct Device {
    name: String,
    info: DeviceInfo,
    handler: Box<dyn Handler>,
}

/// The devices in the order of their register windows, which is that of `/dev/vda`, `/dev/vdb`, …. Takes the network
/// devices out of `config`.
pub(super) fn devices(
    config: &mut VmConfig,
    stopping: &Arc<AtomicBool>,
    vsock: Option<&Arc<Shared>>,
) -> Result<Vec<Device>, StartError> {
    let mut devices = Vec::new();
    for (index, drive) in config.drives.iter().enumerate() {
        devices.push(Device {
            name: format!("vm-block{index}"),
            info: block::info(drive),
            handler: Box::new(Block::new(drive, Arc::clone(stopping))),
        });
    }
    for (index, net) in config.nets.drain(..).enumerate() {
        devices.push(Device {
            name: format!("vm-net{index}"),
            info: net::info(&net, index),
            handler: NetDevice::new(net)
                .map(Box::new)
                .map_err(|source| net_error(index, source))?,
        });
    }
    if let (Some(shared), Some(cid)) = (vsock, config.vsock_cid) {
        devices.push(Device {
            name: "vm-vsock".to_owned(),
            info: vsock::info(cid),
            handler: Box::new(VsockDevice::new(Arc::clone(shared))),
        });
    }
    devices.push(Device {
        name: "vm-rng".to_owned(),
        info: rng::info(),
        handler: Box::new(rng::Entropy),
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

/// Starts each device's thread and wires it to the guest. On an error, the devices that were started.
pub(super) fn start_devices(
    vm: &VmFd,
    memory: &Memory,
    outcome: &Arc<Outcome>,
    devices: Vec<Device>,
    threads: &mut Vec<JoinHandle<()>>,
) -> Result<Vec<MmioTransport>, (Vec<MmioTransport>, StartError)> {
    let mut transports = Vec::new();
    for (device, gsi) in devices.into_iter().zip(VIRTIO_FIRST_GSI..) {
        let base = VIRTIO_MMIO + transports.len() as u64 * VIRTIO_MMIO_STRIDE;
        let transport = match start_device(memory, outcome, device, threads) {
            Ok(transport) => transport,
            Err(source) => return Err((transports, host("start a device's thread")(source))),
        };
        let wired = wire(vm, &transport, base, gsi);
        transports.push(transport);
        if let Err(error) = wired {
            return Err((transports, error));
        }
    }
    Ok(transports)
}

fn start_device(
    memory: &Memory,
    outcome: &Arc<Outcome>,
    device: Device,
    threads: &mut Vec<JoinHandle<()>>,
) -> io::Result<MmioTransport> {
    let interrupt = Interrupt::new()?;
    let (worker, thread) = Worker::start(
        device.name,
        device.info.queue_sizes.len(),
        device.handler,
        memory.clone(),
        interrupt.clone(),
        reporter(outcome),
    )?;
    threads.push(thread);
    Ok(MmioTransport::new(device.info, interrupt, worker))
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
    let line = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)
        .map_err(host("make a descriptor for the serial port"))?;
    vm.register_irqfd(&line, SERIAL_GSI)
        .map_err(kvm_error("connect the serial port's interrupt"))?;
    Ok(Arc::new(line))
}

fn reporter(outcome: &Arc<Outcome>) -> impl FnOnce(RunError) + Send + 'static {
    let outcome = Arc::clone(outcome);
    move |error| outcome.end(Exit::Failed(Arc::new(error)))
}
