//! Kernels from bytes.

use vm_memory::{Bytes, GuestAddress};

use crate::kernel::{KernelError, KernelImage, Placement};
use crate::memory::{self, Memory};

/// A kernel in guest memory.
#[derive(Debug)]
pub struct Loaded {
    /// Where the boot processor would start.
    pub entry: u64,
    /// First byte after the memory that the kernel uses.
    pub end: u64,
    memory: Memory,
}

/// Parses a kernel file and loads it into `memory_mib` of memory.
///
/// # Errors
/// Those of [`Vm::start`](crate::Vm::start).
///
/// # Panics
/// If the host has no memory.
pub fn load_kernel(file: &[u8], memory_mib: u32) -> Result<Loaded, KernelError> {
    let image = KernelImage::parse(file)?;
    let memory = memory::map(memory_mib).expect("the host has memory");
    image.place(&memory, u64::from(memory_mib) << 20, Placement::Copied)?;
    Ok(Loaded {
        entry: image.entry,
        end: image.end,
        memory,
    })
}

impl Loaded {
    /// What is in guest memory at `address`, if all of `target` is.
    pub fn read(&self, address: u64, target: &mut [u8]) -> bool {
        self.memory
            .read_slice(target, GuestAddress(address))
            .is_ok()
    }
}
