//! Registries: images and snapshots in them, read and written by the OCI distribution specification 1.1.
//!
//! All calls block. There is no thread in here, so a call ends when its work has ended or failed, or soon after the
//! transfer that its thread is in was ended ([`Wanted`]).
//!
//! Invariant: credentials go to the registry that they are for, or to the token service that it names, over TLS unless
//! the registry itself was listed for plain HTTP; to nobody else, and into no message. What a registry sends is bounded
//! before it is kept.

mod agent;
mod answer;
mod auth;
mod body;
mod challenge;
mod client;
mod connection;
mod content_range;
mod credentials;
mod error;
mod least_rate;
mod manifests;
mod metrics;
mod options;
mod origin;
mod read;
mod reference;
mod repository;
mod retry;
mod retry_after;
mod secret;
mod server_text;
mod slots;
#[cfg(test)]
mod tests;
mod token;
mod transport;
mod tries;
mod upload;
mod url;
mod wanted;

use std::sync::Arc;

pub use challenge::{Challenge, parse_challenges};
pub use error::RegistryError;
pub use metrics::RegistryMetrics;
pub use options::{Credential, Credentials, ProxySetting, RegistryOptions};
pub use reference::RegistryReference;
pub use retry::RetryPolicy;
pub use secret::Secret;

pub(crate) use manifests::{Fetched, OCI_MANIFEST};
pub(crate) use origin::origin_name;
pub(crate) use repository::Repository;
pub(crate) use wanted::{SLICE, Wanted, is_wanted, sleep};

use client::Client;

/// The registries that a process speaks to: one pool of connections, one cache of tokens, one set of options.
///
/// Clones share all of it.
#[derive(Debug, Clone)]
pub struct Registries {
    client: Arc<Client>,
}

impl Registries {
    /// Prepares to speak to registries; nothing is sent yet.
    ///
    /// # Errors
    /// [`RegistryError::CaFile`], [`RegistryError::NoCertificate`], [`RegistryError::BadProxy`] or
    /// [`RegistryError::BadHost`] for options that can't be used.
    pub fn new(options: RegistryOptions) -> Result<Self, RegistryError> {
        let client = Arc::new(Client::new(options)?);
        Ok(Self { client })
    }

    /// What was moved so far, by all clones.
    #[must_use]
    pub fn metrics(&self) -> RegistryMetrics {
        self.client.metrics()
    }

    /// A repository of the registry at `host`, as [`RegistryReference::host`] names it.
    pub(crate) fn repository(&self, host: &str, repository: &str) -> Repository {
        Repository::new(Arc::clone(&self.client), host, repository)
    }
}
