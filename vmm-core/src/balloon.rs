//! The virtio balloon device (virtio 1.2, section 5.5): memory that the guest gives back to the host.
//!
//! Two ways: the guest fills the balloon with as many pages as the host asks for, and it reports pages that
//! are free anyway. Either way the pages go to the host at once, and others come when the guest touches them:
//! zeroes, or, where a shared kernel lay at first, what is in its file.
//!
//! Invariant: what the guest says changes whole pages of its own RAM, and nothing else.

mod device;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) use device::{BalloonDevice, info};
pub use state::BalloonState;

use crate::virtio::{Interrupt, LiveConfig};

/// Pages of the balloon in a MiB; their size is fixed at 4 KiB.
const PAGES_PER_MIB: u32 = 256;
/// The driver's field `actual` in `struct virtio_balloon_config`; before it lies `num_pages`.
const ACTUAL: usize = 4;
const CONFIG_BYTES: usize = 8;

/// What the host asks for, and what the guest says: the device's configuration space.
#[derive(Debug, Default)]
pub(crate) struct Balloon {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    config: [u8; CONFIG_BYTES],
    generation: u32,
    interrupt: Option<Interrupt>,
}

impl Balloon {
    /// Asks the guest for `mib` MiB altogether.
    pub(crate) fn ask_for(&self, mib: u32) {
        let mut state = self.lock();
        let pages = mib.saturating_mul(PAGES_PER_MIB);
        state.config[..ACTUAL].copy_from_slice(&pages.to_le_bytes());
        state.generation = state.generation.wrapping_add(1);
        if let Some(interrupt) = &state.interrupt {
            interrupt.config_changed();
        }
    }

    /// How many MiB the guest says it gave.
    pub(crate) fn given_mib(&self) -> u32 {
        let [_, _, _, _, actual @ ..] = self.lock().config;
        u32::from_le_bytes(actual) / PAGES_PER_MIB
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LiveConfig for Balloon {
    fn read(&self, offset: usize, data: &mut [u8]) {
        let state = self.lock();
        let config = state.config.get(offset..).unwrap_or_default();
        for (byte, value) in data.iter_mut().zip(config) {
            *byte = *value;
        }
    }

    fn write(&self, _: u64, offset: usize, data: &[u8]) {
        let mut state = self.lock();
        if offset == ACTUAL && data.len() == CONFIG_BYTES - ACTUAL {
            state.config[ACTUAL..].copy_from_slice(data);
        }
    }

    fn reset(&self) {
        self.lock().config[ACTUAL..].fill(0);
    }

    fn generation(&self) -> u32 {
        self.lock().generation
    }

    fn connect(&self, interrupt: Interrupt) {
        self.lock().interrupt = Some(interrupt);
    }

    fn disconnect(&self) {
        self.lock().interrupt = None;
    }
}

/// The host's side of a VM's balloon, for the embedder's calls.
pub(crate) type SharedBalloon = Arc<Balloon>;

#[cfg(test)]
mod tests;
