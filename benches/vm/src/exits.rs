//! How often guests have left guest mode, as KVM counts it for the machines there are.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Outcome;
use crate::compare::Figures;

const FOLDER: &str = "/sys/kernel/debug";
/// KVM's counters that say why.
const COUNTERS: [&str; 5] = ["exits", "io_exits", "mmio_exits", "halt_exits", "irq_exits"];

/// One figure for each counter.
pub(crate) fn count() -> Outcome<Figures> {
    let kvm = Path::new(FOLDER).join("kvm");
    if !kvm.exists() {
        Command::new("mount")
            .args(["-t", "debugfs", "none", FOLDER])
            .status()?;
    }
    let mut figures = Figures::new();
    for counter in COUNTERS {
        let text = fs::read_to_string(kvm.join(counter))?;
        figures.push((format!("vm-{counter}"), text.trim().parse()?));
    }
    Ok(figures)
}
