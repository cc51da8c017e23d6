//! What a kernel finds in memory when it starts: command line, memory map, initrd, ACPI tables.

mod acpi;
mod command_line;
mod cpu_tables;
mod params;

pub(crate) use command_line::check as check_command_line;
pub use command_line::{CommandLineError, RECOMMENDED_COMMAND_LINE};
pub(crate) use cpu_tables::{GDT_ENTRIES, write as write_cpu_tables};

use std::fs::File;
use std::io::Read;

use vm_memory::{Bytes, GuestAddress};

use crate::config::VmConfig;
use crate::error::StartError;
use crate::kernel::{KernelError, KernelImage, LoadedKernel, MAX_KERNEL_BYTES};
use crate::layout::MMIO_GAP_START;
use crate::memory::Memory;

/// Where the boot processor starts, in 64-bit mode with `rsi` at the zero page.
pub(crate) struct BootEntry(pub(crate) u64);

/// Alignment of the initrd, a page.
const INITRD_ALIGN: u64 = 4096;
/// What kernels without a header of their own can reach when they look for the initrd.
const INITRD_LIMIT: u64 = 0x7fff_ffff;

/// Fills a new VM's memory with all that its kernel needs, for `devices` virtio-mmio devices.
pub(crate) fn load(
    config: &VmConfig,
    memory: &Memory,
    devices: usize,
) -> Result<BootEntry, StartError> {
    let low_ram_end = (u64::from(config.memory_mib) << 20).min(MMIO_GAP_START);
    let kernel = read_kernel(config)?
        .load(memory, low_ram_end)
        .map_err(|source| kernel_error(config, source))?;
    let initrd = load_initrd(config, memory, &kernel, low_ram_end)?;
    let tables = acpi::tables(config.vcpus, devices, config.watchdog);
    params::write(config, memory, &kernel, initrd, &tables)
        .and_then(|()| write_cpu_tables(memory))
        .map_err(|source| StartError::MapMemory {
            asked_mib: config.memory_mib,
            source: std::io::Error::other(source),
        })?;
    Ok(BootEntry(kernel.entry))
}

fn read_kernel(config: &VmConfig) -> Result<KernelImage, StartError> {
    let read = |source| StartError::ReadKernel {
        path: config.kernel.clone(),
        source,
    };
    // Opening a pipe or reading a device could last for ever.
    if !std::fs::metadata(&config.kernel).map_err(read)?.is_file() {
        return Err(kernel_error(config, KernelError::NotAFile));
    }
    let mut bytes = Vec::new();
    File::open(&config.kernel)
        .and_then(|file| {
            file.take(MAX_KERNEL_BYTES as u64 + 1)
                .read_to_end(&mut bytes)
        })
        .map_err(read)?;
    if bytes.len() > MAX_KERNEL_BYTES {
        return Err(kernel_error(config, KernelError::TooLarge));
    }
    KernelImage::parse(bytes).map_err(|source| kernel_error(config, source))
}

fn kernel_error(config: &VmConfig, source: KernelError) -> StartError {
    StartError::Kernel {
        path: config.kernel.clone(),
        source,
    }
}

/// Puts the initrd as high as the kernel can reach; returns its address and length.
fn load_initrd(
    config: &VmConfig,
    memory: &Memory,
    kernel: &LoadedKernel,
    low_ram_end: u64,
) -> Result<Option<(u64, u64)>, StartError> {
    let Some(initrd) = config.initrd.as_deref().filter(|bytes| !bytes.is_empty()) else {
        return Ok(None);
    };
    let length = initrd.len() as u64;
    let does_not_fit = || StartError::InitrdTooLarge {
        initrd_bytes: length,
        memory_mib: config.memory_mib,
    };
    let limit = kernel
        .setup_header
        .map_or(INITRD_LIMIT, |header| u64::from(header.initrd_addr_max));
    let start = low_ram_end
        .min(limit.saturating_add(1))
        .checked_sub(length)
        .map(|start| start & !(INITRD_ALIGN - 1))
        .filter(|start| *start >= kernel.end)
        .ok_or_else(does_not_fit)?;
    memory
        .write_slice(initrd, GuestAddress(start))
        .map_err(|_| does_not_fit())?;
    Ok(Some((start, length)))
}

#[cfg(test)]
mod tests;
