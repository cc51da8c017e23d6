//! A kernel's pages as they lie in guest memory, in a file without a name that guests map.
//!
//! Invariant: the pages don't change once they are here: the file is sealed.

use std::fs::File;
use std::io::{self, Cursor};

use linux_loader::loader::bootparam::setup_header;
use linux_loader::loader::{self, KernelLoader};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap};

use super::bzimage::BzImage;
use super::elf::ElfLayout;
use super::{ELF_MAGIC, KernelError, payload};
use crate::layout::HIGH_MEMORY_START;
use crate::memory::{self, Memory, PAGE_BYTES};

/// A kernel that guests can map.
#[derive(Debug)]
pub(crate) struct KernelImage {
    pages: File,
    /// Where the first page goes.
    start: u64,
    length: u64,
    /// Where the boot processor starts in 64-bit mode.
    pub(crate) entry: u64,
    /// Where it starts by the PVH protocol, in 32-bit mode.
    pub(crate) pvh_entry: Option<u32>,
    /// First byte after all the memory that the kernel uses until it has read the memory map.
    pub(crate) end: u64,
    /// The header of a bzImage that unpacks itself, which wants parts of it back.
    pub(crate) setup_header: Option<setup_header>,
}

impl KernelImage {
    /// Parses a kernel file.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, KernelError> {
        if bytes.starts_with(ELF_MAGIC) {
            return Self::from_elf(bytes);
        }
        let image = BzImage::parse(bytes)?;
        match payload::unpack(image.payload(bytes))? {
            Some(elf) => Self::from_elf(&elf),
            None => Self::self_unpacking(bytes, &image),
        }
    }

    fn from_elf(bytes: &[u8]) -> Result<Self, KernelError> {
        let layout = ElfLayout::parse(bytes)?;
        let pages = Pages::new(layout.start, layout.file_end)?;
        // An offset, even of zero, keeps the loader from walking the notes for an entry point: a kernel must not fail
        // for notes that it lays out in its own way.
        let at = Some(GuestAddress(0));
        loader::Elf::load(&pages.memory, at, &mut Cursor::new(bytes), FLOOR).map_err(load)?;
        pages.seal(|pages, start, length| Self {
            pages,
            start,
            length,
            entry: layout.entry,
            pvh_entry: layout.pvh_entry,
            end: layout.end,
            setup_header: None,
        })
    }

    fn self_unpacking(bytes: &[u8], image: &BzImage) -> Result<Self, KernelError> {
        let pages = Pages::new(image.load_address, image.load_address + bytes.len() as u64)?;
        let at = Some(GuestAddress(image.load_address));
        let loaded = loader::BzImage::load(&pages.memory, at, &mut Cursor::new(bytes), FLOOR)
            .map_err(load)?;
        pages.seal(|pages, start, length| Self {
            pages,
            start,
            length,
            entry: image.entry(),
            pvh_entry: None,
            end: image.end(),
            setup_header: loaded.setup_header,
        })
    }

    /// Puts the kernel into memory whose lowest piece ends at `low_ram_end`: as pages that it shares with other
    /// guests, or as a copy, which is less memory where there are none.
    pub(crate) fn place(
        &self,
        memory: &Memory,
        low_ram_end: u64,
        pages: Placement,
    ) -> Result<(), KernelError> {
        let end = self.end.max(self.start + self.length);
        if end > low_ram_end {
            return Err(KernelError::DoesNotFit {
                needs_mib: end.div_ceil(1 << 20),
                memory_mib: low_ram_end >> 20,
            });
        }
        let start = GuestAddress(self.start);
        let placed = match pages {
            Placement::Shared => memory::map_private(memory, start, &self.pages, self.length),
            Placement::Copied => memory::copy_file(memory, start, &self.pages, self.length),
        };
        placed.map_err(pages_error("given to the guest"))
    }
}

/// What becomes of a kernel's pages in a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// Those that the guest doesn't change stay the kernel's.
    Shared,
    /// All are the guest's own.
    Copied,
}

/// No part of a kernel may go below this.
const FLOOR: Option<GuestAddress> = Some(GuestAddress(HIGH_MEMORY_START));

/// Pages that are being filled.
struct Pages {
    file: File,
    memory: GuestMemoryMmap,
    start: u64,
    length: u64,
}

impl Pages {
    /// Zeroed pages for what goes to `from..to`.
    fn new(from: u64, to: u64) -> Result<Self, KernelError> {
        let start = from - from % PAGE_BYTES;
        let length = to.next_multiple_of(PAGE_BYTES) - start;
        let (file, memory) = map(start, length).map_err(pages_error("held"))?;
        Ok(Self {
            file,
            memory,
            start,
            length,
        })
    }

    fn seal(
        self,
        image: impl FnOnce(File, u64, u64) -> KernelImage,
    ) -> Result<KernelImage, KernelError> {
        // A file that can be written through a mapping can't be sealed.
        drop(self.memory);
        fcntl_add_seals(
            &self.file,
            SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK,
        )
        .map_err(|error| pages_error("sealed")(error.into()))?;
        Ok(image(self.file, self.start, self.length))
    }
}

fn map(start: u64, length: u64) -> io::Result<(File, GuestMemoryMmap)> {
    let file = File::from(memfd_create(
        "vm-kernel",
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )?);
    file.set_len(length)?;
    let length = usize::try_from(length).map_err(io::Error::other)?;
    let range = (
        GuestAddress(start),
        length,
        Some(FileOffset::new(file.try_clone()?, 0)),
    );
    let memory = GuestMemoryMmap::from_ranges_with_files([range]).map_err(io::Error::other)?;
    Ok((file, memory))
}

fn load(source: loader::Error) -> KernelError {
    KernelError::Load { source }
}

fn pages_error(action: &'static str) -> impl FnOnce(io::Error) -> KernelError {
    move |source| KernelError::Pages { action, source }
}
