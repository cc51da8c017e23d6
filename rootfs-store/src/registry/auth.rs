//! Who we say that we are.
//!
//! Invariant: a token is used for the registry and the access that it was fetched for, and only while it is valid.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use super::challenge::Challenge;
use super::client::{Client, Registry};
use super::credentials::{basic, look_up};
use super::error::RegistryError;
use super::options::{Credential, Credentials};
use super::secret::Secret;
use super::token::{self, Realm, Token};
use super::url::Url;
use super::wanted::is_wanted;

/// How long somebody who waits for a token does not look whether it is there.
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// Most tokens that are kept for one registry.
const MAX_TOKENS: usize = 256;

/// What a request needs to be allowed to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Access {
    /// Scopes of Docker's token protocol, like `repository:library/alpine:pull`.
    pub(crate) scopes: Vec<String>,
}

impl Access {
    pub(crate) fn pull(repository: &str) -> Self {
        let scopes = vec![format!("repository:{repository}:pull")];
        Self { scopes }
    }

    pub(crate) fn push(repository: &str) -> Self {
        let scopes = vec![format!("repository:{repository}:pull,push")];
        Self { scopes }
    }

    /// Adds reading of another repository.
    pub(crate) fn and_pull(mut self, repository: &str) -> Self {
        self.scopes.push(format!("repository:{repository}:pull"));
        self
    }
}

/// Credentials and tokens of all registries.
#[derive(Debug)]
pub(crate) struct Auth {
    credentials: Credentials,
    hosts: Mutex<HashMap<String, Arc<Mutex<Host>>>>,
}

/// What is known of one registry. It stays locked while a token is fetched, so that many threads fetch one.
#[derive(Debug, Default)]
struct Host {
    /// Nothing until it was looked up.
    credential: Option<Option<Credential>>,
    way: Way,
    tokens: HashMap<Vec<String>, Token>,
}

/// How a registry wants to be told.
#[derive(Debug, Default, Clone)]
enum Way {
    /// It was not asked yet, or doesn't care.
    #[default]
    None,
    Basic,
    Bearer(Realm),
}

impl Auth {
    pub(crate) fn new(credentials: Credentials) -> Self {
        Self {
            credentials,
            hosts: Mutex::new(HashMap::new()),
        }
    }

    /// The value of `Authorization` for a request, as far as is known what the registry wants.
    pub(crate) fn authorization(
        &self,
        client: &Client,
        registry: &Registry,
        access: &Access,
    ) -> Result<Option<Secret>, RegistryError> {
        let host = self.host(registry);
        let mut host = lock_while_wanted(&host, registry)?;
        let realm = match &host.way {
            Way::None => return Ok(None),
            Way::Basic => {
                let credential = self.credential(&mut host, registry)?;
                return Ok(credential.as_ref().and_then(basic));
            }
            Way::Bearer(realm) => realm.clone(),
        };
        if let Some(token) = host.tokens.get(&access.scopes)
            && token.until > Instant::now()
        {
            return Ok(Some(token.authorization.clone()));
        }
        let credential = self.credential(&mut host, registry)?;
        let token = token::fetch(client, registry, &realm, access, credential.as_ref())?;
        let authorization = token.authorization.clone();
        if host.tokens.len() >= MAX_TOKENS {
            host.tokens.clear();
        }
        host.tokens.insert(access.scopes.clone(), token);
        Ok(Some(authorization))
    }

    /// Takes in how a registry wants to be told, after it refused a request that had `sent`.
    pub(crate) fn learn(
        &self,
        registry: &Registry,
        access: &Access,
        challenges: &[Challenge],
        sent: Option<&Secret>,
        request: &str,
    ) -> Result<(), RegistryError> {
        let way = choose(challenges).ok_or_else(|| RegistryError::BadChallenge {
            request: request.to_owned(),
        })?;
        if let Way::Bearer(realm) = &way {
            check_realm(&realm.url, registry, request)?;
        }
        let host = self.host(registry);
        let mut host = lock_while_wanted(&host, registry)?;
        let known = host.tokens.get(&access.scopes);
        // Another thread may have renewed it meanwhile.
        if known.is_some_and(|token| Some(&token.authorization) == sent) {
            host.tokens.remove(&access.scopes);
        }
        host.way = way;
        // Passwords of helpers expire, and users log in meanwhile.
        host.credential = None;
        Ok(())
    }

    fn host(&self, registry: &Registry) -> Arc<Mutex<Host>> {
        let mut hosts = lock(&self.hosts);
        Arc::clone(hosts.entry(registry.host.clone()).or_default())
    }

    fn credential(
        &self,
        host: &mut Host,
        registry: &Registry,
    ) -> Result<Option<Credential>, RegistryError> {
        if let Some(known) = &host.credential {
            return Ok(known.clone());
        }
        let found = look_up(&self.credentials, &registry.host)?;
        host.credential = Some(found.clone());
        Ok(found)
    }
}

/// The best of the ways that a registry offers.
fn choose(challenges: &[Challenge]) -> Option<Way> {
    let bearer = challenges.iter().filter(|found| found.scheme == "bearer");
    if let Some(realm) = bearer.filter_map(Realm::of).next() {
        return Some(Way::Bearer(realm));
    }
    let is_basic = challenges.iter().any(|found| found.scheme == "basic");
    is_basic.then_some(Way::Basic)
}

/// Credentials go to a token service over TLS, unless they would go to the registry without it, too.
fn check_realm(realm: &Url, registry: &Registry, request: &str) -> Result<(), RegistryError> {
    if realm.origin.is_https || !registry.root()?.origin.is_https {
        return Ok(());
    }
    Err(RegistryError::PlainHttp {
        request: request.to_owned(),
        host: realm.origin.authority(),
    })
}

/// Locks what is held while a token is fetched, unless nobody waits for that any more.
fn lock_while_wanted<'a>(
    host: &'a Mutex<Host>,
    registry: &Registry,
) -> Result<MutexGuard<'a, Host>, RegistryError> {
    loop {
        match host.try_lock() {
            Ok(host) => return Ok(host),
            Err(TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if !is_wanted() => {
                return Err(RegistryError::Cancelled {
                    request: format!("a token for {}", registry.host),
                });
            }
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
