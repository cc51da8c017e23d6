//! A drive as plain data. It holds nothing of the disk's bytes, which are its backend's.

use serde::{Deserialize, Serialize};

use crate::config::Drive;
use crate::rate::LimiterState;
use crate::state::StateError;

/// The state of a drive. Its requests wait in its queues; there are none in between while a VM is paused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BlockState {
    /// The size of the disk.
    pub bytes: u64,
    /// Whether the guest was told that it can't write.
    pub read_only: bool,
    /// The serial number.
    pub serial: String,
    /// Whether writes may wait for a flush, which is the driver's choice; `true` at first.
    pub writeback: bool,
    /// How much its limits have left.
    pub limiter: LimiterState,
}

impl BlockState {
    pub(crate) fn of(drive: &Drive) -> Self {
        Self {
            bytes: drive.backend.size(),
            read_only: drive.read_only,
            serial: drive.serial.clone(),
            writeback: true,
            limiter: drive.limiter.save(),
        }
    }

    /// Checks that the drive called `name`, of which `config` is the state, is one that the guest can take
    /// for its own.
    pub(crate) fn check_fit(&self, config: &Self, name: &str) -> Result<(), StateError> {
        let setting = |what| format!("the {what} of {name}");
        StateError::compare(setting("size"), self.bytes, config.bytes)?;
        StateError::compare(setting("read_only"), self.read_only, config.read_only)?;
        StateError::compare(setting("serial"), &self.serial, &config.serial)?;
        self.limiter.check().map_err(|error| error.of(name))
    }
}
