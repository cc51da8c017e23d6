//! Docker's token protocol: a token service hands out tokens for scopes.

use std::time::{Duration, Instant};

use serde::Deserialize;
use ureq::http::Method;

use super::answer::Answer;
use super::auth::Access;
use super::body::Body;
use super::challenge::Challenge;
use super::client::{Client, Registry};
use super::credentials::basic;
use super::error::RegistryError;
use super::metrics::count;
use super::options::Credential;
use super::secret::Secret;
use super::transport::Head;
use super::url::{Url, percent_encode};

/// Largest answer of a token service that is read, in bytes.
const MAX_TOKEN_BYTES: u64 = 256 << 10;
/// How long a token is valid if its service does not say, by the protocol.
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// The longest that a token is believed to be valid.
const MAX_LIFE: Duration = Duration::from_secs(24 * 3600);
/// A token is renewed this long before its end, but not before half of its life.
const SLACK: Duration = Duration::from_secs(10);
/// Who we say that we are to services that exchange tokens.
const CLIENT_ID: &str = env!("CARGO_PKG_NAME");

/// A token service, by a registry's challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Realm {
    pub(crate) url: Url,
    service: Option<String>,
}

/// A token.
#[derive(Debug)]
pub(crate) struct Token {
    /// The value of `Authorization`.
    pub(crate) authorization: Secret,
    pub(crate) until: Instant,
}

#[derive(Deserialize)]
struct Answered {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Realm {
    /// The service that a `Bearer` challenge names.
    pub(crate) fn of(challenge: &Challenge) -> Option<Self> {
        Some(Self {
            url: Url::parse(challenge.parameter("realm")?)?,
            service: challenge.parameter("service").map(str::to_owned),
        })
    }
}

/// Fetches a token.
pub(crate) fn fetch(
    client: &Client,
    registry: &Registry,
    realm: &Realm,
    access: &Access,
    credential: Option<&Credential>,
) -> Result<Token, RegistryError> {
    count(&client.counters().tokens, 1);
    let asked = Instant::now();
    let mut answer = match credential {
        Some(Credential::IdentityToken(token)) => exchange(client, realm, access, token)?,
        credential => get(client, realm, access, credential.and_then(basic).as_ref())?,
    };
    match answer.status() {
        200 => {}
        401 | 403 => {
            return Err(RegistryError::Unauthorized {
                request: answer.request().to_owned(),
                host: registry.host.clone(),
            });
        }
        _ => return Err(answer.into_error()),
    }
    let request = answer.request().to_owned();
    let bytes = answer.read_all("the answer of a token service", MAX_TOKEN_BYTES)?;
    parse(&bytes, asked).ok_or_else(|| RegistryError::BadAnswer {
        request,
        problem: "it holds no token".to_owned(),
    })
}

/// Asks for a token, with a name and password or as nobody.
fn get(
    client: &Client,
    realm: &Realm,
    access: &Access,
    authorization: Option<&Secret>,
) -> Result<Answer, RegistryError> {
    let mut url = realm.url.clone();
    if let Some(service) = &realm.service {
        url = url.with_parameter("service", service);
    }
    for scope in &access.scopes {
        url = url.with_parameter("scope", scope);
    }
    let head = Head::new(Method::GET);
    let transport = client.transport();
    transport.send(&head, &url, authorization, &mut Body::Empty)
}

/// Exchanges an identity token for one that the registry takes.
fn exchange(
    client: &Client,
    realm: &Realm,
    access: &Access,
    token: &Secret,
) -> Result<Answer, RegistryError> {
    let scopes = access.scopes.join(" ");
    let fields = [
        ("grant_type", "refresh_token"),
        ("service", realm.service.as_deref().unwrap_or_default()),
        ("client_id", CLIENT_ID),
        ("scope", &scopes),
        ("refresh_token", token.reveal()),
    ];
    let mut form = String::new();
    for (name, value) in fields {
        if !form.is_empty() {
            form.push('&');
        }
        form.push_str(name);
        form.push('=');
        percent_encode(value, &mut form);
    }
    let mut head = Head::new(Method::POST);
    head.content_type = Some("application/x-www-form-urlencoded".to_owned());
    let transport = client.transport();
    transport.send(&head, &realm.url, None, &mut Body::Bytes(form.as_bytes()))
}

/// The token in a service's answer.
fn parse(bytes: &[u8], asked: Instant) -> Option<Token> {
    let answered: Answered = serde_json::from_slice(bytes).ok()?;
    let is_given = |token: &String| !token.is_empty();
    let token = answered.token.filter(is_given);
    let token = token.or(answered.access_token.filter(is_given))?;
    // A token stands in a header.
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let life = answered
        .expires_in
        .map_or(DEFAULT_LIFE, Duration::from_secs);
    let life = life.min(MAX_LIFE);
    Some(Token {
        authorization: Secret::new(format!("Bearer {token}")),
        until: asked + life.saturating_sub(SLACK.min(life / 2)),
    })
}

#[cfg(test)]
mod tests;
