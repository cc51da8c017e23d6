//! What a kernel finds in memory when it starts: command line, memory map, initrd, ACPI tables.

mod acpi;
mod command_line;
mod cpu_tables;
mod linux;
mod memory_map;
mod pvh;

pub(crate) use command_line::check as check_command_line;
pub use command_line::{CommandLineError, RECOMMENDED_COMMAND_LINE};
pub(crate) use cpu_tables::{GDT_ENTRIES, write as write_cpu_tables};

use std::ops::Range;

use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

use crate::config::VmConfig;
use crate::error::StartError;
use crate::kernel::KernelError;
use crate::layout::{
    ACPI, COMMAND_LINE, KEYBOARD_COMMAND_PORT, KEYBOARD_RESET, MMIO_GAP_START, RESET_VECTOR,
};
use crate::memory::Memory;

/// All the firmware there is: `mov al, 0xfe; out 0x64, al; hlt`. A kernel that restarts through the BIOS,
/// as Linux does on hardware-reduced ACPI without EFI unless told otherwise, resets the machine with it.
const FIRMWARE: [u8; 5] = [0xb0, KEYBOARD_RESET, 0xe6, KEYBOARD_COMMAND_PORT, 0xf4];

/// How a kernel is entered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BootProtocol {
    /// Linux's own, in 64-bit mode (Documentation/arch/x86/boot.rst): every x86-64 Linux has it.
    #[default]
    Linux,
    /// Xen's PVH, in 32-bit mode (Xen's `misc/pvh.pandoc`): for kernels of other systems, and Linux with `CONFIG_PVH`.
    Pvh,
}

/// Where and how the boot processor starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BootEntry {
    /// In 64-bit mode, with `rsi` at the zero page.
    Linux(u64),
    /// In 32-bit mode, with `ebx` at the start info.
    Pvh(u32),
}

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
    let kernel = config.kernel.open()?;
    let wrong = |source| StartError::Kernel {
        path: kernel.path().to_owned(),
        source,
    };
    let image = kernel.image();
    let entry = match config.boot_protocol {
        BootProtocol::Linux => BootEntry::Linux(image.entry),
        BootProtocol::Pvh => image
            .pvh_entry
            .map(BootEntry::Pvh)
            .ok_or_else(|| wrong(KernelError::NoPvhEntry))?,
    };
    image
        .place(memory, low_ram_end, config.kernel.placement())
        .map_err(wrong)?;
    let reach = image
        .setup_header
        .map_or(INITRD_LIMIT, |header| u64::from(header.initrd_addr_max));
    let room = image.end..low_ram_end.min(reach.saturating_add(1));
    let initrd = load_initrd(config, memory, room)?;
    let tables = acpi::tables(config.vcpus, devices, config.watchdog);
    write_tables(config, memory, &tables)
        .and_then(|()| match entry {
            BootEntry::Linux(_) => {
                linux::write(config, memory, image, initrd)?;
                write_cpu_tables(memory)
            }
            BootEntry::Pvh(_) => pvh::write(config, memory, initrd),
        })
        .map_err(|source| StartError::MapMemory {
            asked_mib: config.memory_mib,
            source: std::io::Error::other(source),
        })?;
    Ok(entry)
}

/// Writes what either protocol's structures point to: command line, ACPI tables, and all the firmware there is.
fn write_tables(
    config: &VmConfig,
    memory: &Memory,
    tables: &acpi::AcpiTables,
) -> Result<(), GuestMemoryError> {
    let mut line = config.command_line.clone().into_bytes();
    line.push(0);
    memory.write_slice(&line, GuestAddress(COMMAND_LINE))?;
    memory.write_slice(&tables.bytes, GuestAddress(ACPI))?;
    memory.write_slice(&FIRMWARE, GuestAddress(RESET_VECTOR))
}

/// Puts the initrd as high into `room` as it goes; returns its address and length.
fn load_initrd(
    config: &VmConfig,
    memory: &Memory,
    room: Range<u64>,
) -> Result<Option<(u64, u64)>, StartError> {
    let Some(initrd) = config.initrd.as_deref().filter(|bytes| !bytes.is_empty()) else {
        return Ok(None);
    };
    let length = initrd.len() as u64;
    let does_not_fit = || StartError::InitrdTooLarge {
        initrd_bytes: length,
        room_bytes: room
            .end
            .saturating_sub(room.start.next_multiple_of(INITRD_ALIGN)),
        memory_mib: config.memory_mib,
    };
    let start = initrd_start(&room, length).ok_or_else(does_not_fit)?;
    memory
        .write_slice(initrd, GuestAddress(start))
        .map_err(|_| does_not_fit())?;
    Ok(Some((start, length)))
}

/// The highest place in `room` for an initrd of `length` bytes.
fn initrd_start(room: &Range<u64>, length: u64) -> Option<u64> {
    let start = room.end.checked_sub(length)? & !(INITRD_ALIGN - 1);
    (start >= room.start).then_some(start)
}

/// A value that the callers' checks keep below 4 GiB.
fn low32(value: u64) -> u32 {
    u32::try_from(value).expect("command line and initrd lie below 4 GiB")
}

#[cfg(test)]
mod tests;
