use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::super::tests::server::{Play, Reply, Seen, Server, reply};
use super::super::tests::{REPOSITORY, options, repository_with};
use super::*;
use crate::digest::BlobDigest;
use crate::registry::{Credentials, RegistryOptions, Repository};

const PASSWORD: &str = "hush hush";

fn has_blob(repository: &Repository) -> Result<Option<u64>, RegistryError> {
    repository.blob_size(&BlobDigest::of(b""))
}

fn found() -> Reply {
    reply(200).with("Content-Length", 1)
}

fn with_credential(server: &Server, credential: Credential) -> RegistryOptions {
    let mut options = options(server);
    options.credentials = Credentials::Explicit([(server.host(), credential)].into());
    options
}

fn password() -> Credential {
    Credential::Password {
        username: "me".to_owned(),
        password: Secret::new(PASSWORD),
    }
}

/// A registry with its own token service, which numbers its tokens. `valid` says which of them are good.
fn registry_with_tokens(expires_in: u64, valid: impl Fn(usize) -> bool + Send + 'static) -> Server {
    let mut tokens = 0;
    Server::start(move |seen: &Seen| -> Play {
        if seen.line().ends_with(" /token") {
            tokens += 1;
            let body = format!(r#"{{"token":"t{tokens}","expires_in":{expires_in}}}"#);
            return reply(200).body(body).into();
        }
        let sent = seen.header("authorization");
        let number = sent.and_then(|sent| sent.strip_prefix("Bearer t")?.parse().ok());
        if number.is_some_and(&valid) {
            return found().into();
        }
        let realm = format!("http://{}/token", seen.header("host").unwrap());
        let challenge = format!(r#"Bearer realm="{realm}",service="the registry",scope="x""#);
        reply(401).with("WWW-Authenticate", challenge).into()
    })
}

#[test]
fn tokens_are_fetched_once_and_kept() {
    let server = registry_with_tokens(300, |_| true);
    let repository = repository_with(&server, options(&server));
    for _ in 0..3 {
        assert_eq!(has_blob(&repository).unwrap(), Some(1));
    }
    let seen = server.seen();
    assert_eq!(seen.len(), 5);
    let expected = "/token?service=the%20registry&scope=repository%3Asome%2Fimage%3Apull";
    assert_eq!(seen[1].target, expected);
    assert_eq!(seen[1].header("authorization"), None);
    assert_eq!(repository.client().metrics().tokens, 1);
}

#[test]
fn names_and_passwords_go_to_the_token_service() {
    let server = registry_with_tokens(300, |_| true);
    let repository = repository_with(&server, with_credential(&server, password()));
    assert_eq!(has_blob(&repository).unwrap(), Some(1));
    let sent = server.seen()[1].header("authorization").map(str::to_owned);
    assert_eq!(sent.as_deref(), Some("Basic bWU6aHVzaCBodXNo"));
}

#[test]
fn identity_tokens_are_exchanged() {
    let server = Server::start(|seen| match seen.line().as_str() {
        "POST /token" => reply(200).body(r#"{"access_token":"fresh"}"#),
        _ if seen.header("authorization") == Some("Bearer fresh") => found(),
        _ => {
            let realm = format!("http://{}/token", seen.header("host").unwrap());
            reply(401).with("WWW-Authenticate", format!("bearer Realm=\"{realm}\""))
        }
    });
    let identity = Credential::IdentityToken(Secret::new("a&b"));
    let repository = repository_with(&server, with_credential(&server, identity));
    assert_eq!(has_blob(&repository).unwrap(), Some(1));
    let form = String::from_utf8(server.seen()[1].body.clone()).unwrap();
    assert!(form.starts_with("grant_type=refresh_token&"), "{form}");
    assert!(form.ends_with("&refresh_token=a%26b"), "{form}");
}

#[test]
fn expired_tokens_are_renewed_before_they_are_sent() {
    let server = registry_with_tokens(0, |_| true);
    let repository = repository_with(&server, options(&server));
    has_blob(&repository).unwrap();
    has_blob(&repository).unwrap();
    let is_token = |line: &String| line.ends_with("/token");
    let tokens = server.lines().iter().filter(|line| is_token(line)).count();
    assert_eq!((tokens, server.lines().len()), (2, 5));
}

#[test]
fn refused_tokens_are_renewed_once() {
    let is_first_over = Arc::new(AtomicBool::new(false));
    let is_over = Arc::clone(&is_first_over);
    let server = registry_with_tokens(300, move |token| {
        token > 1 || !is_over.load(Ordering::Relaxed)
    });
    let repository = repository_with(&server, options(&server));
    has_blob(&repository).unwrap();
    is_first_over.store(true, Ordering::Relaxed);
    assert_eq!(has_blob(&repository).unwrap(), Some(1));
    assert_eq!(server.seen().len(), 6);

    let server = registry_with_tokens(300, |_| false);
    let repository = repository_with(&server, with_credential(&server, password()));
    let error = has_blob(&repository).unwrap_err();
    assert!(
        matches!(error, RegistryError::Unauthorized { .. }),
        "{error:?}"
    );
    assert_eq!(server.seen().len(), 3);
    let shown = format!("{error} {error:?} {repository:?}");
    assert!(shown.contains("docker login 127.0.0.1:"), "{shown}");
    assert!(
        !shown.contains(PASSWORD) && !shown.contains("bWU6"),
        "{shown}"
    );
}

#[test]
fn wrong_passwords_are_told_at_once() {
    let server = Server::script([reply(401).with("WWW-Authenticate", "Basic").into()]);
    let repository = repository_with(&server, with_credential(&server, password()));
    let error = has_blob(&repository).unwrap_err();
    assert!(
        matches!(error, RegistryError::Unauthorized { .. }),
        "{error:?}"
    );
    assert_eq!(server.seen().len(), 2);
    let repository = repository_with(&server, options(&server));
    let error = has_blob(&repository).unwrap_err();
    assert!(
        matches!(error, RegistryError::Unauthorized { .. }),
        "{error:?}"
    );
}

#[test]
fn token_services_that_fail_are_told() {
    let cases = [
        (reply(401), false),
        (reply(403), false),
        (reply(400), false),
        (reply(500), true),
        (reply(302).with("Location", "/x"), true),
        (reply(200).body("{}"), true),
        (reply(200).body(r#"{"token":"line\nbreak"}"#), true),
        (reply(200).body("["), true),
    ];
    for (answer, is_transient) in cases {
        let said = answer.clone();
        let server = Server::start(move |seen| match seen.line().as_str() {
            "GET /token" => answer.clone(),
            _ => {
                let realm = format!("http://{}/token", seen.header("host").unwrap());
                reply(401).with("WWW-Authenticate", format!("Bearer realm=\"{realm}\""))
            }
        });
        let error = has_blob(&repository_with(&server, options(&server))).unwrap_err();
        assert_eq!(error.is_transient(), is_transient, "{said:?} {error:?}");
    }
}

#[test]
fn many_threads_fetch_one_token() {
    let server = registry_with_tokens(300, |token| token == 1);
    let repository = repository_with(&server, options(&server));
    has_blob(&repository).unwrap();
    let asked = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                has_blob(&repository).unwrap();
                asked.fetch_add(1, Ordering::Relaxed);
            });
        }
    });
    assert_eq!(asked.into_inner(), 8);
    assert_eq!(repository.client().metrics().tokens, 1);
}

#[test]
fn token_services_of_registries_with_tls_have_tls() {
    let server = Server::script([reply(200).into()]);
    let repository = repository_with(&server, options(&server));
    let realm = Url::parse("http://tokens.example/").unwrap();
    let secure = repository.client().registry("registry.example");
    let error = check_realm(&realm, &secure, "GET").unwrap_err();
    assert!(matches!(error, RegistryError::PlainHttp { .. }));
    check_realm(&realm, repository.registry(), "GET").unwrap();
    assert_eq!(Access::pull(REPOSITORY).scopes.len(), 1);
}

/// Passwords of helpers last for hours, and who was not logged in may do so while the process runs.
#[test]
fn credentials_are_looked_up_again_when_they_are_refused() {
    let server = Server::start(|seen| match seen.header("authorization") {
        // `me:new`
        Some("Basic bWU6bmV3") => found(),
        _ => reply(401).with("WWW-Authenticate", "Basic realm=\"x\""),
    });
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.json");
    let log_in = |auth: &str| {
        let auths = format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, server.host());
        std::fs::write(&file, auths).unwrap();
    };
    // `me:old`
    log_in("bWU6b2xk");
    let mut options = options(&server);
    options.credentials = Credentials::DockerConfig {
        file: Some(file.clone()),
    };
    let repository = repository_with(&server, options);
    has_blob(&repository).unwrap_err();
    log_in("bWU6bmV3");
    assert_eq!(has_blob(&repository).unwrap(), Some(1));
}
