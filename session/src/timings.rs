//! How long the steps of a session took.

use std::time::Duration;

use crate::machine::BootTimes;

/// How long the steps of a session took, as the host saw them; `None` is a step that has not been made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timings {
    /// Importing the image.
    pub import: Option<Duration>,
    /// Making the disk and the initramfs ready.
    pub prepare: Option<Duration>,
    /// Setting up the VM.
    pub start: Option<Duration>,
    /// From the start of the VM's set-up to the agent's first words: the kernel's boot.
    pub hello: Option<Duration>,
    /// From the start of the VM's set-up until the guest took commands.
    pub ready: Option<Duration>,
    /// How long the guest took to write everything out and hold its file systems still, for the last snapshot that was
    /// made while it ran; by the guest's own clock, which may lie.
    pub freeze: Option<Duration>,
    /// For how long the guest's writes then waited for the host.
    pub stall: Option<Duration>,
    /// From the request to power off to the end of the VM.
    pub power_off: Option<Duration>,
    /// Making a snapshot of the disk.
    pub commit: Option<Duration>,
}

impl Timings {
    pub(crate) fn set_boot(&mut self, times: BootTimes) {
        self.start = Some(times.start);
        self.hello = Some(times.hello);
        self.ready = Some(times.ready);
    }
}
