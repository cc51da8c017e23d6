//! Requests with all that surrounds them: a slot, authorization, redirects, further attempts.
//!
//! Invariant: `Authorization` goes to the registry's own origin and to no other; plain HTTP is spoken only with hosts
//! that were listed for it.

use std::collections::BTreeSet;
use std::sync::Arc;

use ureq::http::Method;
use ureq::http::header::LOCATION;

use super::answer::Answer;
use super::auth::{Access, Auth};
use super::body::Body;
use super::challenge::parse_challenges;
use super::error::RegistryError;
use super::least_rate::LeastRate;
use super::metrics::{Counters, RegistryMetrics};
use super::options::RegistryOptions;
use super::reference::{api_host, is_host};
use super::retry::RetryPolicy;
use super::slots::{NoSlot, Slots};
use super::transport::{Head, Transport};
use super::tries::Tries;
use super::url::{Origin, Url};

/// Most redirects that are followed for one request.
const MAX_REDIRECTS: u32 = 5;
const WWW_AUTHENTICATE: &str = "www-authenticate";

/// What all repositories share.
#[derive(Debug)]
pub(crate) struct Client {
    transport: Transport,
    auth: Auth,
    slots: Arc<Slots>,
    counters: Arc<Counters>,
    retry: RetryPolicy,
    least: LeastRate,
    plain_http: BTreeSet<String>,
    mirrors: std::collections::BTreeMap<String, Vec<String>>,
}

/// A registry, or a mirror of one.
#[derive(Debug, Clone)]
pub(crate) struct Registry {
    /// How people call it.
    pub(crate) host: String,
    /// Its address, if its name makes one.
    pub(crate) root: Option<Url>,
}

impl Client {
    pub(crate) fn new(options: RegistryOptions) -> Result<Self, RegistryError> {
        let mirrors = options.mirrors.values().flatten();
        let named = options.plain_http.iter().chain(mirrors);
        if let Some(host) = named.into_iter().find(|host| !is_host(host)) {
            return Err(RegistryError::BadHost { host: host.clone() });
        }
        let (counters, least) = (Arc::new(Counters::default()), LeastRate::of(&options));
        Ok(Self {
            transport: Transport::new(&options, Arc::clone(&counters))?,
            auth: Auth::new(options.credentials),
            slots: Arc::new(Slots::new(options.parallel)),
            counters,
            retry: options.retry,
            least,
            plain_http: options.plain_http,
            mirrors: options.mirrors,
        })
    }

    pub(crate) fn metrics(&self) -> RegistryMetrics {
        self.counters.snapshot()
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    pub(crate) fn policy(&self) -> &RetryPolicy {
        &self.retry
    }

    /// Whether an attempt that brought so many bytes before it failed starts a new count of failures. A few of them
    /// that came too slowly don't, or slow ones would never be given up.
    pub(crate) fn gets_on(&self, bytes: u64, error: &RegistryError) -> bool {
        match error {
            RegistryError::TooSlow { .. } => bytes >= self.least.window_bytes(),
            _ => bytes > 0,
        }
    }

    pub(crate) fn registry(&self, host: &str) -> Registry {
        let is_https = !self.plain_http.contains(host);
        Registry {
            host: host.to_owned(),
            root: is_host(host)
                .then(|| Url::new(is_https, api_host(host), "/"))
                .flatten(),
        }
    }

    pub(crate) fn mirrors(&self, host: &str) -> Vec<Registry> {
        let mirrors = self.mirrors.get(host).into_iter().flatten();
        mirrors.map(|mirror| self.registry(mirror)).collect()
    }

    /// Does something until it succeeds, or fails for good.
    pub(crate) fn attempts<T>(
        &self,
        mut once: impl FnMut() -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let mut tries = Tries::new(self);
        loop {
            match once() {
                Ok(done) => return Ok(done),
                Err(error) => tries.wait(error)?,
            }
        }
    }

    /// Sends one request to `registry`, or to where it pointed to before, and yields the answer whatever its status is.
    ///
    /// A token that has expired is renewed once; redirects of `GET` and `HEAD` are followed.
    pub(crate) fn exchange(
        &self,
        registry: &Registry,
        access: &Access,
        head: &Head,
        url: &Url,
        body: &mut Body<'_>,
    ) -> Result<Answer, RegistryError> {
        let home = &registry.root()?.origin;
        let slot = self
            .slots
            .take(home, head.urgency)
            .map_err(|none| no_slot(none, format!("{} {url}", head.method)))?;
        let mut url = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let is_home = url.origin == *home;
            let answer = match is_home {
                true => self.authorized(registry, access, head, &url, body)?,
                false => self.transport.send(head, &url, None, body)?,
            };
            if !is_redirect(head, &answer) {
                return Ok(answer.with_slot(slot));
            }
            let next = self.location(&answer)?;
            answer.drain();
            url = next;
        }
        Err(RegistryError::BadLocation {
            request: format!("{} {url}", head.method),
        })
    }

    /// The address that an answer points to.
    pub(crate) fn location(&self, answer: &Answer) -> Result<Url, RegistryError> {
        let location = answer.header(LOCATION.as_str());
        let next = location.and_then(|location| answer.url().join(location));
        let next = next.ok_or_else(|| RegistryError::BadLocation {
            request: answer.request().to_owned(),
        })?;
        // Who gives up TLS must have been told so by us, not by a registry.
        if !next.origin.is_https && !self.is_plain(&next.origin) {
            return Err(RegistryError::PlainHttp {
                request: answer.request().to_owned(),
                host: next.origin.authority(),
            });
        }
        Ok(next)
    }

    fn is_plain(&self, origin: &Origin) -> bool {
        let with_port = format!("{}:{}", origin.host, origin.port);
        [origin.authority(), with_port]
            .iter()
            .any(|host| self.plain_http.contains(host))
    }

    /// Sends a request to the registry itself, with what it wants to know about us.
    fn authorized(
        &self,
        registry: &Registry,
        access: &Access,
        head: &Head,
        url: &Url,
        body: &mut Body<'_>,
    ) -> Result<Answer, RegistryError> {
        let sent = self.auth.authorization(self, registry, access)?;
        let answer = self.transport.send(head, url, sent.as_ref(), body)?;
        if answer.status() != 401 {
            return Ok(answer);
        }
        let headers = answer.headers(WWW_AUTHENTICATE);
        let challenges: Vec<_> = headers.flat_map(parse_challenges).collect();
        let request = answer.request().to_owned();
        answer.drain();
        let unauthorized = || RegistryError::Unauthorized {
            request: request.clone(),
            host: registry.host.clone(),
        };
        self.auth
            .learn(registry, access, &challenges, sent.as_ref(), &request)?;
        let renewed = self.auth.authorization(self, registry, access)?;
        if renewed.is_none() || renewed == sent {
            return Err(unauthorized());
        }
        let answer = self.transport.send(head, url, renewed.as_ref(), body)?;
        match answer.status() {
            401 => Err(unauthorized()),
            _ => Ok(answer),
        }
    }
}

impl Registry {
    pub(crate) fn root(&self) -> Result<&Url, RegistryError> {
        self.root.as_ref().ok_or_else(|| RegistryError::BadHost {
            host: self.host.clone(),
        })
    }
}

fn no_slot(none: NoSlot, request: String) -> RegistryError {
    match none {
        NoSlot::Busy { waited } => RegistryError::Busy { request, waited },
        NoSlot::Unwanted => RegistryError::Cancelled { request },
    }
}

fn is_redirect(head: &Head, answer: &Answer) -> bool {
    let may_follow = [Method::GET, Method::HEAD].contains(&head.method);
    may_follow && matches!(answer.status(), 301 | 302 | 303 | 307 | 308)
}
