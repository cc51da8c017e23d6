//! The start info of the PVH boot protocol, and its lists of memory and modules, one behind the other in a page.

use linux_loader::configurator::pvh::PvhBootConfigurator;
use linux_loader::configurator::{BootConfigurator, BootParams};
use linux_loader::loader::elf::start_info::{
    hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info,
};
use vm_memory::{GuestAddress, GuestMemoryError};

use super::low32;
use super::memory_map::memory_map;
use crate::config::VmConfig;
use crate::layout::{ACPI, COMMAND_LINE, PVH_START_INFO};
use crate::memory::Memory;

const MAGIC: u32 = 0x336e_c578;
/// The version with a memory map.
const VERSION: u32 = 1;
const MODULES: u64 = PVH_START_INFO + 0x40;
const MEMORY_MAP: u64 = PVH_START_INFO + 0x80;
const _: () = assert!(size_of::<hvm_start_info>() as u64 <= MODULES - PVH_START_INFO);
const _: () = assert!(size_of::<hvm_modlist_entry>() as u64 <= MEMORY_MAP - MODULES);

/// Writes the start info; an initrd is its one module.
pub(super) fn write(
    config: &VmConfig,
    memory: &Memory,
    initrd: Option<(u64, u64)>,
) -> Result<(), GuestMemoryError> {
    let modules: Vec<_> = initrd
        .map(|(paddr, size)| hvm_modlist_entry {
            paddr,
            size,
            ..Default::default()
        })
        .into_iter()
        .collect();
    let map: Vec<_> = memory_map(u64::from(config.memory_mib) << 20)
        .into_iter()
        .map(|(addr, size, type_)| hvm_memmap_table_entry {
            addr,
            size,
            type_,
            ..Default::default()
        })
        .collect();
    let info = hvm_start_info {
        magic: MAGIC,
        version: VERSION,
        nr_modules: low32(modules.len() as u64),
        modlist_paddr: MODULES,
        cmdline_paddr: COMMAND_LINE,
        rsdp_paddr: ACPI,
        memmap_paddr: MEMORY_MAP,
        memmap_entries: low32(map.len() as u64),
        ..Default::default()
    };
    let mut params = BootParams::new(&info, GuestAddress(PVH_START_INFO));
    params.set_sections(&map, GuestAddress(MEMORY_MAP));
    params.set_modules(&modules, GuestAddress(MODULES));
    PvhBootConfigurator::write_bootparams(&params, memory)
        .map_err(|_| GuestMemoryError::InvalidGuestAddress(GuestAddress(PVH_START_INFO)))
}
