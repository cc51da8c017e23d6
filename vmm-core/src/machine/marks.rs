//! Two ports by which a guest tells how it is: that it has booted, and that its kernel crashed.

mod state;

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

pub use state::MarksState;

use crate::event::{CrashKind, Event, Events};
use crate::layout::BOOT_MARK_VALUE;

/// The events of QEMU's pvpanic device (its `docs/specs/pvpanic.rst`), which are also what a read says is
/// understood.
const PANICKED: u8 = 1 << 0;
const CRASH_LOADED: u8 = 1 << 1;

/// When a VM's guest said that it had booted.
#[derive(Clone, Debug, Default)]
pub(crate) struct BootTime(Arc<OnceLock<Duration>>);

impl BootTime {
    pub(crate) fn get(&self) -> Option<Duration> {
        self.0.get().copied()
    }
}

/// What the guest has told so far. Each thing is told to the owner once.
pub(super) struct Marks {
    started: Instant,
    boot_time: BootTime,
    crashes: AtomicU8,
    events: Events,
}

impl Marks {
    pub(super) fn new(started: Instant, boot_time: BootTime, events: Events) -> Self {
        Self {
            started,
            boot_time,
            crashes: AtomicU8::new(0),
            events,
        }
    }

    /// The guest wrote `value` to the port of the boot mark.
    pub(super) fn boot(&self, value: u8) {
        let after = self.started.elapsed();
        if value == BOOT_MARK_VALUE && self.boot_time.0.set(after).is_ok() {
            self.events.tell(Event::Booted { after });
        }
    }

    /// What the pvpanic port reads as.
    pub(super) fn understood_crashes() -> u8 {
        PANICKED | CRASH_LOADED
    }

    /// The guest wrote `value` to the pvpanic port.
    pub(super) fn crash(&self, value: u8) {
        let told = self.crashes.fetch_or(value, Ordering::SeqCst);
        for (bit, kind) in [
            (PANICKED, CrashKind::Panicked),
            (CRASH_LOADED, CrashKind::CrashKernelStarts),
        ] {
            if value & !told & bit != 0 {
                self.events.tell(Event::Crashed { kind });
            }
        }
    }
}

impl fmt::Debug for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Marks")
            .field("boot_time", &self.boot_time)
            .finish_non_exhaustive()
    }
}
