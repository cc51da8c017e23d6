//! What tests are made against: registries, a real one and one that misbehaves, and hosts' networks.
//!
//! ```no_run
//! use testbed::{Auth, Fault, Front, Options, Registry};
//!
//! # fn main() -> Result<(), testbed::BedError> {
//! let registry = Registry::start(&Options { auth: Auth::Password, ..Options::default() })?;
//! let front = Front::start(registry.host())?;
//! registry.log_in(front.host())?;
//! front.set_plan(|number, seen| (seen.method == "PATCH" && number < 9).then_some(Fault::DropAfter));
//! // … push to `front.host()` with the credentials of `registry.docker_config_dir()` …
//! assert!(front.log().iter().all(|seen| seen.authorized || seen.status == Some(401)));
//! # Ok(())
//! # }
//! ```
//!
//! [`Registry`] is Debian's `docker-registry` with a configuration and a storage folder of its own. [`Front`] is a
//! reverse proxy in this process, between a client and such a registry, which counts what passes and breaks what a
//! plan tells it to. All end when they are dropped; a registry also ends when this process is killed.
//!
//! [`Proxy`] is what clients behind a firewall reach registries through; it breaks tunnels, and so connections of TLS.
//!
//! [`Tap`] and [`Island`] are what guests' networks are connected to.
//!
//! What it can't do: a front speaks plain HTTP on both sides, so what is about TLS is tested against the registry
//! itself, straight or through a proxy. HTTP/1.1 only, and as much of it as registries and their clients use.
#![forbid(unsafe_code)]

mod acceptor;
mod error;
mod front;
mod http;
mod network;
mod proxy;
mod registry;
mod tls;
mod token;

pub use error::BedError;
pub use front::{Fault, Front, Seen};
pub use network::{Island, Tap};
pub use proxy::{Proxy, Tunnel, TunnelFault};
pub use registry::{Auth, Options, PASSWORD, Registry, USER};
pub use token::{TokenRules, TokenServer};
