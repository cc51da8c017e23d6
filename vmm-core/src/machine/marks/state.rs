//! What the guest has told, as plain data.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Marks;

/// What a guest has told by its boot mark and its crash port, which is not told again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MarksState {
    /// How long it took to boot, in microseconds, if it has.
    pub booted_after_us: Option<u64>,
    /// Bits that it wrote to the crash port.
    pub crashes: u8,
}

impl Marks {
    pub(in crate::machine) fn save(&self) -> MarksState {
        let booted = self.boot_time.get();
        MarksState {
            booted_after_us: booted
                .map(|after| u64::try_from(after.as_micros()).unwrap_or(u64::MAX)),
            crashes: self.crashes.load(Ordering::SeqCst),
        }
    }

    /// Takes over what was told before; anything may have been.
    pub(in crate::machine) fn take_over(&self, saved: &MarksState) {
        if let Some(us) = saved.booted_after_us {
            let _first_counts = self.boot_time.0.set(Duration::from_micros(us));
        }
        self.crashes.store(saved.crashes, Ordering::SeqCst);
    }
}
