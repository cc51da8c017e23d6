//! How registries are reached.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use super::retry::RetryPolicy;
use super::secret::Secret;

/// How registries are reached. The default is what `docker` does: the user's credentials, TLS everywhere.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RegistryOptions {
    /// Who we are.
    pub credentials: Credentials,
    /// Files with certificates in PEM form that are trusted besides the built-in ones.
    pub ca_files: Vec<PathBuf>,
    /// The only hosts, each as `HOST` or `HOST:PORT`, that are spoken to without TLS, and always without it.
    pub plain_http: BTreeSet<String>,
    /// By host, the mirrors (each `HOST` or `HOST:PORT`) that manifests and blobs are read from first.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// The way out.
    pub proxy: ProxySetting,
    /// How long a connection may take to be made, TLS included.
    pub connect_timeout: Duration,
    /// How long no byte may come or go before a connection counts as broken.
    pub idle_timeout: Duration,
    /// How often and when to try again.
    pub retry: RetryPolicy,
    /// Most requests at once to one host; at least one. A quarter of them (one at least, if there are two) is kept for
    /// reads of guests: with one alone, these wait for whatever else is sent or fetched.
    pub parallel: usize,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            credentials: Credentials::DockerConfig { file: None },
            ca_files: Vec::new(),
            plain_http: BTreeSet::new(),
            mirrors: BTreeMap::new(),
            proxy: ProxySetting::Environment,
            connect_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(60),
            retry: RetryPolicy::default(),
            parallel: 8,
        }
    }
}

/// Where credentials come from.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Credentials {
    /// Docker's `config.json` and the credential helpers that it names.
    DockerConfig {
        /// The file; by default `$DOCKER_CONFIG/config.json`, or `~/.docker/config.json`.
        file: Option<PathBuf>,
    },
    /// Nobody in particular.
    Anonymous,
    /// By host; hosts that are not listed are spoken to anonymously.
    Explicit(BTreeMap<String, Credential>),
}

/// Who we are for one registry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credential {
    /// A name and its password.
    Password {
        /// The name.
        username: String,
        /// The password, or an access token that is used like one.
        password: Secret,
    },
    /// A token that the registry's token service takes in exchange for others.
    IdentityToken(Secret),
}

/// The way out.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ProxySetting {
    /// What `ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` say, in upper or lower case.
    Environment,
    /// Straight.
    None,
    /// Through the HTTP proxy at this URL, which may hold a name and a password.
    Url(Secret),
}
