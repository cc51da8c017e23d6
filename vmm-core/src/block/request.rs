//! From a descriptor chain to a request whose every number has been checked.
//!
//! Header (16 bytes, readable): type u32, reserved u32, first sector u64. Then data, in the direction that
//! the type says. The last writable byte takes the status.

use virtio_bindings::bindings::virtio_blk as blk;

use super::{MAX_REQUEST_BYTES, SECTOR_BYTES};
use crate::event::DiskOperation;
use crate::memory::Memory;
use crate::virtio::{Chain, ChainError};

pub(super) const HEADER_BYTES: usize = 16;
const RANGE_BYTES: usize = 16;
/// How much of a range counts as one byte that moves.
const RANGE_BYTES_A_CHARGED_BYTE: u64 = 64;
/// The most ranges in one discard or write-zeroes request, so that a pause does not wait for more.
pub(super) const MAX_RANGES: usize = 1;

/// The most sectors in one range of such a request, 2 GiB, so that one is never as long as its disk is large.
pub(super) const MAX_RANGE_SECTORS: u32 = 1 << 22;

/// The most that a request counts against a limit on bytes; packets are smaller.
pub(crate) const MAX_CHARGED_BYTES: u64 = {
    let ranges = MAX_RANGES as u64 * MAX_RANGE_SECTORS as u64 * SECTOR_BYTES;
    let charged = ranges.div_ceil(RANGE_BYTES_A_CHARGED_BYTE);
    if charged > MAX_REQUEST_BYTES {
        charged
    } else {
        MAX_REQUEST_BYTES
    }
};

/// What the guest wants. Byte ranges are within the disk.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    Read { offset: u64, length: u64 },
    Write { offset: u64, length: u64 },
    Flush,
    GetId,
    Discard(Vec<SectorRange>),
    WriteZeroes(Vec<SectorRange>),
}

/// A part of the disk, in bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SectorRange {
    pub(super) offset: u64,
    pub(super) length: u64,
    /// Whether zeroes may be made by giving the host's space back.
    pub(super) may_unmap: bool,
}

/// Why a request is refused before it reaches the backend.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("the request has no room for its status")]
    NoStatus,
    #[error("the request type {0} is not known")]
    Unsupported(u32),
    #[error("the request is out of the disk's bounds, or its length is wrong")]
    BadRange,
    #[error("the request is for more than {MAX_REQUEST_BYTES} bytes")]
    TooLong,
    #[error("the drive is read-only")]
    ReadOnly,
    #[error("the request's buffers are wrong: {0}")]
    Chain(#[from] ChainError),
}

impl RequestError {
    /// The status that tells the driver.
    pub(super) fn status(&self) -> u32 {
        match self {
            Self::Unsupported(_) => blk::VIRTIO_BLK_S_UNSUPP,
            _ => blk::VIRTIO_BLK_S_IOERR,
        }
    }
}

impl Request {
    /// Whether it changes the disk.
    pub(super) fn writes(&self) -> bool {
        !matches!(self, Self::Read { .. } | Self::Flush | Self::GetId)
    }

    /// What it counts against a limit on bytes: the data that it moves, and of ranges that are discarded or zeroed,
    /// for which the host seldom writes more than metadata, a part.
    pub(super) fn charged_bytes(&self) -> u64 {
        match self {
            Self::Read { length, .. } | Self::Write { length, .. } => *length,
            Self::Discard(ranges) | Self::WriteZeroes(ranges) => {
                let bytes: u64 = ranges.iter().map(|range| range.length).sum();
                bytes.div_ceil(RANGE_BYTES_A_CHARGED_BYTE)
            }
            Self::Flush | Self::GetId => 0,
        }
    }

    /// What it asks of the backend; reading the serial number counts as reading.
    pub(super) fn operation(&self) -> DiskOperation {
        match self {
            Self::Read { .. } | Self::GetId => DiskOperation::Read,
            Self::Write { .. } => DiskOperation::Write,
            Self::Flush => DiskOperation::Flush,
            Self::Discard(_) => DiskOperation::Discard,
            Self::WriteZeroes(_) => DiskOperation::WriteZeroes,
        }
    }

    /// Parses the request in `chain` for a disk of `size` bytes.
    pub(super) fn parse(memory: &Memory, chain: &Chain, size: u64) -> Result<Self, RequestError> {
        let answer = chain
            .writable
            .len()
            .checked_sub(1)
            .ok_or(RequestError::NoStatus)?;
        let mut header = [0; HEADER_BYTES];
        chain.readable.read(memory, 0, &mut header)?;
        let (kind, sector) = split_header(header);
        let payload = chain.readable.len() - HEADER_BYTES as u64;
        match kind {
            blk::VIRTIO_BLK_T_IN => {
                let offset = checked_data(sector, answer, size)?;
                Ok(Self::Read {
                    offset,
                    length: answer,
                })
            }
            blk::VIRTIO_BLK_T_OUT => {
                let offset = checked_data(sector, payload, size)?;
                Ok(Self::Write {
                    offset,
                    length: payload,
                })
            }
            blk::VIRTIO_BLK_T_FLUSH => Ok(Self::Flush),
            blk::VIRTIO_BLK_T_GET_ID => Ok(Self::GetId),
            blk::VIRTIO_BLK_T_DISCARD => Ok(Self::Discard(ranges(memory, chain, size, 0)?)),
            blk::VIRTIO_BLK_T_WRITE_ZEROES => {
                let allowed = blk::VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
                Ok(Self::WriteZeroes(ranges(memory, chain, size, allowed)?))
            }
            other => Err(RequestError::Unsupported(other)),
        }
    }
}

fn split_header(header: [u8; HEADER_BYTES]) -> (u32, u64) {
    let [a, b, c, d, _, _, _, _, sector @ ..] = header;
    (u32::from_le_bytes([a, b, c, d]), u64::from_le_bytes(sector))
}

/// As [`checked_range`], for a range whose data the request carries.
fn checked_data(sector: u64, length: u64, size: u64) -> Result<u64, RequestError> {
    if length > MAX_REQUEST_BYTES {
        return Err(RequestError::TooLong);
    }
    checked_range(sector, length, size)
}

/// The byte offset of `sector`, if `length` bytes from there on are whole sectors of the disk.
fn checked_range(sector: u64, length: u64, size: u64) -> Result<u64, RequestError> {
    sector
        .checked_mul(SECTOR_BYTES)
        .filter(|_| length > 0 && length.is_multiple_of(SECTOR_BYTES))
        .filter(|start| start.checked_add(length).is_some_and(|end| end <= size))
        .ok_or(RequestError::BadRange)
}

/// The ranges of a discard or write-zeroes request: sector u64, sectors u32, flags u32 each.
fn ranges(
    memory: &Memory,
    chain: &Chain,
    size: u64,
    allowed_flags: u32,
) -> Result<Vec<SectorRange>, RequestError> {
    let payload = usize::try_from(chain.readable.len() - HEADER_BYTES as u64)
        .map_err(|_| RequestError::BadRange)?;
    let count = payload / RANGE_BYTES;
    if count == 0 || count > MAX_RANGES || !payload.is_multiple_of(RANGE_BYTES) {
        return Err(RequestError::BadRange);
    }
    (0..count)
        .map(|index| {
            let mut range = [0; RANGE_BYTES];
            let at = (HEADER_BYTES + index * RANGE_BYTES) as u64;
            chain.readable.read(memory, at, &mut range)?;
            let [sector @ .., n0, n1, n2, n3, f0, f1, f2, f3] = range;
            let flags = u32::from_le_bytes([f0, f1, f2, f3]);
            if flags & !allowed_flags != 0 {
                return Err(RequestError::Unsupported(flags));
            }
            let sectors = u32::from_le_bytes([n0, n1, n2, n3]);
            if sectors > MAX_RANGE_SECTORS {
                return Err(RequestError::BadRange);
            }
            let length = u64::from(sectors) * SECTOR_BYTES;
            let offset = checked_range(u64::from_le_bytes(sector), length, size)?;
            Ok(SectorRange {
                offset,
                length,
                may_unmap: flags & blk::VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP != 0,
            })
        })
        .collect()
}
