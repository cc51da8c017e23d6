//! Linux's zero page (`boot_params`), the memory map in it, and what it points to.

use linux_loader::configurator::linux::LinuxBootConfigurator;
use linux_loader::configurator::{BootConfigurator, BootParams};
use linux_loader::loader::bootparam::{boot_e820_entry, boot_params};
use vm_memory::{Bytes, GuestAddress};

use super::acpi::AcpiTables;
use crate::config::VmConfig;
use crate::kernel::LoadedKernel;
use crate::layout::{
    ACPI, COMMAND_LINE, HIGH_MEMORY_START, KEYBOARD_COMMAND_PORT, KEYBOARD_RESET, LOW_RAM_END,
    RESET_VECTOR, ZERO_PAGE,
};
use crate::memory::{Memory, ram_ranges};

const BOOT_FLAG: u16 = 0xaa55;
const HEADER_MAGIC: u32 = u32::from_le_bytes(*b"HdrS");
/// A boot loader without a registered number.
const LOADER_UNDEFINED: u8 = 0xff;
const E820_RAM: u32 = 1;
const E820_RESERVED: u32 = 2;

/// All the firmware there is: `mov al, 0xfe; out 0x64, al; hlt`. A kernel that restarts through the BIOS,
/// as Linux does on hardware-reduced ACPI without EFI unless told otherwise, resets the machine with it.
const FIRMWARE: [u8; 5] = [0xb0, KEYBOARD_RESET, 0xe6, KEYBOARD_COMMAND_PORT, 0xf4];

/// The memory map, lowest first, without overlaps.
pub(super) fn memory_map(memory_bytes: u64) -> Vec<(u64, u64, u32)> {
    let mut map = vec![
        (0, LOW_RAM_END, E820_RAM),
        (LOW_RAM_END, 0xa_0000 - LOW_RAM_END, E820_RESERVED),
        (ACPI, HIGH_MEMORY_START - ACPI, E820_RESERVED),
    ];
    for (start, length) in ram_ranges(memory_bytes) {
        let from = start.max(HIGH_MEMORY_START);
        map.push((from, start + length - from, E820_RAM));
    }
    map
}

/// Writes command line, ACPI tables and zero page.
pub(super) fn write(
    config: &VmConfig,
    memory: &Memory,
    kernel: &LoadedKernel,
    initrd: Option<(u64, u64)>,
    tables: &AcpiTables,
) -> Result<(), vm_memory::GuestMemoryError> {
    let mut line = config.command_line.clone().into_bytes();
    line.push(0);
    memory.write_slice(&line, GuestAddress(COMMAND_LINE))?;
    memory.write_slice(&tables.bytes, GuestAddress(ACPI))?;
    memory.write_slice(&FIRMWARE, GuestAddress(RESET_VECTOR))?;

    let mut params = boot_params {
        hdr: kernel.setup_header.unwrap_or_default(),
        acpi_rsdp_addr: ACPI,
        ..Default::default()
    };
    params.hdr.type_of_loader = LOADER_UNDEFINED;
    params.hdr.boot_flag = BOOT_FLAG;
    params.hdr.header = HEADER_MAGIC;
    params.hdr.cmd_line_ptr = low32(COMMAND_LINE);
    params.hdr.cmdline_size = low32(line.len() as u64);
    if let Some((address, length)) = initrd {
        params.hdr.ramdisk_image = low32(address);
        params.hdr.ramdisk_size = low32(length);
    }
    let map = memory_map(u64::from(config.memory_mib) << 20);
    for (slot, (addr, size, kind)) in params.e820_table.iter_mut().zip(&map) {
        *slot = boot_e820_entry {
            addr: *addr,
            size: *size,
            r#type: *kind,
        };
        params.e820_entries += 1;
    }
    let params = BootParams::new(&params, GuestAddress(ZERO_PAGE));
    LinuxBootConfigurator::write_bootparams(&params, memory)
        .map_err(|_| vm_memory::GuestMemoryError::InvalidGuestAddress(GuestAddress(ZERO_PAGE)))
}

/// A value that the callers' checks keep below 4 GiB.
fn low32(value: u64) -> u32 {
    u32::try_from(value).expect("command line and initrd lie below 4 GiB")
}
