//! The parts of an ELF file that decide where it goes in memory.

use super::{KernelError, MAX_KERNEL_BYTES, bytes_at};
use crate::layout::{HIGH_MEMORY_START, MMIO_GAP_START};

const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const MACHINE_X86_64: u16 = 62;
const TYPE_EXECUTABLE: u16 = 2;
const TYPE_SHARED: u16 = 3;
const SEGMENT_LOAD: u32 = 1;
const SEGMENT_INTERPRETER: u32 = 3;
const SEGMENT_NOTE: u32 = 4;
const HEADER_BYTES: u64 = 64;
const SEGMENT_HEADER_BYTES: u16 = 56;
/// Segments in an ELF kernel; Linux has five.
const MAX_SEGMENTS: u16 = 64;

/// Where an ELF kernel goes and starts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ElfLayout {
    pub(super) entry: u64,
    pub(super) pvh_entry: Option<u32>,
    /// First byte of its segments in memory.
    pub(super) start: u64,
    /// First byte after what its segments have from the file.
    pub(super) file_end: u64,
    /// First byte after its segments.
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
        let (mut start, mut file_end, mut end) = (u64::MAX, 0, 0);
        let mut entry_is_loaded = false;
        let mut pvh_entry = None;
        for segment in segments(bytes)? {
            match segment.kind {
                SEGMENT_LOAD => {
                    segment.check_file_range(actual)?;
                    let segment_end = segment.end()?;
                    start = start.min(segment.address);
                    file_end = file_end.max(segment.address + segment.file_bytes);
                    end = end.max(segment_end);
                    entry_is_loaded |= (segment.address..segment_end).contains(&entry);
                }
                SEGMENT_NOTE => pvh_entry = pvh_entry.or(segment.pvh_entry(bytes)),
                // Only programs name an interpreter.
                SEGMENT_INTERPRETER => return Err(KernelError::NotAKernel),
                _ => {}
            }
        }
        if !entry_is_loaded {
            return Err(malformed("ELF entry point"));
        }
        if end > MMIO_GAP_START {
            return Err(KernelError::DoesNotFit {
                needs_mib: end.div_ceil(1 << 20),
                memory_mib: MMIO_GAP_START >> 20,
            });
        }
        if end - start > MAX_KERNEL_BYTES as u64 {
            return Err(KernelError::TooLarge);
        }
        if file_end <= start {
            return Err(malformed("ELF segments: all of them are empty"));
        }
        Ok(Self {
            entry,
            pvh_entry: pvh_entry.filter(|entry| (start..end).contains(&u64::from(*entry))),
            start,
            file_end,
            end,
        })
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

/// `XEN_ELFNOTE_PHYS32_ENTRY` of Xen's `elfnote.h`, and the name that such notes have.
const PVH_NOTE: u32 = 18;
const PVH_NOTE_NAME: &[u8] = b"Xen\0";
/// Name size, content size and kind, four bytes each, before every note; the parts are padded to four bytes.
const NOTE_HEADER_BYTES: usize = 12;
const NOTE_ALIGN: usize = 4;

impl Segment {
    /// The entry point that a note segment gives for the PVH protocol. Notes that make no sense have none.
    fn pvh_entry(&self, file: &[u8]) -> Option<u32> {
        let start = usize::try_from(self.offset).ok()?;
        let length = usize::try_from(self.file_bytes).ok()?;
        let mut notes = file.get(start..start.checked_add(length)?)?;
        loop {
            let name_bytes = u32::from_le_bytes(bytes_at(notes, 0)?) as usize;
            let content_bytes = u32::from_le_bytes(bytes_at(notes, 4)?) as usize;
            let kind = u32::from_le_bytes(bytes_at(notes, 8)?);
            let content_at = NOTE_HEADER_BYTES + name_bytes.next_multiple_of(NOTE_ALIGN);
            let name = notes.get(NOTE_HEADER_BYTES..NOTE_HEADER_BYTES + name_bytes)?;
            if kind == PVH_NOTE && name == PVH_NOTE_NAME {
                return bytes_at(notes, content_at).map(u32::from_le_bytes);
            }
            notes = notes.get(content_at + content_bytes.next_multiple_of(NOTE_ALIGN)..)?;
        }
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
