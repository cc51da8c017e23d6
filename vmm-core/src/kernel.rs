//! Kernel images: from a file's bytes to something that can be put into guest memory.
//!
//! A bzImage's payload is unpacked on the host where its compression is known (LZ4 and Zstandard), since
//! that takes milliseconds here and much longer in a guest that has just been switched on. Any other
//! bzImage is loaded as it is and unpacks itself.
//!
//! Invariant: a parsed image names only bytes that its file has, and loads only above the first MiB.

mod bzimage;
mod elf;
mod payload;

use std::io::Cursor;

use linux_loader::loader::bootparam::setup_header;
use linux_loader::loader::{self, KernelLoader};
use vm_memory::GuestAddress;

use crate::layout::HIGH_MEMORY_START;
use crate::memory::Memory;

/// The largest kernel, packed or unpacked, that is read into the host's memory.
pub(crate) const MAX_KERNEL_BYTES: usize = 512 << 20;

const ELF_MAGIC: &[u8] = b"\x7fELF";

/// Why a file can't be booted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A folder, pipe or device.
    #[error("it is not a regular file: give the path of a vmlinux or vmlinuz file")]
    NotAFile,
    /// Neither ELF nor bzImage.
    #[error(
        "it is not a kernel: neither an x86-64 vmlinux (an ELF file that loads above 1 MiB) nor a bzImage (vmlinuz)"
    )]
    NotAKernel,
    /// The file ends before its own headers say.
    #[error(
        "it is truncated: {what} should reach to byte {expected}, but there are {actual}; fetch the file again"
    )]
    Truncated {
        /// Which part is cut off.
        what: &'static str,
        /// Where it should end.
        expected: u64,
        /// Where it ends.
        actual: u64,
    },
    /// A header has a value that makes no sense.
    #[error("its {what} is not valid")]
    Malformed {
        /// Which part.
        what: &'static str,
    },
    /// The kernel was built without the 64-bit boot protocol.
    #[error("it has no 64-bit entry point: use a kernel for x86-64")]
    No64BitEntry,
    /// The file or the kernel in it is past all reason.
    #[error("it is larger than {max_mib} MiB", max_mib = MAX_KERNEL_BYTES >> 20)]
    TooLarge,
    /// The guest's memory can't hold it.
    #[error(
        "it needs memory up to {needs_mib} MiB, and the VM has {memory_mib} MiB below the device hole: raise the memory"
    )]
    DoesNotFit {
        /// Where the kernel ends.
        needs_mib: u64,
        /// What there is.
        memory_mib: u64,
    },
    /// Copying it into guest memory failed.
    #[error("it could not be loaded")]
    Load {
        /// What the loader says.
        source: loader::Error,
    },
}

/// A kernel that can be loaded.
pub(crate) struct KernelImage {
    bytes: Vec<u8>,
    layout: Layout,
}

enum Layout {
    Elf(elf::ElfLayout),
    SelfUnpacking(bzimage::BzImage),
}

/// A kernel in guest memory.
pub(crate) struct LoadedKernel {
    /// Where the boot processor starts, in 64-bit mode.
    pub(crate) entry: u64,
    /// First byte after all the memory that the kernel uses until it has read the memory map.
    pub(crate) end: u64,
    /// The header of a bzImage that unpacks itself, which wants parts of it back.
    pub(crate) setup_header: Option<setup_header>,
}

impl KernelImage {
    /// Parses a kernel file.
    pub(crate) fn parse(bytes: Vec<u8>) -> Result<Self, KernelError> {
        if bytes.starts_with(ELF_MAGIC) {
            return Self::from_elf(bytes);
        }
        let image = bzimage::BzImage::parse(&bytes)?;
        match payload::unpack(image.payload(&bytes))? {
            Some(elf) => Self::from_elf(elf),
            None => Ok(Self {
                bytes,
                layout: Layout::SelfUnpacking(image),
            }),
        }
    }

    fn from_elf(bytes: Vec<u8>) -> Result<Self, KernelError> {
        let layout = Layout::Elf(elf::ElfLayout::parse(&bytes)?);
        Ok(Self { bytes, layout })
    }

    /// First byte after the memory that the kernel uses.
    pub(crate) fn end(&self) -> u64 {
        match &self.layout {
            Layout::Elf(layout) => layout.end,
            Layout::SelfUnpacking(image) => image.end(),
        }
    }

    /// Copies the kernel into memory whose lowest piece ends at `low_ram_end`.
    pub(crate) fn load(
        &self,
        memory: &Memory,
        low_ram_end: u64,
    ) -> Result<LoadedKernel, KernelError> {
        let end = self.end();
        if end > low_ram_end {
            return Err(KernelError::DoesNotFit {
                needs_mib: end.div_ceil(1 << 20),
                memory_mib: low_ram_end >> 20,
            });
        }
        let mut file = Cursor::new(&self.bytes);
        let floor = Some(GuestAddress(HIGH_MEMORY_START));
        let load = |source| KernelError::Load { source };
        match &self.layout {
            Layout::Elf(layout) => {
                // An offset, even of zero, keeps the loader from walking the notes for an entry point that
                // is not used here: a kernel must not fail for notes that it lays out in its own way.
                let at = Some(GuestAddress(0));
                loader::Elf::load(memory, at, &mut file, floor).map_err(load)?;
                Ok(LoadedKernel {
                    entry: layout.entry,
                    end,
                    setup_header: None,
                })
            }
            Layout::SelfUnpacking(image) => {
                let at = Some(GuestAddress(image.load_address));
                let loaded = loader::BzImage::load(memory, at, &mut file, floor).map_err(load)?;
                Ok(LoadedKernel {
                    entry: image.entry(),
                    end,
                    setup_header: loaded.setup_header,
                })
            }
        }
    }
}

/// The little-endian value of `N` bytes at `offset`.
fn bytes_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    let end = offset.checked_add(N)?;
    bytes.get(offset..end)?.try_into().ok()
}

#[cfg(test)]
mod tests;
