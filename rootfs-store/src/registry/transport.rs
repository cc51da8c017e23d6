//! One request and its answer on the wire: connections, TLS, proxies and timeouts.
//!
//! Invariant: nothing is followed, repeated or authorized in here.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::AlertDescription;
use tracing::Span;
use tracing::field::Empty;
use ureq::http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use ureq::{Agent, AsSendBody, SendBody};

use super::agent::{HEAD_TIMEOUTS, MAX_HEAD_BYTES, agent};
use super::answer::Answer;
use super::body::{Body, Part, PartReader};
use super::error::RegistryError;
use super::least_rate::Slow;
use super::metrics::{Counters, count};
use super::options::RegistryOptions;
use super::secret::Secret;
use super::server_text::shown;
use super::slots::Urgency;
use super::url::Url;
use super::wanted::is_wanted;

/// The connections.
#[derive(Debug)]
pub(crate) struct Transport {
    agent: Agent,
    idle_timeout: Duration,
    counters: Arc<Counters>,
}

/// The head of a request.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) method: Method,
    pub(crate) accept: &'static str,
    pub(crate) content_type: Option<String>,
    /// Further headers.
    pub(crate) headers: Vec<(HeaderName, String)>,
    /// Whether to wait for the server's consent before the body is sent. Without it, a server that refuses a body
    /// half-way looks like a broken connection.
    pub(crate) waits_for_consent: bool,
    /// How much longer than otherwise the server may take for its answer.
    pub(crate) further_wait: Duration,
    /// Whether somebody waits for it.
    pub(crate) urgency: Urgency,
}

impl Head {
    pub(crate) fn new(method: Method) -> Self {
        Self {
            method,
            accept: "*/*",
            content_type: None,
            headers: Vec::new(),
            waits_for_consent: false,
            further_wait: Duration::ZERO,
            urgency: Urgency::default(),
        }
    }
}

impl Transport {
    pub(crate) fn new(
        options: &RegistryOptions,
        counters: Arc<Counters>,
    ) -> Result<Self, RegistryError> {
        Ok(Self {
            agent: agent(options)?,
            idle_timeout: options.idle_timeout,
            counters,
        })
    }

    /// Sends a request and reads the head of its answer.
    pub(crate) fn send(
        &self,
        head: &Head,
        url: &Url,
        authorization: Option<&Secret>,
        body: &mut Body<'_>,
    ) -> Result<Answer, RegistryError> {
        let request = format!("{} {url}", head.method);
        let headers = header_map(head, authorization, body).ok_or_else(|| bad_url(&request))?;
        count(&self.counters.requests, 1);
        let span = request_span(head, url, body.len());
        let result = span.in_scope(|| match body {
            Body::Empty => self.run(head, url, headers, &request, ()),
            Body::Bytes(bytes) => {
                let answer = self.run(head, url, headers, &request, *bytes);
                if answer.is_ok() {
                    count(&self.counters.bytes_out, bytes.len());
                }
                answer
            }
            Body::Part(part) => self.send_part(head, url, headers, &request, part),
        });
        match &result {
            Ok(answer) => {
                span.record("status", answer.status());
            }
            Err(error) => {
                span.record("error", tracing::field::display(error));
            }
        }
        result.map(|answer| answer.with_span(span))
    }

    fn send_part(
        &self,
        head: &Head,
        url: &Url,
        headers: HeaderMap,
        request: &str,
        part: &mut Part<'_>,
    ) -> Result<Answer, RegistryError> {
        let digest = part.digest;
        let mut reader = PartReader::new(part);
        let body = SendBody::from_reader(&mut reader);
        let answer = self.run(head, url, headers, request, body);
        let sent = usize::try_from(reader.sent()).unwrap_or(usize::MAX);
        count(&self.counters.bytes_out, sent);
        match reader.failure.take() {
            Some(source) => Err(RegistryError::Local {
                action: "read",
                digest,
                source,
            }),
            None => answer,
        }
    }

    fn run(
        &self,
        head: &Head,
        url: &Url,
        headers: HeaderMap,
        request: &str,
        body: impl AsSendBody,
    ) -> Result<Answer, RegistryError> {
        let mut http = Request::builder()
            .method(head.method.clone())
            .uri(url.to_text())
            .body(body)
            .map_err(|_| bad_url(request))?;
        *http.headers_mut() = headers;
        if !head.further_wait.is_zero() {
            let wait = self.idle_timeout.saturating_add(head.further_wait);
            let config = self.agent.configure_request(http);
            http = config
                .timeout_per_read(Some(wait))
                .timeout_recv_response(Some(wait.saturating_mul(HEAD_TIMEOUTS)))
                .build();
        }
        match self.agent.run(http) {
            Ok(response) => Ok(Answer::new(
                response,
                url.clone(),
                request.to_owned(),
                Arc::clone(&self.counters),
            )),
            Err(error) => Err(wire_error(request, error)),
        }
    }
}

fn bad_url(request: &str) -> RegistryError {
    RegistryError::BadLocation {
        request: request.to_owned(),
    }
}

/// The headers of a request; nothing if a value can't stand in one.
fn header_map(head: &Head, authorization: Option<&Secret>, body: &Body<'_>) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static(head.accept));
    if let Some(content_type) = &head.content_type {
        headers.insert(CONTENT_TYPE, content_type.parse().ok()?);
    }
    for (name, value) in &head.headers {
        headers.insert(name, value.parse().ok()?);
    }
    if let Some(authorization) = authorization {
        let mut value: HeaderValue = authorization.reveal().parse().ok()?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let sends = [Method::POST, Method::PUT, Method::PATCH].contains(&head.method);
    if sends {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        if head.waits_for_consent && body.len() > 0 {
            headers.insert(EXPECT, HeaderValue::from_static("100-continue"));
        }
    }
    Some(headers)
}

/// What follows one request. It lasts until its answer was read, or until there is none.
fn request_span(head: &Head, url: &Url, sent: u64) -> Span {
    tracing::debug_span!(
        "registry.request",
        method = %head.method,
        host = url.origin.authority(),
        path = url.path(),
        sent,
        status = Empty,
        received = Empty,
        error = Empty,
    )
}

/// What a failure on the wire means.
pub(crate) fn wire_error(request: &str, error: ureq::Error) -> RegistryError {
    let request = request.to_owned();
    if !is_wanted() {
        return RegistryError::Cancelled { request };
    }
    match error {
        ureq::Error::Timeout(_) => RegistryError::TimedOut { request },
        // TLS errors of a handshake or a record come wrapped like this, and nothing else does.
        ureq::Error::Io(source)
            if source.kind() == io::ErrorKind::InvalidData && !is_damage(&source) =>
        {
            RegistryError::Tls {
                request,
                source: Box::new(source),
            }
        }
        ureq::Error::Io(source) => match source.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(&Slow { bytes, time }) => RegistryError::TooSlow {
                request,
                bytes,
                time,
            },
            None => RegistryError::Connection { request, source },
        },
        error @ (ureq::Error::Rustls(_) | ureq::Error::Tls(_) | ureq::Error::TlsRequired) => {
            RegistryError::Tls {
                request,
                source: Box::new(error),
            }
        }
        ureq::Error::ConnectProxyFailed(problem) if is_refusal(&problem) => RegistryError::Proxy {
            request,
            problem: shown(&problem),
        },
        ureq::Error::Protocol(error) => RegistryError::BadAnswer {
            request,
            problem: shown(&error.to_string()),
        },
        ureq::Error::LargeResponseHeader(..) => RegistryError::BadAnswer {
            request,
            problem: format!("its head is larger than {MAX_HEAD_BYTES} bytes"),
        },
        error => RegistryError::Connection {
            request,
            source: io::Error::other(error),
        },
    }
}

/// Whether a proxy wants another name and password, or does not let anybody through to the host. Whatever else it says
/// may be different the next time.
fn is_refusal(problem: &str) -> bool {
    [" 403/", " 407/"]
        .iter()
        .any(|status| problem.contains(status))
}

/// Whether bytes of TLS were damaged on their way, as one side or the other found.
fn is_damage(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|error| error.downcast_ref());
    matches!(
        error,
        Some(
            rustls::Error::DecryptError
                | rustls::Error::AlertReceived(AlertDescription::BadRecordMac)
        )
    )
}
