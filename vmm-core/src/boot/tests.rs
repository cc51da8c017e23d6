mod addresses;

use super::command_line::{CommandLineError, check};
use super::*;
use crate::config::MAX_VCPUS;
use crate::layout::{ACPI, HIGH_MEMORY_START, MAX_VIRTIO_DEVICES};

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// The table at guest-physical `address`, checked.
fn table(bytes: &[u8], address: u64) -> &[u8] {
    let at = usize::try_from(address - ACPI).unwrap();
    let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
    let table = &bytes[at..at + length];
    assert_eq!(sum(table), 0, "checksum of {:?}", &table[..4]);
    table
}

#[test]
fn acpi_tables_hang_together_and_add_up() {
    for (vcpus, devices, has_watchdog) in [(1, 1, false), (MAX_VCPUS, MAX_VIRTIO_DEVICES, true)] {
        let tables = acpi::tables(vcpus, devices, has_watchdog).bytes;
        assert!(tables.starts_with(b"RSD PTR "));
        assert_eq!((sum(&tables[..20]), sum(&tables[..36])), (0, 0));
        let xsdt = table(&tables, u64_at(&tables, 24));
        assert!(xsdt.starts_with(b"XSDT"));
        let fadt = table(&tables, u64_at(xsdt, 36));
        assert!(fadt.starts_with(b"FACP"));
        let dsdt = table(&tables, u64_at(fadt, 140));
        assert!(dsdt.starts_with(b"DSDT"));
        let count = |needle: &[u8]| dsdt.windows(needle.len()).filter(|w| *w == needle).count();
        assert_eq!(count(b"LNRO0005"), devices);
        assert_eq!(count(b"ACPI0007"), usize::from(vcpus));
        let madt = table(&tables, u64_at(xsdt, 44));
        assert!(madt.starts_with(b"APIC"));
        assert_eq!(madt.len(), 44 + 12 + 8 * usize::from(vcpus));
        for id in [&b"ACPI0013"[..], b"QEMU0001"] {
            assert_eq!(count(id), 1);
        }
        assert_eq!(xsdt.len(), 36 + 8 * (2 + usize::from(has_watchdog)));
        if has_watchdog {
            let wdat = table(&tables, u64_at(xsdt, 52));
            assert!(wdat.starts_with(b"WDAT"));
            let entries = u32::from_le_bytes(wdat[64..68].try_into().unwrap()) as usize;
            assert_eq!(wdat.len(), 68 + 24 * entries);
        }
    }
}

#[test]
fn the_memory_map_has_no_overlaps_and_all_of_the_memory() {
    for mib in [16, 256, 3072, 8192] {
        let bytes: u64 = mib << 20;
        let map = memory_map::memory_map(bytes);
        for pair in map.windows(2) {
            assert!(pair[0].0 + pair[0].1 <= pair[1].0);
        }
        let ram: u64 = map.iter().filter(|e| e.2 == 1).map(|e| e.1).sum();
        assert!(bytes - ram < HIGH_MEMORY_START);
    }
}

#[test]
fn command_lines_are_checked_as_the_kernel_would_read_them() {
    assert_eq!(check(RECOMMENDED_COMMAND_LINE), Ok(()));
    assert_eq!(check(&"x".repeat(2047)), Ok(()));
    assert_eq!(
        check(&"x".repeat(2048)),
        Err(CommandLineError::TooLong { bytes: 2048 })
    );
    assert_eq!(
        check("a\nb"),
        Err(CommandLineError::BadByte {
            position: 1,
            byte: b'\n'
        })
    );
    assert!(check("käse").is_err());
}

#[test]
fn the_initrd_goes_to_the_top_of_memory_and_not_over_the_kernel() {
    let memory = crate::memory::map(32).unwrap();
    let place = |bytes: usize, end: u64| {
        let mut config = VmConfig::new("k");
        config.initrd = Some(vec![7; bytes]);
        config.memory_mib = 32;
        load_initrd(&config, &memory, end..32 << 20)
    };
    let (start, length) = place(5000, 20 << 20).unwrap().unwrap();
    assert_eq!((start % 4096, length), (0, 5000));
    assert!(start + length <= 32 << 20 && start + length + 4096 > 32 << 20);
    assert_eq!(
        memory.read_obj::<u8>(GuestAddress(start + 4999)).unwrap(),
        7
    );
    assert_eq!(place(0, 20 << 20).unwrap(), None);
    assert!(matches!(
        place(12 << 20, (20 << 20) + 1),
        Err(StartError::InitrdTooLarge { .. })
    ));
}
