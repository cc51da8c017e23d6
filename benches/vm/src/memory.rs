//! What a process holds beside its guests' memory, by `/proc/PID/smaps`.

use std::fs;

use crate::Outcome;
use crate::spec::MEMORY_MIB;

/// The least size of a mapping of ours that is a part of a guest's memory, in KiB. The kernel's own file of pages lies
/// in it, so there are several.
const PART_KIB: u64 = 8 << 10;

/// Resident MiB of a peer's process besides the mapping that is its guest's memory.
pub(crate) fn of_peer(process: u32) -> Outcome<f64> {
    resident(&process.to_string(), u64::from(MEMORY_MIB) << 10)
}

/// Resident MiB of this process besides mappings that are guests' memory.
pub(crate) fn of_this() -> Outcome<f64> {
    resident("self", PART_KIB)
}

/// Adds up what belongs to mappings smaller than `guest_kib`, each page shared out among the processes that have it.
fn resident(process: &str, guest_kib: u64) -> Outcome<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/smaps"))?;
    let (mut size, mut sum) = (0, 0);
    for line in text.lines() {
        if let Some(kib) = field(line, "Size:") {
            size = kib;
        }
        if let Some(kib) = field(line, "Pss:").filter(|_| size < guest_kib) {
            sum += kib;
        }
    }
    let sum = u32::try_from(sum)?;
    Ok(f64::from(sum) / 1024.0)
}

fn field(line: &str, name: &str) -> Option<u64> {
    let rest = line.strip_prefix(name)?.trim();
    rest.strip_suffix(" kB")?.parse().ok()
}
