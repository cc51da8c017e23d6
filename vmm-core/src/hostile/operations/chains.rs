//! Chains of descriptors, most of them with something wrong.

use virtio_bindings::bindings::virtio_ring::{
    VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE,
};
use vm_memory::{Bytes, GuestAddress};

use super::super::driver::{Buffer, DESCRIPTOR_BYTES, QUEUE_STRIDE, TABLES, descriptor};
use super::super::{BUFFERS, HIGH_BYTES, LOW_END};
use super::{Choices, Hostile, Queue, requests};
use crate::layout::MMIO_GAP_END;

/// The most descriptors in a chain.
const MAX_PARTS: u16 = 12;
/// Bytes of the tables for indirect descriptors of a queue, and of one of them.
const TABLES_BYTES: u64 = QUEUE_STRIDE - TABLES;
const TABLE_BYTES: u64 = 0x200;

impl Hostile<'_> {
    /// Makes a chain of descriptors and offers it.
    pub(super) fn offer_chain(&mut self, choices: &mut Choices) {
        let index = usize::from(choices.below(4)) % self.notes.queues.len();
        let queue = self.notes.queues[index];
        if self.is_full(queue) && !choices.once_in(16) {
            return self.driver.notify(u16::try_from(index).unwrap_or(0));
        }
        // If the device looked at half of a descriptor, nobody could know what it may write.
        let still = self
            .notes
            .is_accounted
            .then(|| self.bare.pause(0))
            .flatten();
        let first = choices.u16() % queue.entries;
        let parts = match choices.once_in(3) {
            true => self.any_parts(choices),
            false => self.sound_parts(choices, index),
        };
        if choices.once_in(3) || parts.len() > usize::from(queue.entries) {
            self.write_indirect(choices, queue, first, &parts);
        } else {
            self.write_table(choices, queue.table, queue.entries, first, &parts);
        }
        drop(still);
        let head = match choices.once_in(24) {
            true => choices.u16(),
            false => first,
        };
        let slot = u64::from(queue.next % queue.entries);
        let at = queue.available.wrapping_add(4 + 2 * slot);
        self.shadow
            .write(&self.bare.memory, at, &head.to_le_bytes());
        self.publish(index, queue.next.wrapping_add(1));
        if !choices.once_in(4) {
            self.driver.notify(u16::try_from(index).unwrap_or(0));
        }
    }

    /// Whether the device has as many chains as there are entries.
    fn is_full(&self, queue: Queue) -> bool {
        let at = GuestAddress(queue.used.wrapping_add(2));
        let used: u16 = self.bare.memory.read_obj(at).unwrap_or(queue.next);
        queue.next.wrapping_sub(used) >= queue.entries
    }

    pub(super) fn publish(&mut self, queue: usize, next: u16) {
        self.notes.queues[queue].next = next;
        let at = self.notes.queues[queue].available.wrapping_add(2);
        self.shadow
            .write(&self.bare.memory, at, &next.to_le_bytes());
    }

    /// Parts of a chain that lie anywhere.
    fn any_parts(&mut self, choices: &mut Choices) -> Vec<Buffer> {
        let parts = 1 + choices.below(MAX_PARTS);
        let writable_from = choices.below(parts + 1);
        let parts = (0..parts).map(|part| Buffer {
            address: self.address(choices),
            length: Self::length(choices),
            // One of them may be in the wrong place.
            is_writable: (part >= writable_from) != choices.once_in(32),
        });
        parts.collect()
    }

    /// A request that the device may understand, its parts in buffers that are in memory, and may lie over one
    /// another.
    fn sound_parts(&mut self, choices: &mut Choices, queue: usize) -> Vec<Buffer> {
        let head = requests::head(self.device, choices);
        let shape = requests::shape(self.device, queue, head.len(), choices);
        let parts: Vec<_> = shape
            .into_iter()
            .map(|(length, is_writable)| {
                let (start, end) = choices.of(&[
                    (BUFFERS, LOW_END),
                    (BUFFERS, LOW_END),
                    (MMIO_GAP_END, MMIO_GAP_END + HIGH_BYTES),
                ]);
                let room = end - start - u64::from(length) + 1;
                Buffer {
                    address: start + u64::from(choices.u16()) * 2 % room,
                    length,
                    is_writable,
                }
            })
            .collect();
        if let Some(first) = parts.first().filter(|first| !first.is_writable) {
            self.put(first.address, head);
        }
        parts
    }

    /// Writes the `parts` of a chain to a table, from the entry `first` on.
    fn write_table(
        &mut self,
        choices: &mut Choices,
        table: u64,
        entries: u16,
        first: u16,
        parts: &[Buffer],
    ) {
        let slots = (0..entries).cycle().skip(first.into());
        for (index, (part, slot)) in parts.iter().zip(slots).enumerate() {
            let mut flags = u32::from(part.is_writable) * VRING_DESC_F_WRITE;
            let mut next = (slot + 1) % entries;
            if index + 1 < parts.len() || choices.once_in(64) {
                flags |= VRING_DESC_F_NEXT;
            }
            match choices.below(128) {
                0 => next = first,
                1 => next = choices.u16(),
                2 if !self.notes.is_accounted => flags |= VRING_DESC_F_INDIRECT,
                3 if !self.notes.is_accounted => flags = choices.u32() & 0xffff,
                _ => {}
            }
            let flags = u16::try_from(flags).unwrap_or(0);
            let entry = descriptor(part.address, part.length, flags, next);
            self.write_descriptor(table, slot, entry);
            if u32::from(flags) & VRING_DESC_F_WRITE != 0 {
                let length = part.length.into();
                self.shadow.allow(&self.bare.memory, part.address, length);
            }
        }
    }

    /// Writes a chain to a table of its own, and the descriptor of that table.
    fn write_indirect(
        &mut self,
        choices: &mut Choices,
        queue: Queue,
        first: u16,
        parts: &[Buffer],
    ) {
        let place = u64::from(choices.below(8)) * TABLE_BYTES;
        let entries = u16::try_from(TABLE_BYTES / DESCRIPTOR_BYTES).unwrap_or(1);
        self.write_table(choices, queue.tables + place, entries, 0, parts);
        let room = TABLES_BYTES - place;
        let right = parts.len() as u64 * DESCRIPTOR_BYTES;
        let (mut at, mut length) = (queue.tables + place, right);
        let mut flags = VRING_DESC_F_INDIRECT;
        match choices.below(32) {
            0 => length = right - DESCRIPTOR_BYTES,
            1 => length = right.saturating_sub(1),
            2 => length = 0,
            3 => length = room,
            4 => flags |= VRING_DESC_F_NEXT,
            5 => flags |= VRING_DESC_F_WRITE,
            6 if !self.notes.is_accounted => at += 1 + u64::from(choices.byte()),
            7 if !self.notes.is_accounted => at = self.address(choices),
            8 if !self.notes.is_accounted => length = choices.u32().into(),
            _ => {}
        }
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let flags = u16::try_from(flags).unwrap_or(0);
        let next = choices.u16() % queue.entries;
        self.write_descriptor(queue.table, first, descriptor(at, length, flags, next));
    }

    fn write_descriptor(&mut self, table: u64, slot: u16, entry: [u8; 16]) {
        let at = table.wrapping_add(u64::from(slot) * DESCRIPTOR_BYTES);
        self.shadow.write(&self.bare.memory, at, &entry);
    }
}
