//! What connections are made with: TLS, proxies, timeouts, buffers.

use std::fs;
use std::path::PathBuf;

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{ConnectProxyConnector, Connector as _, RustlsConnector};
use ureq::{Agent, Proxy};

use super::connection::TcpConnector;
use super::error::RegistryError;
use super::least_rate::LeastRate;
use super::options::{ProxySetting, RegistryOptions};

/// Bytes that are read from and written to a connection at once.
const BUFFER_BYTES: usize = 256 << 10;
/// Connections that are kept for later, to all hosts.
const MAX_IDLE_CONNECTIONS: usize = 64;
/// Largest head of an answer, in bytes.
pub(crate) const MAX_HEAD_BYTES: usize = 64 << 10;
/// How many times as long as a silence the head of an answer may take, however slowly it comes.
pub(crate) const HEAD_TIMEOUTS: u32 = 2;
const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// The pool of connections that `options` ask for.
pub(crate) fn agent(options: &RegistryOptions) -> Result<Agent, RegistryError> {
    let tls = TlsConfig::builder().root_certs(root_certs(&options.ca_files)?);
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(USER_AGENT)
        .accept_encoding("")
        .proxy(proxy(&options.proxy)?)
        .tls_config(tls.build())
        .timeout_resolve(Some(options.connect_timeout))
        .timeout_connect(Some(options.connect_timeout))
        .timeout_per_read(Some(options.idle_timeout))
        .timeout_per_write(Some(options.idle_timeout))
        .timeout_recv_response(Some(options.idle_timeout.saturating_mul(HEAD_TIMEOUTS)))
        .max_response_header_size(MAX_HEAD_BYTES)
        .input_buffer_size(BUFFER_BYTES)
        .output_buffer_size(BUFFER_BYTES)
        .max_idle_connections(MAX_IDLE_CONNECTIONS)
        .max_idle_connections_per_host(options.parallel.max(1))
        .build();
    // As ureq's own chain is, but for the TCP in it.
    let connector = ()
        .chain(ConnectProxyConnector::default())
        .chain(TcpConnector {
            least: LeastRate::of(options),
        })
        .chain(RustlsConnector::default());
    let resolver = DefaultResolver::default();
    Ok(Agent::with_parts(config, connector, resolver))
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
        ProxySetting::Environment => Ok(Proxy::try_from_env().filter(|proxy| {
            let is_usable = is_http(proxy);
            if !is_usable {
                tracing::warn!("the environment's proxy speaks no HTTP and is not used");
            }
            is_usable
        })),
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
