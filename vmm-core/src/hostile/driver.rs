//! A driver's hands: registers, rings and memory. What it does with them is its caller's affair.

use std::time::{Duration, Instant};

use virtio_bindings::bindings::virtio_config::{
    VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER, VIRTIO_CONFIG_S_DRIVER_OK,
    VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_F_VERSION_1,
};
use virtio_bindings::bindings::virtio_mmio as reg;
use virtio_bindings::bindings::virtio_ring::{VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};
use vm_memory::{Bytes, GuestAddress};

use crate::layout::{VIRTIO_MMIO, VIRTIO_MMIO_STRIDE};
use crate::vm::BareVm;

/// How long a device may take to answer.
const SOON: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_micros(50);

/// Each queue has its rings and tables in a part of memory of its own.
pub(super) const QUEUE_STRIDE: u64 = 0x4000;
pub(super) const DESCRIPTORS: u64 = 0;
pub(super) const AVAILABLE: u64 = 0x1000;
pub(super) const USED: u64 = 0x2000;
/// Tables for indirect descriptors.
pub(super) const TABLES: u64 = 0x3000;
/// Bytes of the rings.
pub(super) const RINGS_BYTES: usize = 0x2000;
const _: () = assert!(RINGS_BYTES as u64 == TABLES - AVAILABLE);
pub(super) const DESCRIPTOR_BYTES: u64 = 16;
/// Entries of an honest driver's queues.
const ENTRIES: u16 = 8;
const MAX_QUEUES: usize = 4;

/// A driver of one device.
pub(super) struct Driver<'a> {
    pub(super) bare: &'a BareVm,
    window: u64,
    /// Requests that were made on each queue since it was set up.
    requests: [u16; MAX_QUEUES],
}

/// A buffer of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buffer {
    pub(super) address: u64,
    pub(super) length: u32,
    /// Whether the device writes it.
    pub(super) is_writable: bool,
}

impl<'a> Driver<'a> {
    /// The driver of the device at this place among the VM's.
    pub(super) fn new(bare: &'a BareVm, place: u64) -> Self {
        Self {
            bare,
            window: VIRTIO_MMIO + place * VIRTIO_MMIO_STRIDE,
            requests: [0; MAX_QUEUES],
        }
    }

    pub(super) fn get(&self, register: u32) -> u32 {
        let mut data = [0; 4];
        self.read_at(u64::from(register), &mut data);
        u32::from_le_bytes(data)
    }

    pub(super) fn set(&self, register: u32, value: u32) {
        self.write_at(u64::from(register), &value.to_le_bytes());
    }

    pub(super) fn read_at(&self, offset: u64, data: &mut [u8]) {
        self.bare.machine.mmio_read(self.window + offset, data);
    }

    pub(super) fn write_at(&self, offset: u64, data: &[u8]) {
        self.bare.machine.mmio_write(self.window + offset, data);
    }

    pub(super) fn reset(&mut self) {
        self.set(reg::VIRTIO_MMIO_STATUS, 0);
        assert_eq!(self.get(reg::VIRTIO_MMIO_STATUS), 0);
        self.requests = [0; MAX_QUEUES];
    }

    /// The features that the device offers.
    pub(super) fn offered(&self) -> u64 {
        let half = |select| {
            self.set(reg::VIRTIO_MMIO_DEVICE_FEATURES_SEL, select);
            u64::from(self.get(reg::VIRTIO_MMIO_DEVICE_FEATURES))
        };
        half(0) | half(1) << 32
    }

    /// Takes `features`; returns whether the device says that these will do.
    pub(super) fn accept(&self, features: u64) -> bool {
        let begun = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
        self.set(reg::VIRTIO_MMIO_STATUS, begun);
        let [a, b, c, d, e, f, g, h] = features.to_le_bytes();
        for (select, half) in [(0, [a, b, c, d]), (1, [e, f, g, h])] {
            self.set(reg::VIRTIO_MMIO_DRIVER_FEATURES_SEL, select);
            self.set(reg::VIRTIO_MMIO_DRIVER_FEATURES, u32::from_le_bytes(half));
        }
        let status = begun | VIRTIO_CONFIG_S_FEATURES_OK;
        self.set(reg::VIRTIO_MMIO_STATUS, status);
        self.get(reg::VIRTIO_MMIO_STATUS) == status
    }

    /// How many entries this queue may have; 0 if there is none.
    pub(super) fn max_entries(&self, queue: u16) -> u16 {
        self.set(reg::VIRTIO_MMIO_QUEUE_SEL, u32::from(queue));
        u16::try_from(self.get(reg::VIRTIO_MMIO_QUEUE_NUM_MAX)).expect("queues have 16-bit sizes")
    }

    /// Sets a queue up that lies at these three addresses.
    pub(super) fn place_queue(&self, queue: u16, entries: u32, [table, available, used]: [u64; 3]) {
        self.set(reg::VIRTIO_MMIO_QUEUE_SEL, u32::from(queue));
        self.set(reg::VIRTIO_MMIO_QUEUE_NUM, entries);
        for (low, address) in [
            (reg::VIRTIO_MMIO_QUEUE_DESC_LOW, table),
            (reg::VIRTIO_MMIO_QUEUE_AVAIL_LOW, available),
            (reg::VIRTIO_MMIO_QUEUE_USED_LOW, used),
        ] {
            let [a, b, c, d, e, f, g, h] = address.to_le_bytes();
            self.set(low, u32::from_le_bytes([a, b, c, d]));
            self.set(low + 4, u32::from_le_bytes([e, f, g, h]));
        }
        self.set(reg::VIRTIO_MMIO_QUEUE_READY, 1);
    }

    pub(super) fn go(&self) {
        let status = self.get(reg::VIRTIO_MMIO_STATUS);
        self.set(reg::VIRTIO_MMIO_STATUS, status | VIRTIO_CONFIG_S_DRIVER_OK);
    }

    pub(super) fn notify(&self, queue: u16) {
        self.set(reg::VIRTIO_MMIO_QUEUE_NOTIFY, u32::from(queue));
    }

    /// Sets the device up as an honest driver does, without features that it could do without.
    pub(super) fn set_up(&mut self) {
        self.reset();
        assert!(self.accept(1 << VIRTIO_F_VERSION_1), "the device goes on");
        for queue in 0u16.. {
            if self.max_entries(queue) == 0 {
                break;
            }
            let base = u64::from(queue) * QUEUE_STRIDE;
            let ring = [0; RINGS_BYTES];
            self.write(base + AVAILABLE, &ring);
            let places = [DESCRIPTORS, AVAILABLE, USED].map(|part| base + part);
            self.place_queue(queue, ENTRIES.into(), places);
        }
        self.go();
    }

    /// Makes an honest request and waits for its end; returns how many bytes the device says that it wrote.
    pub(super) fn request(&mut self, queue: u16, buffers: &[Buffer]) -> u32 {
        self.offer(queue, buffers);
        self.wait(queue)
    }

    /// Gives the device a request; the queue has no other.
    pub(super) fn offer(&mut self, queue: u16, buffers: &[Buffer]) {
        let base = u64::from(queue) * QUEUE_STRIDE;
        for (index, buffer) in (0u16..).zip(buffers) {
            let is_last = usize::from(index) + 1 == buffers.len();
            let write = u32::from(buffer.is_writable) * VRING_DESC_F_WRITE;
            let flags = write | (u32::from(!is_last) * VRING_DESC_F_NEXT);
            let flags = u16::try_from(flags).expect("flags have 16 bits");
            let entry = descriptor(buffer.address, buffer.length, flags, index + 1);
            let at = base + DESCRIPTORS + u64::from(index) * DESCRIPTOR_BYTES;
            self.write(at, &entry);
        }
        let made = &mut self.requests[usize::from(queue)];
        let slot = u64::from(*made % ENTRIES);
        *made = made.wrapping_add(1);
        let index = made.to_le_bytes();
        self.write(base + AVAILABLE + 4 + 2 * slot, &[0, 0]);
        self.write(base + AVAILABLE + 2, &index);
        self.notify(queue);
    }

    /// Waits for the end of the request that was made last.
    pub(super) fn wait(&self, queue: u16) -> u32 {
        let base = u64::from(queue) * QUEUE_STRIDE;
        let made = self.requests[usize::from(queue)];
        let begun = Instant::now();
        while self.number::<2>(base + USED + 2) != u32::from(made) {
            let failure = self.bare.failure();
            assert!(failure.is_none(), "{failure:?}");
            assert!(begun.elapsed() < SOON, "the device answers");
            std::thread::sleep(POLL_INTERVAL);
        }
        let slot = u64::from(made.wrapping_sub(1) % ENTRIES);
        assert_eq!(self.number::<4>(base + USED + 4 + 8 * slot), 0, "the head");
        self.number::<4>(base + USED + 8 + 8 * slot)
    }

    pub(super) fn write(&self, address: u64, bytes: &[u8]) {
        let address = GuestAddress(address);
        let written = self.bare.memory.write_slice(bytes, address);
        written.expect("an honest driver writes to memory");
    }

    pub(super) fn read(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let address = GuestAddress(address);
        let read = self.bare.memory.read_slice(&mut bytes, address);
        read.expect("an honest driver reads memory");
        bytes
    }

    fn number<const BYTES: usize>(&self, address: u64) -> u32 {
        let mut number = [0; 4];
        number[..BYTES].copy_from_slice(&self.read(address, BYTES));
        u32::from_le_bytes(number)
    }
}

/// `struct virtq_desc` of virtio 1.2, section 2.7.5.
pub(super) fn descriptor(address: u64, length: u32, flags: u16, next: u16) -> [u8; 16] {
    let flags_and_next = u64::from(flags) | u64::from(next) << 16;
    let word = u128::from(length) | u128::from(flags_and_next) << 32;
    (u128::from(address) | word << 64).to_le_bytes()
}
