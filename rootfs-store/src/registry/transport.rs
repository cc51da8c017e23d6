//! One request and its answer on the wire: connections, TLS, proxies and timeouts.
//!
//! Invariant: nothing is followed, repeated or authorized in here.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, AsSendBody, Proxy, SendBody};

use super::answer::Answer;
use super::body::{Body, Part, PartReader};
use super::error::{RegistryError, shown};
use super::metrics::{Counters, count};
use super::options::{ProxySetting, RegistryOptions};
use super::secret::Secret;
use super::slots::Urgency;
use super::url::Url;

/// Bytes that are read from and written to a connection at once.
const BUFFER_BYTES: usize = 256 << 10;
/// Connections that are kept for later, to all hosts.
const MAX_IDLE_CONNECTIONS: usize = 64;
/// Largest head of an answer, in bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;
const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

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
        let tls = TlsConfig::builder().root_certs(root_certs(&options.ca_files)?);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(USER_AGENT)
            .accept_encoding("")
            .proxy(proxy(&options.proxy)?)
            .tls_config(tls.build())
            .timeout_connect(Some(options.connect_timeout))
            .timeout_per_read(Some(options.idle_timeout))
            .timeout_per_write(Some(options.idle_timeout))
            .max_response_header_size(MAX_HEAD_BYTES)
            .input_buffer_size(BUFFER_BYTES)
            .output_buffer_size(BUFFER_BYTES)
            .max_idle_connections(MAX_IDLE_CONNECTIONS)
            .max_idle_connections_per_host(options.parallel.max(1))
            .build();
        let agent = Agent::new_with_config(config);
        Ok(Self {
            agent,
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
        let sent = body.len();
        count(&self.counters.requests, 1);
        let result = match body {
            Body::Empty => self.run(head, url, headers, &request, ()),
            Body::Bytes(bytes) => {
                let answer = self.run(head, url, headers, &request, *bytes);
                if answer.is_ok() {
                    count(&self.counters.bytes_out, bytes.len());
                }
                answer
            }
            Body::Part(part) => self.send_part(head, url, headers, &request, part),
        };
        let (method, host, path) = (&head.method, url.origin.authority(), url.path());
        match &result {
            Ok(answer) => {
                let (status, bytes) = (answer.status(), answer.content_length());
                tracing::debug!(%method, host, path, sent, status, bytes, "answered");
            }
            Err(error) => tracing::debug!(%method, host, path, sent, %error, "not answered"),
        }
        result
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
            http = config.timeout_per_read(Some(wait)).build();
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

/// What a failure on the wire means.
pub(crate) fn wire_error(request: &str, error: ureq::Error) -> RegistryError {
    let request = request.to_owned();
    match error {
        ureq::Error::Timeout(_) => RegistryError::TimedOut { request },
        // TLS errors of a handshake or a record come wrapped like this, and nothing else does.
        ureq::Error::Io(source) if source.kind() == io::ErrorKind::InvalidData => {
            RegistryError::Tls {
                request,
                source: Box::new(source),
            }
        }
        ureq::Error::Io(source) => RegistryError::Connection { request, source },
        error @ (ureq::Error::Rustls(_) | ureq::Error::Tls(_) | ureq::Error::TlsRequired) => {
            RegistryError::Tls {
                request,
                source: Box::new(error),
            }
        }
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

/// The built-in certificates, and those in `files`.
fn root_certs(files: &[PathBuf]) -> Result<RootCerts, RegistryError> {
    if files.is_empty() {
        return Ok(RootCerts::WebPki);
    }
    let built_in = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    let mut roots: Vec<_> = built_in.map(|der| Certificate::from_der(der)).collect();
    for path in files {
        let pem = fs::read(path).map_err(|source| RegistryError::CaFile {
            path: path.clone(),
            source,
        })?;
        let before = roots.len();
        roots.extend(parse_pem(&pem).filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        }));
        if roots.len() == before {
            return Err(RegistryError::NoCertificate { path: path.clone() });
        }
    }
    Ok(roots.into())
}

fn proxy(setting: &ProxySetting) -> Result<Option<Proxy>, RegistryError> {
    match setting {
        ProxySetting::Environment => Ok(Proxy::try_from_env()),
        ProxySetting::None => Ok(None),
        ProxySetting::Url(url) => match Proxy::new(url.reveal()) {
            // Other protocols need features that are not built in.
            Ok(proxy) if is_http(&proxy) => Ok(Some(proxy)),
            _ => Err(RegistryError::BadProxy),
        },
    }
}

fn is_http(proxy: &Proxy) -> bool {
    use ureq::ProxyProtocol::{Http, Https};
    matches!(proxy.protocol(), Http | Https)
}
