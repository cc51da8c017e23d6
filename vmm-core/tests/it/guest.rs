//! Tiny guests, and what it takes to run them.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use vmm_core::VmConfig;

/// Where the code of [`elf`] begins.
pub(crate) const LOAD_ADDRESS: u64 = 0x100_0000;
const CODE_OFFSET: usize = 0x1000;

/// Writes `text` to the serial port.
pub(crate) fn print(text: &str) -> Vec<u8> {
    // mov dx, 0x3f8; then mov al, byte; out dx, al for each.
    let mut code = vec![0x66, 0xba, 0xf8, 0x03];
    for byte in text.bytes() {
        code.extend([0xb0, byte, 0xee]);
    }
    code
}

/// Writes `value` to the I/O port `port`.
pub(crate) fn out(port: u16, value: u8) -> Vec<u8> {
    let [low, high] = port.to_le_bytes();
    // mov dx, port; mov al, value; out dx, al.
    vec![0x66, 0xba, low, high, 0xb0, value, 0xee]
}

/// Writes `value` to memory or to a register at `address`.
pub(crate) fn write32(address: u64, value: u32) -> Vec<u8> {
    // mov rbx, address; mov dword [rbx], value.
    let mut code = vec![0x48, 0xbb];
    code.extend(address.to_le_bytes());
    code.extend([0xc7, 0x03]);
    code.extend(value.to_le_bytes());
    code
}

/// Waits until the 16 bits at `address` are not zero.
pub(crate) fn wait_for(address: u64) -> Vec<u8> {
    // mov rbx, address; cmp word [rbx], 0; je to the cmp.
    let mut code = vec![0x48, 0xbb];
    code.extend(address.to_le_bytes());
    code.extend([0x66, 0x83, 0x3b, 0x00, 0x74, 0xfa]);
    code
}

/// Loops for ever.
pub(crate) fn spin() -> Vec<u8> {
    vec![0xeb, 0xfe]
}

/// Makes a triple fault: an invalid instruction without an interrupt table.
pub(crate) fn triple_fault() -> Vec<u8> {
    vec![0x0f, 0x0b]
}

/// An ELF kernel of one segment that runs `parts` one after the other, in 64-bit mode.
pub(crate) fn elf(parts: &[Vec<u8>]) -> Vec<u8> {
    elf_at(LOAD_ADDRESS, parts)
}

/// The same for another place in memory.
pub(crate) fn elf_at(address: u64, parts: &[Vec<u8>]) -> Vec<u8> {
    let code = parts.concat();
    let mut file = vec![0; CODE_OFFSET];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01");
    put(16, &2u16.to_le_bytes());
    put(18, &62u16.to_le_bytes());
    put(20, &1u32.to_le_bytes());
    put(24, &address.to_le_bytes());
    put(32, &64u64.to_le_bytes());
    put(52, &64u16.to_le_bytes());
    put(54, &56u16.to_le_bytes());
    put(56, &1u16.to_le_bytes());
    put(64, &1u32.to_le_bytes());
    put(68, &5u32.to_le_bytes());
    put(72, &(CODE_OFFSET as u64).to_le_bytes());
    put(80, &address.to_le_bytes());
    put(88, &address.to_le_bytes());
    put(96, &(code.len() as u64).to_le_bytes());
    put(104, &(code.len() as u64).to_le_bytes());
    put(112, &0x1000u64.to_le_bytes());
    file.extend(code);
    file
}

/// A console that can be read.
#[derive(Clone, Default)]
pub(crate) struct Screen(Arc<Mutex<Vec<u8>>>);

impl Screen {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Screen {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Puts a kernel's bytes where a VM can find them.
pub(crate) fn file(bytes: &[u8]) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("kernel");
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

/// A small machine for the kernel at `path`.
pub(crate) fn config(path: PathBuf, screen: &Screen) -> VmConfig {
    let mut config = VmConfig::new(path);
    config.command_line = String::new();
    config.memory_mib = 64;
    config.console = Box::new(screen.clone());
    config
}
