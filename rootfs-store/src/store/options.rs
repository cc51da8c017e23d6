//! How a store is opened.

use std::sync::Arc;
use std::time::Duration;

use crate::files::Watch;
use crate::registry::Registries;
use crate::remote::Origin;

/// How long a read waits for a pack that is elsewhere, unless [`StoreOptions::read_patience`] says something else.
const READ_PATIENCE: Duration = Duration::from_secs(60);

/// What a store does besides what all do.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// How registries are reached; by default, as the default [`RegistryOptions`](crate::RegistryOptions) say.
    pub registries: Option<Registries>,
    /// What packs that are elsewhere are read from; the registries by default.
    pub origin: Option<Arc<dyn Origin>>,
    /// How long a read of such a pack waits, and tries again, without anything that comes.
    pub read_patience: Duration,
    /// For tests: told of every change to the folder beforehand, and may refuse it.
    pub watch: Option<Arc<dyn Watch>>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            registries: None,
            origin: None,
            read_patience: READ_PATIENCE,
            watch: None,
        }
    }
}
