//! Kernels of a few instructions.

use std::fs;
use std::path::{Path, PathBuf};

const LOAD_ADDRESS: u64 = 0x100_0000;
const CODE_OFFSET: usize = 0x1000;

/// Prints `text` on the serial port, then resets the machine, as a panic does.
pub(crate) fn prints_and_resets(folder: &Path, text: &str) -> PathBuf {
    // mov dx, 0x3f8; then mov al, byte; out dx, al for each.
    let mut code = vec![0x66, 0xba, 0xf8, 0x03];
    for byte in text.bytes() {
        code.extend([0xb0, byte, 0xee]);
    }
    // An invalid instruction without an interrupt table: a triple fault.
    code.extend([0x0f, 0x0b]);
    write(folder, "resets", &code)
}

/// Does nothing for ever.
pub(crate) fn hangs(folder: &Path) -> PathBuf {
    write(folder, "hangs", &[0xeb, 0xfe])
}

/// An ELF file of one segment.
fn write(folder: &Path, name: &str, code: &[u8]) -> PathBuf {
    let mut file = vec![0; CODE_OFFSET];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01");
    put(16, &2_u16.to_le_bytes());
    put(18, &62_u16.to_le_bytes());
    put(20, &1_u32.to_le_bytes());
    put(24, &LOAD_ADDRESS.to_le_bytes());
    put(32, &64_u64.to_le_bytes());
    put(52, &64_u16.to_le_bytes());
    put(54, &56_u16.to_le_bytes());
    put(56, &1_u16.to_le_bytes());
    put(64, &1_u32.to_le_bytes());
    put(68, &5_u32.to_le_bytes());
    put(72, &(CODE_OFFSET as u64).to_le_bytes());
    put(80, &LOAD_ADDRESS.to_le_bytes());
    put(88, &LOAD_ADDRESS.to_le_bytes());
    put(96, &(code.len() as u64).to_le_bytes());
    put(104, &(code.len() as u64).to_le_bytes());
    put(112, &0x1000_u64.to_le_bytes());
    file.extend(code);
    let path = folder.join(name);
    fs::write(&path, file).unwrap();
    path
}
