//! What a machine is made of, and the command lines that make it.

use std::path::{Path, PathBuf};
use std::process::Command;

use vmm_core::RECOMMENDED_COMMAND_LINE;

use crate::Outcome;
use crate::qemu;

/// The memory of all machines, in MiB.
pub(crate) const MEMORY_MIB: u32 = 256;

/// Who runs the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vmm {
    Ours,
    Qemu,
}

impl Vmm {
    pub(crate) const ALL: [Self; 2] = [Self::Ours, Self::Qemu];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Qemu => "qemu",
        }
    }
}

/// One machine.
#[derive(Debug, Clone)]
pub(crate) struct Spec<'a> {
    pub(crate) kernel: &'a Path,
    pub(crate) initrd: &'a Path,
    /// What the guest is to do.
    pub(crate) work: &'a str,
    pub(crate) disk: Option<PathBuf>,
    pub(crate) tap: Option<&'a str>,
    pub(crate) has_vsock: bool,
}

impl<'a> Spec<'a> {
    /// A machine without devices.
    pub(crate) fn new(kernel: &'a Path, initrd: &'a Path, work: &'a str) -> Self {
        Self {
            kernel,
            initrd,
            work,
            disk: None,
            tap: None,
            has_vsock: false,
        }
    }

    /// The same for both.
    pub(crate) fn command_line(&self) -> String {
        format!("{RECOMMENDED_COMMAND_LINE} quiet bench={}", self.work)
    }

    /// The process whose output is the guest's serial port.
    pub(crate) fn command(&self, vmm: Vmm) -> Outcome<Command> {
        match vmm {
            Vmm::Ours => self.ours(),
            Vmm::Qemu => Ok(qemu::command(self)),
        }
    }

    fn ours(&self) -> Outcome<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("run");
        command.arg("--kernel").arg(self.kernel);
        command.arg("--initrd").arg(self.initrd);
        command.args(["--append", &self.command_line()]);
        if let Some(disk) = &self.disk {
            command.arg("--disk").arg(disk);
        }
        command.args(self.tap.map(|name| format!("--tap={name}")));
        if self.has_vsock {
            command.arg("--commands");
        }
        Ok(command)
    }
}
