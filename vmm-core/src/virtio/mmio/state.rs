//! A device's registers and queues as plain data.

use serde::{Deserialize, Serialize};
use virtio_bindings::bindings::virtio_config::{
    VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_NEEDS_RESET,
};
use virtio_bindings::bindings::virtio_mmio::{VIRTIO_MMIO_INT_CONFIG, VIRTIO_MMIO_INT_VRING};
use virtio_bindings::bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use virtio_queue::{Queue, QueueState as RingState};

use super::{AVAILABLE_ALIGN, DESCRIPTOR_ALIGN, MmioTransport, Registers, USED_ALIGN};
use crate::state::{FieldError, check};
use crate::virtio::{DeviceInfo, PausedWorker};

/// The state of a device's register window (virtio 1.2, section 4.2.2) and queues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TransportState {
    /// Which half of the device's features the driver reads.
    pub device_features_sel: u32,
    /// Which half of its own it writes.
    pub driver_features_sel: u32,
    /// Features that the driver took.
    pub driver_features: u64,
    /// Which queue the registers of queues are of.
    pub queue_sel: u32,
    /// The Status register, with the device's own bit in it.
    pub status: u32,
    /// The InterruptStatus register.
    pub interrupt_status: u32,
    /// Whether the device is at work: since DRIVER_OK, until a reset.
    pub active: bool,
    /// The queues.
    pub queues: Vec<QueueState>,
}

/// The state of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QueueState {
    /// How many entries it has.
    pub size: u16,
    /// Whether the driver uses it.
    pub ready: bool,
    /// Address of the descriptor table.
    pub descriptors: u64,
    /// Address of the available ring.
    pub available: u64,
    /// Address of the used ring.
    pub used: u64,
    /// Index of the next request that the device takes. Those from here on wait in the ring.
    pub next_available: u16,
    /// Index of the next request that it hands back.
    pub next_used: u16,
}

impl From<RingState> for QueueState {
    fn from(ring: RingState) -> Self {
        Self {
            size: ring.size,
            ready: ring.ready,
            descriptors: ring.desc_table,
            available: ring.avail_ring,
            used: ring.used_ring,
            next_available: ring.next_avail,
            next_used: ring.next_used,
        }
    }
}

impl QueueState {
    /// The queue, if a driver could have brought it about. Where it lies in memory is checked when it is
    /// used.
    fn checked(&self, max_size: u16, event_index: bool) -> Result<Queue, FieldError> {
        let is_aligned = |address: u64, align: u32| address.is_multiple_of(align.into());
        check(
            "a queue's size",
            self.size,
            self.size.is_power_of_two() && self.size <= max_size,
            "a power of two up to what the device offers",
        )?;
        for (field, address, align) in [
            (
                "a descriptor table's address",
                self.descriptors,
                DESCRIPTOR_ALIGN,
            ),
            (
                "an available ring's address",
                self.available,
                AVAILABLE_ALIGN,
            ),
            ("a used ring's address", self.used, USED_ALIGN),
        ] {
            check(field, address, is_aligned(address, align), "aligned")?;
        }
        let ring = RingState {
            max_size,
            next_avail: self.next_available,
            next_used: self.next_used,
            event_idx_enabled: event_index,
            size: self.size,
            ready: self.ready,
            desc_table: self.descriptors,
            avail_ring: self.available,
            used_ring: self.used,
        };
        Queue::try_from(ring).map_err(|_| FieldError::new("a queue", 0, "one that can be"))
    }
}

/// Registers that have been checked, and are to be taken over by their transport.
#[derive(Debug)]
pub(crate) struct CheckedRegisters {
    registers: Registers,
    status: u32,
    interrupt_status: u32,
}

impl TransportState {
    /// The registers for a device like `info`.
    pub(crate) fn checked(&self, info: &DeviceInfo) -> Result<CheckedRegisters, FieldError> {
        let features = self.driver_features;
        check(
            "driver_features",
            features,
            info.accepts(features)
                || self.status & VIRTIO_CONFIG_S_FEATURES_OK == 0 && !self.active,
            "what the device offers, with VIRTIO_F_VERSION_1",
        )?;
        let ready = VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK;
        let is_ready = self.status & ready == ready;
        check(
            "status",
            self.status,
            match self.active {
                true => is_ready,
                false => self.status & VIRTIO_CONFIG_S_NEEDS_RESET == 0,
            },
            "one that goes with being active or not",
        )?;
        check(
            "active",
            u64::from(self.active),
            self.active || !is_ready || self.has_failed(),
            "what the status says",
        )?;
        let interrupts = VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG;
        check(
            "interrupt_status",
            self.interrupt_status,
            self.interrupt_status & !interrupts == 0,
            "made of the two bits that there are",
        )?;
        check(
            "the number of queues",
            self.queues.len() as u64,
            self.queues.len() == info.queue_sizes.len(),
            "what the device has",
        )?;
        let event_index = self.active && features & (1 << VIRTIO_RING_F_EVENT_IDX) != 0;
        let queues = self.queues.iter().zip(info.queue_sizes);
        Ok(CheckedRegisters {
            registers: Registers {
                device_features_sel: self.device_features_sel,
                driver_features_sel: self.driver_features_sel,
                driver_features: features,
                queue_sel: self.queue_sel,
                queues: queues
                    .map(|(queue, max_size)| queue.checked(*max_size, event_index))
                    .collect::<Result<_, _>>()?,
                active: self.active,
            },
            status: self.status,
            interrupt_status: self.interrupt_status,
        })
    }

    /// A driver that has given up may leave a device that would be active otherwise.
    fn has_failed(&self) -> bool {
        self.status & virtio_bindings::bindings::virtio_config::VIRTIO_CONFIG_S_FAILED != 0
    }
}

impl MmioTransport {
    /// The registers, and the queues as `worker` left them when it stood still.
    pub(crate) fn save(&self, worker: &PausedWorker) -> TransportState {
        let registers = self.lock();
        let fresh = || Registers::new(&self.info).queues;
        let queues: Vec<_> = match registers.active {
            false => registers.queues.iter().map(Queue::state).collect(),
            // A queue that the driver has wrecked is gone, and nobody asks for it before the device is reset.
            true => fresh()
                .iter()
                .zip(worker.queues())
                .map(|(fresh, served)| served.unwrap_or_else(|| fresh.state()))
                .collect(),
        };
        TransportState {
            device_features_sel: registers.device_features_sel,
            driver_features_sel: registers.driver_features_sel,
            driver_features: registers.driver_features,
            queue_sel: registers.queue_sel,
            status: self.interrupt.status(),
            interrupt_status: self.interrupt.pending(),
            active: registers.active,
            queues: queues.into_iter().map(QueueState::from).collect(),
        }
    }

    /// Takes over registers that were checked against this device's [`info`](Self::info), and lets the device
    /// go on.
    pub(crate) fn take_over(&self, checked: CheckedRegisters) {
        let mut registers = self.lock();
        *registers = checked.registers;
        self.interrupt
            .take_over(checked.status, checked.interrupt_status);
        if registers.active {
            let queues = std::mem::take(&mut registers.queues);
            if checked.status & VIRTIO_CONFIG_S_NEEDS_RESET == 0 {
                self.worker.activate(queues, registers.driver_features);
            }
        }
    }
}

#[cfg(test)]
mod tests;
