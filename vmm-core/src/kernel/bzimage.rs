//! The setup header of a bzImage.
//!
//! Offsets are those of Linux's Documentation/x86/boot.rst; all values are little-endian.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0x1f1 | 1 | real-mode setup sectors of 512 bytes, 0 means 4 |
//! | 0x1f4 | 4 | size of the protected-mode part in 16-byte units |
//! | 0x202 | 4 | `HdrS` |
//! | 0x206 | 2 | version of the boot protocol |
//! | 0x236 | 2 | flags, bit 0: has a 64-bit entry point at offset 0x200 of the protected-mode part |
//! | 0x248 | 4 | offset of the packed kernel in the protected-mode part |
//! | 0x24c | 4 | its length |
//! | 0x258 | 8 | preferred load address |
//! | 0x260 | 4 | memory needed from there on while unpacking |

use super::{KernelError, MAX_KERNEL_BYTES, bytes_at};
use crate::layout::HIGH_MEMORY_START;

const MAGIC: &[u8; 4] = b"HdrS";
/// 2.12, of Linux 3.8: the first with a 64-bit entry point.
const MIN_VERSION: u16 = 0x020c;
const HAS_64_BIT_ENTRY: u16 = 1;
const ENTRY_64: usize = 0x200;
const SECTOR: usize = 512;

/// What the header says about a bzImage.
pub(super) struct BzImage {
    /// Where the protected-mode part wants to be.
    pub(super) load_address: u64,
    memory_bytes: u64,
    payload: std::ops::Range<usize>,
}

impl BzImage {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, KernelError> {
        if bytes_at(bytes, 0x202).as_ref() != Some(MAGIC) {
            return Err(KernelError::NotAKernel);
        }
        let version = u16::from_le_bytes(field(bytes, 0x206)?);
        let flags = u16::from_le_bytes(field(bytes, 0x236)?);
        if version < MIN_VERSION || flags & HAS_64_BIT_ENTRY == 0 {
            return Err(KernelError::No64BitEntry);
        }
        let [sectors] = field(bytes, 0x1f1)?;
        let start = (usize::from(if sectors == 0 { 4 } else { sectors }) + 1) * SECTOR;
        let length = u32::from_le_bytes(field(bytes, 0x1f4)?) as usize * 16;
        let packed_at = start + u32::from_le_bytes(field(bytes, 0x248)?) as usize;
        let packed = u32::from_le_bytes(field(bytes, 0x24c)?) as usize;
        // The entry point is a part of any kernel, whatever its header says about the rest.
        let end = (start + length)
            .max(packed_at + packed)
            .max(start + ENTRY_64 + 1);
        if end > bytes.len() {
            return Err(KernelError::Truncated {
                what: "the packed kernel",
                expected: end as u64,
                actual: bytes.len() as u64,
            });
        }
        let load_address = u64::from_le_bytes(field(bytes, 0x258)?);
        let memory_bytes =
            u64::from(u32::from_le_bytes(field(bytes, 0x260)?)).max((bytes.len() - start) as u64);
        if !(HIGH_MEMORY_START..u64::from(u32::MAX)).contains(&load_address)
            || memory_bytes > MAX_KERNEL_BYTES as u64
        {
            return Err(KernelError::Malformed {
                what: "load address or size",
            });
        }
        Ok(Self {
            load_address,
            memory_bytes,
            payload: packed_at..packed_at + packed,
        })
    }

    /// The packed kernel.
    pub(super) fn payload<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.payload.clone()).unwrap_or_default()
    }

    pub(super) fn entry(&self) -> u64 {
        self.load_address + ENTRY_64 as u64
    }

    pub(super) fn end(&self) -> u64 {
        self.load_address + self.memory_bytes
    }
}

fn field<const N: usize>(bytes: &[u8], offset: usize) -> Result<[u8; N], KernelError> {
    bytes_at(bytes, offset).ok_or(KernelError::Truncated {
        what: "the setup header",
        expected: (offset + N) as u64,
        actual: bytes.len() as u64,
    })
}
