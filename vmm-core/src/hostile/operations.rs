//! What a hostile driver does.

use virtio_bindings::bindings::virtio_config::{VIRTIO_CONFIG_S_NEEDS_RESET, VIRTIO_F_VERSION_1};
use virtio_bindings::bindings::virtio_mmio as reg;

use super::choices::Choices;
use super::driver::{
    AVAILABLE, DESCRIPTOR_BYTES, DESCRIPTORS, Driver, QUEUE_STRIDE, RINGS_BYTES, TABLES, USED,
};
use super::honest::SECRET;
use super::peer::Peer;
use super::{BORDER, BUFFERS, Device, HIGH_BYTES, LOW_END, Shadow};
use crate::layout::{MMIO_GAP_END, MMIO_GAP_START, VIRTIO_MMIO, VIRTIO_MMIO_STRIDE};
use crate::vm::BareVm;

mod chains;
mod requests;

/// Registers that say where a queue's rings are.
const RING_REGISTERS: std::ops::RangeInclusive<u32> =
    reg::VIRTIO_MMIO_QUEUE_DESC_LOW..=reg::VIRTIO_MMIO_QUEUE_USED_HIGH;

/// A queue as the driver has set it up last.
#[derive(Clone, Copy, Debug)]
struct Queue {
    entries: u16,
    table: u64,
    available: u64,
    used: u64,
    /// The available ring's index.
    next: u16,
    /// Where the tables for indirect descriptors are.
    tables: u64,
}

/// What the driver knows, whatever machine it runs on.
pub(super) struct Notes {
    /// Whether all that the device may write can be known. If so, rings and tables lie apart from buffers, and don't
    /// change while the device works.
    is_accounted: bool,
    queues: Vec<Queue>,
    /// Whether the device is at work, as far as the driver knows.
    is_set_up: bool,
}

impl Notes {
    pub(super) fn new(is_accounted: bool) -> Self {
        Self {
            is_accounted,
            queues: Vec::new(),
            is_set_up: false,
        }
    }
}

pub(super) struct Hostile<'a> {
    device: Device,
    bare: &'a BareVm,
    driver: Driver<'a>,
    shadow: &'a mut Shadow,
    notes: &'a mut Notes,
}

impl<'a> Hostile<'a> {
    pub(super) fn new(
        device: Device,
        bare: &'a BareVm,
        shadow: &'a mut Shadow,
        notes: &'a mut Notes,
    ) -> Self {
        Self {
            device,
            bare,
            driver: Driver::new(bare, 0),
            shadow,
            notes,
        }
    }

    pub(super) fn operate(&mut self, choices: &mut Choices, peer: &mut Peer) {
        let status = self.driver.get(reg::VIRTIO_MMIO_STATUS);
        self.notes.is_set_up &= status & VIRTIO_CONFIG_S_NEEDS_RESET == 0;
        if !self.notes.is_set_up && !choices.once_in(4) || self.notes.queues.is_empty() {
            return self.set_up(choices);
        }
        match choices.below(64) {
            0..8 => self.driver.notify(choices.of(&[0, 1, 2, 3, u16::MAX])),
            8..10 => {
                let at = self.address(choices);
                self.fill(choices, at);
            }
            10 => self.write_register(choices),
            11 => self.read_register(choices),
            12 => self.use_config_space(choices),
            13 if choices.once_in(3) => self.leap(choices),
            14 => self.set_flags(choices),
            15 if choices.once_in(3) => self.dance(choices),
            16 if choices.once_in(3) => {
                self.driver.reset();
                self.notes.is_set_up = false;
            }
            17 if choices.once_in(3) => self.set_up(choices),
            13..30 => peer.act(choices),
            _ => self.offer_chain(choices),
        }
    }

    /// Sets the device up, more or less as one should.
    fn set_up(&mut self, choices: &mut Choices) {
        self.driver.reset();
        let offered = self.driver.offered();
        let version = 1 << VIRTIO_F_VERSION_1;
        let mut features = offered & choices.u64() | version;
        if choices.once_in(32) {
            features &= !version;
        }
        if choices.once_in(32) {
            features |= 1 << choices.below(64);
        }
        let is_acceptable = features & !offered == 0 && features & version != 0;
        assert_eq!(self.driver.accept(features), is_acceptable);
        self.notes.queues.clear();
        for index in 0.. {
            let max = self.driver.max_entries(index);
            if max == 0 {
                break;
            }
            self.set_up_queue(choices, index, max);
        }
        self.driver.go();
        self.notes.is_set_up = true;
    }

    fn set_up_queue(&mut self, choices: &mut Choices, index: u16, max: u16) {
        if choices.once_in(8) {
            let size = choices.of(&[0, 3, u32::from(max) * 2, 0x1_0000, u32::MAX]);
            self.driver.set(reg::VIRTIO_MMIO_QUEUE_NUM, size);
        }
        let sizes = u16::try_from(max.ilog2() + 1).expect("a logarithm is small");
        let entries = 1 << choices.below(sizes);
        let base = u64::from(index) * QUEUE_STRIDE;
        let rings = [0; RINGS_BYTES];
        self.shadow
            .write(&self.bare.memory, base + AVAILABLE, &rings);
        let mut places = [DESCRIPTORS, AVAILABLE, USED].map(|part| base + part);
        if !self.notes.is_accounted && choices.once_in(4) {
            let place = choices.below(3);
            places[usize::from(place)] = self.address(choices);
        }
        let [table, available, used] = places;
        if !choices.once_in(16) {
            self.driver.place_queue(index, entries.into(), places);
            let used_bytes = 6 + 8 * u64::from(entries);
            self.shadow.allow(&self.bare.memory, used, used_bytes);
        }
        self.notes.queues.push(Queue {
            entries,
            table,
            available,
            used,
            next: 0,
            tables: base + TABLES,
        });
    }

    /// Where something may be: a buffer, or, if nobody counts, a ring.
    fn address(&self, choices: &mut Choices) -> u64 {
        let near = u64::from(choices.byte());
        match choices.below(16) {
            0..5 => BUFFERS + u64::from(choices.u16()),
            5..7 => MMIO_GAP_END + u64::from(choices.u16()),
            7 => BORDER - near,
            8 => LOW_END - near,
            9 => MMIO_GAP_END + HIGH_BYTES - near,
            10 => choices.of(&[LOW_END, MMIO_GAP_START, VIRTIO_MMIO, MMIO_GAP_END]) - near,
            11 => u64::MAX - near,
            12 => choices.u64() | 1 << 40,
            _ if self.notes.is_accounted => BUFFERS + 16 * near,
            13 => near * DESCRIPTOR_BYTES,
            _ => u64::from(choices.u16()),
        }
    }

    fn length(choices: &mut Choices) -> u32 {
        match choices.below(8) {
            0 => choices.of(&[0, 1, 4, 12, 13, 16, 17, 44, 45]),
            1 => choices.of(&[511, 512, 513, 1024, 1514, 1526, 4096]),
            2 => choices.of(&[0xffff, 0x1_0000, 0x7fff_ffff, u32::MAX - 1, u32::MAX]),
            3 => choices.u16().into(),
            4 => 512,
            _ => choices.byte().into(),
        }
    }

    /// Puts something there that the device may understand.
    fn fill(&mut self, choices: &mut Choices, address: u64) {
        let bytes = requests::head(self.device, choices);
        self.put(address, bytes);
    }

    fn put(&mut self, address: u64, mut bytes: Vec<u8>) {
        for byte in &mut bytes {
            if *byte == SECRET {
                *byte = 0;
            }
        }
        self.shadow.write(&self.bare.memory, address, &bytes);
    }

    /// Says that there are more chains than were offered, or fewer.
    fn leap(&mut self, choices: &mut Choices) {
        let index = usize::from(choices.below(4)) % self.notes.queues.len();
        let next = self.notes.queues[index].next;
        self.notes.is_set_up = false;
        let step = choices.of(&[1, 2, 3, 0x100, 0x101, 0x7fff, 0x8000, u16::MAX]);
        self.publish(index, next.wrapping_add(step));
        self.driver.notify(u16::try_from(index).unwrap_or(0));
    }

    /// Says when it wants to hear of buffers.
    fn set_flags(&mut self, choices: &mut Choices) {
        let queue = self.notes.queues[usize::from(choices.below(4)) % self.notes.queues.len()];
        let event_at = 4 + 2 * u64::from(queue.entries);
        for at in [0, event_at] {
            let at = queue.available.wrapping_add(at);
            let value = choices.u16().to_le_bytes();
            self.shadow.write(&self.bare.memory, at, &value);
        }
    }

    /// Sets the status to anything, in any order.
    fn dance(&mut self, choices: &mut Choices) {
        self.notes.is_set_up = false;
        for _ in 0..choices.below(6) {
            let status = choices.of(&[0, 1, 3, 4, 7, 8, 11, 15, 64, 79, 128, 143, u32::MAX]);
            self.driver.set(reg::VIRTIO_MMIO_STATUS, status);
            self.driver.get(reg::VIRTIO_MMIO_STATUS);
        }
    }

    fn write_register(&mut self, choices: &mut Choices) {
        let data = choices.u64().to_le_bytes();
        let width = choices.of(&[4, 4, 4, 1, 2, 8]);
        let offset = match choices.once_in(4) {
            true => u32::from(choices.u16()) % 0x1000,
            false => u32::from(choices.byte()) & !3,
        };
        let places_queue = RING_REGISTERS.contains(&offset)
            || [reg::VIRTIO_MMIO_QUEUE_NUM, reg::VIRTIO_MMIO_QUEUE_READY].contains(&offset);
        if !(self.notes.is_accounted && places_queue) {
            self.driver.write_at(offset.into(), &data[..width]);
        }
    }

    fn read_register(&mut self, choices: &mut Choices) {
        let mut data = [0; 8];
        let width = choices.of(&[4, 4, 1, 2, 8]);
        let offset = u64::from(choices.u16()) % VIRTIO_MMIO_STRIDE;
        self.driver.read_at(offset, &mut data[..width]);
        let magic = self.driver.get(reg::VIRTIO_MMIO_MAGIC_VALUE);
        assert_eq!(magic.to_le_bytes(), *b"virt");
    }

    fn use_config_space(&mut self, choices: &mut Choices) {
        let at = u64::from(reg::VIRTIO_MMIO_CONFIG) + u64::from(choices.byte() % 80);
        let width = choices.of(&[1, 2, 4, 8]);
        if choices.once_in(2) {
            let data = choices.u64().to_le_bytes();
            self.driver.write_at(at, &data[..width]);
        } else {
            self.driver.read_at(at, &mut [0; 8][..width]);
        }
    }
}
