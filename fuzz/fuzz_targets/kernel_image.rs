//! Kernel files from anywhere: parsed, unpacked and loaded.
//!
//! Oracles: what was accepted lies inside of memory and above its first MiB, starts inside of what was loaded,
//! and the bytes in memory are those that the file says, by a reading of its headers that is not the loader's.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vmm_core::fuzzing::{Loaded, load_kernel};

const MEMORY_MIB: u32 = 32;
const MEMORY_BYTES: u64 = (MEMORY_MIB as u64) << 20;
const FIRST_MIB: usize = 1 << 20;
const SEGMENT_BYTES: usize = 56;

fn number<const N: usize>(file: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes[..N].copy_from_slice(&file[at..at + N]);
    u64::from_le_bytes(bytes)
}

fn size<const N: usize>(file: &[u8], at: usize) -> usize {
    usize::try_from(number::<N>(file, at)).expect("what was accepted is small")
}

fn memory(loaded: &Loaded, address: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    assert!(
        loaded.read(address, &mut bytes),
        "{length} bytes at {address:#x}"
    );
    bytes
}

/// The last segment of an ELF file, which nothing can have been loaded over.
fn check_elf(file: &[u8], loaded: &Loaded) {
    assert_eq!(loaded.entry, number::<8>(file, 24));
    let table = size::<8>(file, 32);
    let segment = (0..size::<2>(file, 56))
        .map(|index| table + index * SEGMENT_BYTES)
        .rfind(|at| number::<4>(file, *at) == 1 && number::<8>(file, at + 32) > 0);
    if let Some(at) = segment {
        let (offset, length) = (size::<8>(file, at + 8), size::<8>(file, at + 32));
        let there = memory(loaded, number::<8>(file, at + 24), length);
        assert!(there == file[offset..offset + length]);
    }
}

/// A bzImage that unpacks itself is in memory from the end of its setup sectors on. One that was unpacked on the
/// host starts elsewhere, but for chance.
fn check_bzimage(file: &[u8], loaded: &Loaded) {
    let address = number::<8>(file, 0x258);
    let setup_sectors = match file[0x1f1] {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (setup_sectors + 1) * 512;
    let packed_at = start + size::<4>(file, 0x248);
    let magics: [&[u8]; 4] = [
        &[0x02, 0x21, 0x4c, 0x18],
        &[0x28, 0xb5, 0x2f, 0xfd],
        &[0x1f, 0x8b, 8],
        b"\xfd7zXZ\0",
    ];
    let is_unpacked_here = magics
        .iter()
        .any(|magic| file[packed_at..].starts_with(magic));
    if !is_unpacked_here {
        assert_eq!(loaded.entry, address + 0x200);
        assert!(memory(loaded, address, file.len() - start) == file[start..]);
    }
}

fuzz_target!(|file: &[u8]| {
    let Ok(loaded) = load_kernel(file, MEMORY_MIB) else {
        return;
    };
    assert!(loaded.end <= MEMORY_BYTES);
    assert!((FIRST_MIB as u64..loaded.end).contains(&loaded.entry));
    assert!(memory(&loaded, 0, FIRST_MIB).iter().all(|byte| *byte == 0));
    if file.starts_with(b"\x7fELF") {
        check_elf(file, &loaded);
    } else {
        check_bzimage(file, &loaded);
    }
});
