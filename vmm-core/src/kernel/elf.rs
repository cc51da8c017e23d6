//! The parts of an ELF file that decide where it goes in memory.

use super::{KernelError, MAX_KERNEL_BYTES, bytes_at};
use crate::layout::HIGH_MEMORY_START;

const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const MACHINE_X86_64: u16 = 62;
const TYPE_EXECUTABLE: u16 = 2;
const TYPE_SHARED: u16 = 3;
const SEGMENT_LOAD: u32 = 1;
const SEGMENT_INTERPRETER: u32 = 3;
const HEADER_BYTES: u64 = 64;
const SEGMENT_HEADER_BYTES: u16 = 56;
/// Segments in an ELF kernel; Linux has five.
const MAX_SEGMENTS: u16 = 64;

/// Where an ELF kernel starts and ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ElfLayout {
    pub(super) entry: u64,
    pub(super) end: u64,
}

struct Segment {
    kind: u32,
    offset: u64,
    file_bytes: u64,
    address: u64,
    memory_bytes: u64,
}

impl ElfLayout {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, KernelError> {
        let actual = bytes.len() as u64;
        if actual < HEADER_BYTES {
            return Err(truncated("the ELF header", HEADER_BYTES, actual));
        }
        if bytes[4] != CLASS_64 || bytes[5] != LITTLE_ENDIAN || u16_at(bytes, 18)? != MACHINE_X86_64
        {
            return Err(KernelError::No64BitEntry);
        }
        if !matches!(u16_at(bytes, 16)?, TYPE_EXECUTABLE | TYPE_SHARED) {
            return Err(malformed("ELF file type"));
        }
        let entry = u64_at(bytes, 24)?;
        let mut end = 0;
        let mut entry_is_loaded = false;
        for segment in segments(bytes)? {
            match segment.kind {
                SEGMENT_LOAD => {
                    segment.check_file_range(actual)?;
                    let segment_end = segment.end()?;
                    end = end.max(segment_end);
                    entry_is_loaded |= (segment.address..segment_end).contains(&entry);
                }
                // Only programs name an interpreter.
                SEGMENT_INTERPRETER => return Err(KernelError::NotAKernel),
                _ => {}
            }
        }
        if !entry_is_loaded {
            return Err(malformed("ELF entry point"));
        }
        Ok(Self { entry, end })
    }
}

impl Segment {
    fn check_file_range(&self, actual: u64) -> Result<(), KernelError> {
        let end = self
            .offset
            .checked_add(self.file_bytes)
            .ok_or(malformed("ELF segment"))?;
        if end > actual {
            return Err(truncated("an ELF segment", end, actual));
        }
        Ok(())
    }

    /// First address after the segment in memory.
    fn end(&self) -> Result<u64, KernelError> {
        if self.address < HIGH_MEMORY_START {
            return Err(KernelError::NotAKernel);
        }
        self.address
            .checked_add(self.memory_bytes)
            .filter(|_| self.memory_bytes >= self.file_bytes)
            .filter(|_| self.memory_bytes <= MAX_KERNEL_BYTES as u64)
            .ok_or(malformed("ELF segment"))
    }
}

fn segments(bytes: &[u8]) -> Result<Vec<Segment>, KernelError> {
    let table = u64_at(bytes, 32)?;
    let count = u16_at(bytes, 56)?;
    if u16_at(bytes, 54)? != SEGMENT_HEADER_BYTES || count == 0 || count > MAX_SEGMENTS {
        return Err(malformed("ELF program header table"));
    }
    let actual = bytes.len() as u64;
    let end = table
        .checked_add(u64::from(count) * u64::from(SEGMENT_HEADER_BYTES))
        .ok_or(malformed("ELF program header table"))?;
    if table < HEADER_BYTES {
        return Err(malformed("ELF program header table"));
    }
    if end > actual {
        return Err(truncated("the ELF program header table", end, actual));
    }
    (0..count)
        .map(|index| {
            let at = usize::try_from(table).map_err(|_| malformed("ELF program header table"))?
                + usize::from(index) * usize::from(SEGMENT_HEADER_BYTES);
            Ok(Segment {
                kind: u32::from_le_bytes(
                    bytes_at(bytes, at).ok_or(malformed("ELF program header table"))?,
                ),
                offset: u64_at(bytes, at + 8)?,
                address: u64_at(bytes, at + 24)?,
                file_bytes: u64_at(bytes, at + 32)?,
                memory_bytes: u64_at(bytes, at + 40)?,
            })
        })
        .collect()
}

fn u16_at(bytes: &[u8], offset: usize) -> Result<u16, KernelError> {
    bytes_at(bytes, offset)
        .map(u16::from_le_bytes)
        .ok_or(malformed("ELF header"))
}

fn u64_at(bytes: &[u8], offset: usize) -> Result<u64, KernelError> {
    bytes_at(bytes, offset)
        .map(u64::from_le_bytes)
        .ok_or(malformed("ELF header"))
}

const fn malformed(what: &'static str) -> KernelError {
    KernelError::Malformed { what }
}

const fn truncated(what: &'static str, expected: u64, actual: u64) -> KernelError {
    KernelError::Truncated {
        what,
        expected,
        actual,
    }
}
