//! What the tests of several parts share: a server that plays a script, and clients that lose no time.

pub(crate) mod server;

use std::time::Duration;

use super::{Credentials, ProxySetting, Registries, RegistryOptions, Repository, RetryPolicy};
use server::Server;

pub(crate) const REPOSITORY: &str = "some/image";
/// Attempts of clients in tests.
pub(crate) const ATTEMPTS: u32 = 4;
/// Long enough for a busy machine, short enough to wait for.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_millis(500);

/// Options for `server`, without TLS, credentials or long waits.
pub(crate) fn options(server: &Server) -> RegistryOptions {
    RegistryOptions {
        credentials: Credentials::Anonymous,
        proxy: ProxySetting::None,
        plain_http: [server.host()].into(),
        idle_timeout: IDLE_TIMEOUT,
        retry: RetryPolicy {
            attempts: ATTEMPTS,
            first_delay: Duration::from_millis(1),
            max_delay: Duration::from_millis(5),
        },
        ..RegistryOptions::default()
    }
}

/// A repository of `server`.
pub(crate) fn repository(server: &Server) -> Repository {
    repository_with(server, options(server))
}

pub(crate) fn repository_with(server: &Server, options: RegistryOptions) -> Repository {
    let registries = Registries::new(options).unwrap();
    registries.repository(&server.host(), REPOSITORY)
}

/// Bytes that differ at all offsets that matter.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| ((at * 7 + at / 251) % 256).try_into().unwrap())
        .collect()
}
