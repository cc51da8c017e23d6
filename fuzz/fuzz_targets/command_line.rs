//! Command lines, with an initrd beside them, in the memory of a guest. The input is a line, then three bytes: the
//! initrd's length in units of 997 bytes, and memory beyond the least there is, in MiB.
//!
//! Oracles: a line is taken if and only if Linux reads all of it as it is; the kernel's parameters then lead to the
//! same bytes, with a NUL behind them; and the initrd lies whole in memory, behind the kernel, where they say.
#![no_main]

use std::io::Write;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use tempfile::NamedTempFile;
use vmm_core::fuzzing::{Prepared, prepare};
use vmm_core::{Kernel, MIN_MEMORY_MIB, StartError, VmConfig};

const MAX_LINE: usize = 2047;
const ZERO_PAGE: u64 = 0x7000;
const LINE_POINTER: u64 = ZERO_PAGE + 0x228;
const LINE_SIZE: u64 = ZERO_PAGE + 0x238;
const INITRD_POINTER: u64 = ZERO_PAGE + 0x218;
const INITRD_SIZE: u64 = ZERO_PAGE + 0x21c;
/// Where the kernel is, and how much of memory it uses.
const KERNEL: u64 = 2 << 20;
const KERNEL_BYTES: u64 = 1 << 20;
const INITRD_UNIT: usize = 997;

/// A kernel without an instruction.
fn kernel() -> Kernel {
    static KERNEL_FILE: OnceLock<Kernel> = OnceLock::new();
    let open = || {
        let mut elf = vec![0; 0x1000];
        let mut put = |at: usize, bytes: &[u8]| elf[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"\x7fELF\x02\x01\x01");
        put(16, &2u16.to_le_bytes());
        put(18, &62u16.to_le_bytes());
        put(24, &KERNEL.to_le_bytes());
        put(32, &64u64.to_le_bytes());
        put(54, &56u16.to_le_bytes());
        put(56, &1u16.to_le_bytes());
        put(64, &1u32.to_le_bytes());
        put(88, &KERNEL.to_le_bytes());
        put(96, &0x1000u64.to_le_bytes());
        put(104, &KERNEL_BYTES.to_le_bytes());
        let mut file = NamedTempFile::new().expect("there is a folder for files");
        file.write_all(&elf).expect("there is room for a page");
        Kernel::open(file.path()).expect("the kernel is sound")
    };
    KERNEL_FILE.get_or_init(open).clone()
}

fn bytes(prepared: &Prepared, address: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let is_memory = prepared.read(address, &mut bytes);
    assert!(is_memory, "{length} bytes at {address:#x}");
    bytes
}

fn number(prepared: &Prepared, address: u64) -> u32 {
    let number = bytes(prepared, address, 4).try_into();
    u32::from_le_bytes(number.expect("four bytes were read"))
}

fuzz_target!(|input: &[u8]| {
    let Some((line, [low, high, more])) = input.split_last_chunk::<3>() else {
        return;
    };
    let Ok(line) = std::str::from_utf8(line) else {
        return;
    };
    let initrd_bytes = usize::from(u16::from_le_bytes([*low, *high])) * INITRD_UNIT;
    let mut config = VmConfig::new(kernel());
    config.command_line = line.to_owned();
    config.memory_mib = MIN_MEMORY_MIB + u32::from(*more % 16);
    config.initrd = Some(vec![0xd1; initrd_bytes]);
    let memory_bytes = u64::from(config.memory_mib) << 20;
    let is_sound = line.len() <= MAX_LINE && line.bytes().all(|b| (b' '..=b'~').contains(&b));
    let room = memory_bytes - (KERNEL + KERNEL_BYTES);
    match prepare(&config) {
        Ok(prepared) => {
            assert!(is_sound);
            let at = number(&prepared, LINE_POINTER).into();
            let there = bytes(&prepared, at, line.len() + 1);
            assert_eq!(there, [line.as_bytes(), b"\0"].concat());
            assert_eq!(number(&prepared, LINE_SIZE) as usize, line.len() + 1);
            assert_eq!(number(&prepared, INITRD_SIZE) as usize, initrd_bytes);
            if initrd_bytes > 0 {
                let start = u64::from(number(&prepared, INITRD_POINTER));
                assert!(start >= KERNEL + KERNEL_BYTES);
                let there = bytes(&prepared, start, initrd_bytes);
                assert!(there.iter().all(|byte| *byte == 0xd1));
            }
        }
        Err(StartError::CommandLine(_)) => assert!(!is_sound),
        Err(StartError::InitrdTooLarge { .. }) => {
            assert!(is_sound && initrd_bytes.next_multiple_of(4096) as u64 > room);
        }
        Err(error) => panic!("{error}"),
    }
});
