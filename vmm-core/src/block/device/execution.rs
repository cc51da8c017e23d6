//! What a request does to the backend, in pieces between which a VM that stops is noticed.

use std::io;

use super::Block;
use crate::block::request::{HEADER_BYTES, Request, SectorRange};
use crate::block::{
    BlockBackend, MAX_RANGE_CALL_BYTES, MAX_TRANSFER_BYTES, ReadTarget, WriteSource,
};
use crate::config::MAX_SERIAL_BYTES;
use crate::memory::Memory;
use crate::virtio::{Chain, ChainError};

/// Why a request that made sense was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The backend's fault, of which the VM's owner is told.
    #[error("the backend failed")]
    Disk(#[from] io::Error),
    #[error("the host could not use the guest's memory")]
    Memory(#[source] io::Error),
    #[error("the guest's buffer was not what it said")]
    Buffer(#[from] ChainError),
    #[error("the VM is stopping")]
    Stopping,
}

impl Failure {
    /// What became of a call of the backend that answered `error`.
    fn of(error: io::Error, memory_failed: bool) -> Self {
        match memory_failed {
            true => Self::Memory(error),
            false => Self::Disk(error),
        }
    }
}

impl Block {
    /// Does what the request says; returns how many bytes of data were written to the guest.
    pub(super) fn execute(
        &mut self,
        memory: &Memory,
        chain: &Chain,
        request: &Request,
    ) -> Result<u64, Failure> {
        self.check_stopping()?;
        self.check_size()?;
        let written = match request {
            Request::Read { offset, length } => self.read(memory, chain, *offset, *length)?,
            Request::Write { offset, length } => self.write(memory, chain, *offset, *length)?,
            Request::Flush if self.read_only => 0,
            Request::Flush => self.backend.flush().map(|()| 0)?,
            Request::GetId => {
                let room = usize::try_from(chain.writable.len() - 1)
                    .map_or(MAX_SERIAL_BYTES, |room| room.min(MAX_SERIAL_BYTES));
                chain.writable.write(memory, 0, &self.serial[..room])?;
                room as u64
            }
            Request::Discard(ranges) => {
                self.each(ranges, |disk, at, len, _| disk.discard(at, len))?
            }
            Request::WriteZeroes(ranges) => {
                self.each(ranges, |disk, at, len, may_unmap| match may_unmap {
                    true => disk.unmap_to_zeroes(at, len),
                    false => disk.write_zeroes(at, len),
                })?
            }
        };
        if request.writes() && !self.caches_writes() {
            self.backend.flush()?;
        }
        Ok(written)
    }

    /// Whether a write is done before it is durable.
    fn caches_writes(&self) -> bool {
        self.driver_flushes && (!self.driver_chooses_cache || self.config.writeback())
    }

    fn read(
        &self,
        memory: &Memory,
        chain: &Chain,
        offset: u64,
        length: u64,
    ) -> Result<u64, Failure> {
        let mut target = ReadTarget::of_guest(memory, &chain.writable, 0, length)?;
        for (at, piece) in pieces(length, MAX_TRANSFER_BYTES) {
            self.check_stopping()?;
            target.allow(piece);
            let done = self.backend.read_at(&mut target, offset + at);
            done.map_err(|error| Failure::of(error, target.memory_failed()))?;
            check_all_moved(target.remaining())?;
        }
        Ok(length)
    }

    fn write(
        &self,
        memory: &Memory,
        chain: &Chain,
        offset: u64,
        length: u64,
    ) -> Result<u64, Failure> {
        let data = HEADER_BYTES as u64;
        let mut source = WriteSource::of_guest(memory, &chain.readable, data, length)?;
        for (at, piece) in pieces(length, MAX_TRANSFER_BYTES) {
            self.check_stopping()?;
            source.allow(piece);
            let done = self.backend.write_at(&mut source, offset + at);
            done.map_err(|error| Failure::of(error, source.memory_failed()))?;
            check_all_moved(source.remaining())?;
        }
        Ok(0)
    }

    fn each(
        &self,
        ranges: &[SectorRange],
        call: impl Fn(&dyn BlockBackend, u64, u64, bool) -> io::Result<()>,
    ) -> Result<u64, Failure> {
        for range in ranges {
            for (at, piece) in pieces(range.length, MAX_RANGE_CALL_BYTES) {
                self.check_stopping()?;
                let start = range.offset + at;
                call(&*self.backend, start, piece as u64, range.may_unmap)?;
            }
        }
        Ok(0)
    }

    /// A disk of another size is another disk.
    fn check_size(&self) -> Result<(), Failure> {
        let (was, is) = (self.config.disk_bytes(), self.backend.size());
        if was == is {
            return Ok(());
        }
        let message = format!("the drive's backend had {was} bytes at the start, and now has {is}");
        Err(Failure::Disk(io::Error::other(message)))
    }

    fn check_stopping(&self) -> Result<(), Failure> {
        match self.is_stopping() {
            true => Err(Failure::Stopping),
            false => Ok(()),
        }
    }
}

/// What a backend left out would be whatever the guest's memory, or the disk, held before.
fn check_all_moved(remaining: usize) -> io::Result<()> {
    if remaining == 0 {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "the drive's backend left out {remaining} bytes"
    )))
}

/// Cuts `length` bytes into `(offset, piece)`s of at most `most` bytes.
fn pieces(length: u64, most: usize) -> impl Iterator<Item = (u64, usize)> {
    let step = most as u64;
    (0..length.div_ceil(step)).map(move |index| {
        let at = index * step;
        let piece = (length - at).min(step);
        (at, usize::try_from(piece).unwrap_or(most))
    })
}
