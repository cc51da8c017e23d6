//! The balloon as plain data.

use serde::{Deserialize, Serialize};

use super::{ACTUAL, Balloon};

/// The state of a balloon: its configuration space (virtio 1.2, section 5.5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BalloonState {
    /// How many pages of 4 KiB the host asks for.
    pub asked_pages: u32,
    /// How many the guest says it gave.
    pub given_pages: u32,
    /// Changes whenever the host asks for another number.
    pub generation: u32,
}

impl Balloon {
    pub(crate) fn save(&self) -> BalloonState {
        let state = self.lock();
        let [a, b, c, d, given @ ..] = state.config;
        BalloonState {
            asked_pages: u32::from_le_bytes([a, b, c, d]),
            given_pages: u32::from_le_bytes(given),
            generation: state.generation,
        }
    }

    /// Becomes a balloon of this state. Any numbers will do: a guest's is shown as at most its memory.
    pub(crate) fn take_over(&self, saved: &BalloonState) {
        let mut state = self.lock();
        state.config[..ACTUAL].copy_from_slice(&saved.asked_pages.to_le_bytes());
        state.config[ACTUAL..].copy_from_slice(&saved.given_pages.to_le_bytes());
        state.generation = saved.generation;
    }
}
