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
    /// How long it may take to find a host's address; and as long again to make a connection, TLS included. The first
    /// can't be cancelled.
    pub connect_timeout: Duration,
    /// How long no byte may come or go before a connection counts as broken.
    pub idle_timeout: Duration,
    /// How many bytes have to come or go in a second at least, on average over each
    /// [`idle_timeout`](Self::idle_timeout) that is spent waiting for them; a connection that passes fewer counts as
    /// broken. 0 for no limit.
    pub least_rate: u64,
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
            least_rate: 1024,
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

/// The way out. Proxies are asked for a tunnel (`CONNECT`) to whatever host and port.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ProxySetting {
    /// The first of `ALL_PROXY`, `HTTPS_PROXY` and `HTTP_PROXY` that is set, in upper or lower case, for all hosts but
    /// those that `NO_PROXY` names. One that does not speak HTTP is not used; a warning says so.
    Environment,
    /// Straight.
    None,
    /// Through the HTTP proxy at this URL, which may hold a name and a password.
    Url(Secret),
}
