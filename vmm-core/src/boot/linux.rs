//! Linux's zero page (`boot_params`).

use linux_loader::configurator::linux::LinuxBootConfigurator;
use linux_loader::configurator::{BootConfigurator, BootParams};
use linux_loader::loader::bootparam::{boot_e820_entry, boot_params};
use vm_memory::{GuestAddress, GuestMemoryError};

use super::low32;
use super::memory_map::memory_map;
use crate::config::VmConfig;
use crate::kernel::KernelImage;
use crate::layout::{ACPI, COMMAND_LINE, ZERO_PAGE};
use crate::memory::Memory;

const BOOT_FLAG: u16 = 0xaa55;
const HEADER_MAGIC: u32 = u32::from_le_bytes(*b"HdrS");
/// A boot loader without a registered number.
const LOADER_UNDEFINED: u8 = 0xff;

/// Writes the zero page.
pub(super) fn write(
    config: &VmConfig,
    memory: &Memory,
    kernel: &KernelImage,
    initrd: Option<(u64, u64)>,
) -> Result<(), GuestMemoryError> {
    let mut params = boot_params {
        hdr: kernel.setup_header.unwrap_or_default(),
        acpi_rsdp_addr: ACPI,
        ..Default::default()
    };
    params.hdr.type_of_loader = LOADER_UNDEFINED;
    params.hdr.boot_flag = BOOT_FLAG;
    params.hdr.header = HEADER_MAGIC;
    params.hdr.cmd_line_ptr = low32(COMMAND_LINE);
    params.hdr.cmdline_size = low32(config.command_line.len() as u64 + 1);
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
        .map_err(|_| GuestMemoryError::InvalidGuestAddress(GuestAddress(ZERO_PAGE)))
}
