//! A server that gives out tokens for a docker-registry, as the registry's `token` authentication wants them.
//!
//! Invariant: nobody gets a token for more than anyone may do, but who knows the password.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

use crate::acceptor::{Acceptor, listen};
use crate::error::BedError;
use crate::http::{Head, status_line};
use crate::registry::{PASSWORD, USER};

mod scope;
mod sign;

use sign::Signer;

/// The certificate that signatures are checked by, in the folder of the registry.
pub(crate) const CERTIFICATE: &str = "token.pem";
/// What the registry calls itself when it sends clients to the server.
pub(crate) const SERVICE: &str = "test bed";
/// What the server calls itself in tokens.
pub(crate) const ISSUER: &str = "test bed issuer";

/// What tokens a [`TokenServer`] gives out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRules {
    /// How long a token is good for, less up to a second, because its end is a whole one.
    pub lifetime: Duration,
    /// Whether the server says so in `expires_in`. Without, clients have to find out by a 401.
    pub announced: bool,
    /// Whether those without a password get tokens for pulls.
    pub anonymous_pulls: bool,
}

impl Default for TokenRules {
    /// Five minutes, announced, and nothing for strangers.
    fn default() -> Self {
        Self {
            lifetime: Duration::from_secs(300),
            announced: true,
            anonymous_pulls: false,
        }
    }
}

/// The server that a registry with [`Auth::Token`](crate::Auth::Token) sends clients to.
#[derive(Debug)]
pub struct TokenServer {
    shared: Arc<Shared>,
    acceptor: Acceptor,
}

#[derive(Debug)]
struct Shared {
    rules: Mutex<TokenRules>,
    signer: Signer,
    issued: AtomicU64,
    refused: AtomicU64,
    /// How to speak TLS, if it does.
    tls: Option<Arc<ServerConfig>>,
}

impl TokenServer {
    /// Starts a server, and writes the certificate that it signs by to `folder`.
    pub(crate) fn start(
        rules: &TokenRules,
        folder: &Path,
        tls: Option<Arc<ServerConfig>>,
    ) -> Result<Self, BedError> {
        let signer = Signer::new(&folder.join(CERTIFICATE))?;
        let (listener, address) = listen()?;
        let shared = Arc::new(Shared {
            rules: Mutex::new(rules.clone()),
            signer,
            issued: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            tls,
        });
        let served = Arc::clone(&shared);
        let acceptor = Acceptor::on(listener, address, move |client| {
            let shared = Arc::clone(&served);
            // A client that breaks off gets no answer.
            thread::spawn(move || _ = speak(client, &shared));
        });
        Ok(Self { shared, acceptor })
    }

    /// Where clients get tokens.
    pub fn realm(&self) -> String {
        let scheme = self.shared.tls.as_ref().map_or("http", |_| "https");
        format!("{scheme}://{}/token", self.acceptor.address())
    }

    /// How many tokens were given out.
    pub fn issued(&self) -> u64 {
        self.shared.issued.load(Ordering::SeqCst)
    }

    /// How many requests were refused for a wrong password.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::SeqCst)
    }

    /// Changes the rules for the tokens that are still to come.
    pub fn set_rules(&self, rules: TokenRules) {
        let mut held = self.shared.rules.lock();
        *held
            .as_deref_mut()
            .unwrap_or_else(|poisoned| poisoned.get_mut()) = rules;
    }
}

fn speak(client: TcpStream, shared: &Shared) -> io::Result<()> {
    let Some(tls) = &shared.tls else {
        return serve(client, shared);
    };
    let connection = ServerConnection::new(Arc::clone(tls)).map_err(io::Error::other)?;
    serve(StreamOwned::new(connection, client), shared)
}

/// Answers one request, and ends the connection.
fn serve(mut client: impl Read + Write, shared: &Shared) -> io::Result<()> {
    let Some(request) = Head::read(&mut BufReader::new(&mut client))? else {
        return Ok(());
    };
    let (status, body) = shared.answer(&request);
    let mut head = Head::new(status_line(status));
    head.set("Content-Type", "application/json");
    head.set("Content-Length", body.len().to_string());
    head.set("Connection", "close");
    head.write(&mut client)?;
    client.write_all(body.as_bytes())?;
    client.flush()
}

impl Shared {
    fn answer(&self, request: &Head) -> (u16, String) {
        let mut words = request.start.split(' ');
        let (method, target) = (words.next(), words.next().unwrap_or_default());
        // Clients that try OAuth by POST first fall back on this answer.
        if method != Some("GET") || !target.starts_with("/token") {
            return (404, "{}".to_owned());
        }
        let is_user = match request.get("authorization") {
            None => false,
            Some(given) if given == authorization() => true,
            Some(_) => {
                self.refused.fetch_add(1, Ordering::SeqCst);
                return (
                    401,
                    json!({ "details": "wrong user or password" }).to_string(),
                );
            }
        };
        let rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let rules = rules.clone();
        let access = scope::granted(target, |action| {
            is_user || (rules.anonymous_pulls && action == "pull")
        });
        let number = self.issued.fetch_add(1, Ordering::SeqCst);
        let Some(token) = self.signer.token(number, rules.lifetime, &access) else {
            return (500, "{}".to_owned());
        };
        let mut document = json!({ "token": token, "access_token": token });
        if rules.announced {
            document["expires_in"] = rules.lifetime.as_secs().into();
        }
        (200, document.to_string())
    }
}

fn authorization() -> String {
    format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")))
}
