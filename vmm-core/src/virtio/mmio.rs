//! The virtio-mmio transport, version 2 (virtio 1.2, section 4.2).
//!
//! Invariant: queues belong to the transport until the driver sets DRIVER_OK, then to the worker until the
//! driver resets the device. Until then, bits of the status come and none goes, so the features of a device
//! that is active are those that it agreed to.

mod state;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use virtio_bindings::bindings::virtio_config::{
    VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FAILED, VIRTIO_CONFIG_S_FEATURES_OK,
    VIRTIO_CONFIG_S_NEEDS_RESET,
};
use virtio_bindings::bindings::virtio_mmio as reg;
use virtio_bindings::bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use virtio_queue::{Queue, QueueT};

pub(crate) use state::CheckedRegisters;
pub use state::{QueueState, TransportState};

use super::{DeviceInfo, Interrupt, LiveConfig, Worker};

/// `virt`, little-endian.
const MAGIC: u32 = 0x7472_6976;
const VERSION: u32 = 2;
/// A vendor id of our own, which no driver looks at.
const VENDOR: u32 = u32::from_le_bytes(*b"VMSE");
/// What the length of a shared memory region reads as when there is none.
const NO_SHARED_MEMORY: u32 = u32::MAX;

/// Alignment of the parts of a queue (virtio 1.2, section 2.7).
const DESCRIPTOR_ALIGN: u32 = 16;
const AVAILABLE_ALIGN: u32 = 2;
const USED_ALIGN: u32 = 4;

/// The register window of one device.
pub(crate) struct MmioTransport {
    info: DeviceInfo,
    /// The configuration space, where it is not the constant one of `info`.
    live: Option<Arc<dyn LiveConfig>>,
    interrupt: Interrupt,
    worker: Worker,
    registers: Mutex<Registers>,
}

#[derive(Debug)]
struct Registers {
    device_features_sel: u32,
    driver_features_sel: u32,
    driver_features: u64,
    queue_sel: u32,
    queues: Vec<Queue>,
    active: bool,
}

impl Registers {
    fn new(info: &DeviceInfo) -> Self {
        let queues = info.queue_sizes.iter().map(|size| {
            Queue::new(*size).expect("a device's queue sizes are powers of two within bounds")
        });
        Self {
            device_features_sel: 0,
            driver_features_sel: 0,
            driver_features: 0,
            queue_sel: 0,
            queues: queues.collect(),
            active: false,
        }
    }

    fn queue(&mut self) -> Option<&mut Queue> {
        self.queues.get_mut(self.queue_sel as usize)
    }
}

impl MmioTransport {
    pub(crate) fn new(info: DeviceInfo, interrupt: Interrupt, worker: Worker) -> Self {
        Self {
            registers: Mutex::new(Registers::new(&info)),
            info,
            live: None,
            interrupt,
            worker,
        }
    }

    /// The same window with a configuration space that changes.
    pub(crate) fn with_live_config(mut self, live: Option<Arc<dyn LiveConfig>>) -> Self {
        if let Some(live) = &live {
            live.connect(self.interrupt.clone());
        }
        self.live = live;
        self
    }

    pub(crate) fn worker(&self) -> &Worker {
        &self.worker
    }

    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// Handles the guest's read of `data.len()` bytes at `offset` of the window.
    pub(crate) fn read(&self, offset: u32, data: &mut [u8]) {
        data.fill(0);
        if let Some(at) = offset.checked_sub(reg::VIRTIO_MMIO_CONFIG) {
            if let Some(live) = &self.live {
                live.read(at as usize, data);
                return;
            }
            let config = self.info.config.get(at as usize..).unwrap_or_default();
            for (byte, value) in data.iter_mut().zip(config) {
                *byte = *value;
            }
        } else if let Ok(data) = <&mut [u8; 4]>::try_from(data) {
            *data = self.read_register(offset).to_le_bytes();
        }
    }

    /// Handles the guest's write of `data` at `offset` of the window.
    pub(crate) fn write(&self, offset: u32, data: &[u8]) {
        if let Some(at) = offset.checked_sub(reg::VIRTIO_MMIO_CONFIG) {
            self.write_config(at as usize, data);
        } else if let Ok(data) = data.try_into() {
            self.write_register(offset, u32::from_le_bytes(data));
        }
    }

    fn write_config(&self, at: usize, data: &[u8]) {
        let Some(live) = &self.live else { return };
        let registers = self.lock();
        let negotiated = match self.interrupt.status() & VIRTIO_CONFIG_S_FEATURES_OK {
            0 => 0,
            _ => registers.driver_features,
        };
        live.write(negotiated, at, data);
    }

    fn read_register(&self, offset: u32) -> u32 {
        let mut registers = self.lock();
        match offset {
            reg::VIRTIO_MMIO_MAGIC_VALUE => MAGIC,
            reg::VIRTIO_MMIO_VERSION => VERSION,
            reg::VIRTIO_MMIO_DEVICE_ID => self.info.id,
            reg::VIRTIO_MMIO_VENDOR_ID => VENDOR,
            reg::VIRTIO_MMIO_DEVICE_FEATURES => {
                half(self.info.features, registers.device_features_sel)
            }
            reg::VIRTIO_MMIO_QUEUE_NUM_MAX => self
                .info
                .queue_sizes
                .get(registers.queue_sel as usize)
                .map_or(0, |size| u32::from(*size)),
            reg::VIRTIO_MMIO_QUEUE_READY => registers.queue().is_some_and(|q| q.ready()).into(),
            reg::VIRTIO_MMIO_INTERRUPT_STATUS => self.interrupt.pending(),
            reg::VIRTIO_MMIO_STATUS => self.interrupt.status(),
            reg::VIRTIO_MMIO_CONFIG_GENERATION => {
                self.live.as_ref().map_or(0, |live| live.generation())
            }
            reg::VIRTIO_MMIO_SHM_LEN_LOW
            | reg::VIRTIO_MMIO_SHM_LEN_HIGH
            | reg::VIRTIO_MMIO_SHM_BASE_LOW
            | reg::VIRTIO_MMIO_SHM_BASE_HIGH => NO_SHARED_MEMORY,
            _ => 0,
        }
    }

    fn write_register(&self, offset: u32, value: u32) {
        let mut registers = self.lock();
        match offset {
            reg::VIRTIO_MMIO_DEVICE_FEATURES_SEL => registers.device_features_sel = value,
            reg::VIRTIO_MMIO_DRIVER_FEATURES_SEL => registers.driver_features_sel = value,
            reg::VIRTIO_MMIO_DRIVER_FEATURES => self.accept_features(&mut registers, value),
            reg::VIRTIO_MMIO_QUEUE_SEL => registers.queue_sel = value,
            reg::VIRTIO_MMIO_INTERRUPT_ACK => self.interrupt.acknowledge(value),
            reg::VIRTIO_MMIO_STATUS => self.set_status(&mut registers, value),
            reg::VIRTIO_MMIO_QUEUE_NOTIFY => self.kick(value),
            _ if !registers.active => {
                if let Some(queue) = registers.queue() {
                    write_queue_register(queue, offset, value);
                }
            }
            _ => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Registers> {
        self.registers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn accept_features(&self, registers: &mut Registers, value: u32) {
        if self.interrupt.status() & VIRTIO_CONFIG_S_FEATURES_OK != 0 {
            return;
        }
        let shift = match registers.driver_features_sel {
            0 => 0,
            1 => 32,
            _ => return,
        };
        registers.driver_features &= !(u64::from(u32::MAX) << shift);
        registers.driver_features |= u64::from(value) << shift;
    }

    /// A driver sets bits, and takes them back by a reset alone (virtio 1.2, section 2.1.1); one is the device's.
    fn set_status(&self, registers: &mut Registers, value: u32) {
        if value == 0 {
            if registers.active {
                self.worker.reset();
            }
            if let Some(live) = &self.live {
                live.reset();
            }
            *registers = Registers::new(&self.info);
            self.interrupt.clear();
            return;
        }
        let mut bits = value & !VIRTIO_CONFIG_S_NEEDS_RESET;
        let features = registers.driver_features;
        if !self.info.accepts(features) {
            bits &= !VIRTIO_CONFIG_S_FEATURES_OK;
        }
        let status = self.interrupt.add_status(bits);
        let ready = VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK;
        if status & ready == ready && status & VIRTIO_CONFIG_S_FAILED == 0 && !registers.active {
            registers.active = true;
            let mut queues = std::mem::take(&mut registers.queues);
            for queue in &mut queues {
                queue.set_event_idx(features & (1 << VIRTIO_RING_F_EVENT_IDX) != 0);
            }
            self.worker.activate(queues, features);
        }
    }

    /// Kicks normally go from KVM to the worker; this is for those that reach a vCPU thread all the same.
    fn kick(&self, queue: u32) {
        if let Some(kick) = self.worker.kicks().get(queue as usize) {
            let _kicked_already = kick.write(1);
        }
    }
}

impl Drop for MmioTransport {
    fn drop(&mut self) {
        if let Some(live) = &self.live {
            live.disconnect();
        }
    }
}

impl fmt::Debug for MmioTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MmioTransport")
            .field("info", &self.info)
            .field("interrupt", &self.interrupt)
            .field("registers", &self.registers)
            .finish_non_exhaustive()
    }
}

fn half(value: u64, select: u32) -> u32 {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    match select {
        0 => u32::from_le_bytes([a, b, c, d]),
        1 => u32::from_le_bytes([e, f, g, h]),
        _ => 0,
    }
}

fn write_queue_register(queue: &mut Queue, offset: u32, value: u32) {
    match offset {
        reg::VIRTIO_MMIO_QUEUE_NUM => {
            // A size out of bounds leaves the old one, which the driver can't have meant; its rings are
            // then wherever they are, and checked all the same.
            let size = u16::try_from(value).unwrap_or(0);
            if size.is_power_of_two() && size <= queue.max_size() {
                queue.set_size(size);
            }
        }
        // A ring that isn't aligned leaves the old address, too. The queue would say so in the log, and a
        // guest must not be able to fill that.
        reg::VIRTIO_MMIO_QUEUE_DESC_LOW if !value.is_multiple_of(DESCRIPTOR_ALIGN) => {}
        reg::VIRTIO_MMIO_QUEUE_AVAIL_LOW if !value.is_multiple_of(AVAILABLE_ALIGN) => {}
        reg::VIRTIO_MMIO_QUEUE_USED_LOW if !value.is_multiple_of(USED_ALIGN) => {}
        reg::VIRTIO_MMIO_QUEUE_READY => queue.set_ready(value == 1),
        reg::VIRTIO_MMIO_QUEUE_DESC_LOW => queue.set_desc_table_address(Some(value), None),
        reg::VIRTIO_MMIO_QUEUE_DESC_HIGH => queue.set_desc_table_address(None, Some(value)),
        reg::VIRTIO_MMIO_QUEUE_AVAIL_LOW => queue.set_avail_ring_address(Some(value), None),
        reg::VIRTIO_MMIO_QUEUE_AVAIL_HIGH => queue.set_avail_ring_address(None, Some(value)),
        reg::VIRTIO_MMIO_QUEUE_USED_LOW => queue.set_used_ring_address(Some(value), None),
        reg::VIRTIO_MMIO_QUEUE_USED_HIGH => queue.set_used_ring_address(None, Some(value)),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
