use std::time::{Duration, Instant};

use super::super::tests::server::{Play, Server, reply};
use super::super::tests::{ATTEMPTS, REPOSITORY, options, repository, repository_with};
use super::*;
use crate::registry::{Credential, Credentials, Secret};

fn digest() -> BlobDigest {
    BlobDigest::of(b"blob")
}

fn size(server: &Server) -> Result<Option<u64>, RegistryError> {
    repository(server).blob_size(&digest())
}

#[test]
fn size_is_asked_for_without_the_blob() {
    let server = Server::script([reply(200).with("Content-Length", 12_345).into()]);
    assert_eq!(size(&server).unwrap(), Some(12_345));
    let expected = format!("HEAD /v2/{REPOSITORY}/blobs/{}", digest());
    assert_eq!(server.lines(), [expected]);
    let server = Server::script([reply(404).into()]);
    assert_eq!(size(&server).unwrap(), None);
}

#[test]
fn connections_are_used_again() {
    let server = Server::script([reply(404).into()]);
    let repository = repository(&server);
    for _ in 0..5 {
        assert_eq!(repository.blob_size(&digest()).unwrap(), None);
    }
    let metrics = repository.client().metrics();
    assert_eq!((metrics.requests, metrics.retries), (5, 0));
}

#[test]
fn passing_troubles_are_tried_again() {
    let good = || Play::Answer(reply(200).with("Content-Length", 1));
    for status in [408, 429, 500, 502, 503, 504] {
        let server = Server::script([reply(status).into(), reply(status).into(), good()]);
        assert_eq!(size(&server).unwrap(), Some(1), "{status}");
        assert_eq!(server.seen().len(), 3);
        let server = Server::script([reply(status).into()]);
        let error = size(&server).unwrap_err();
        assert!(error.is_transient());
        assert!(
            matches!(
                error,
                RegistryError::GaveUp {
                    attempts: ATTEMPTS,
                    ..
                }
            ),
            "{error:?}"
        );
        assert_eq!(server.seen().len(), ATTEMPTS as usize);
    }
    for bytes in [
        "",
        "\r\n\r\n",
        "HTTP/9 what",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "garbage\n\n\n",
    ] {
        let raw = Play::Raw(bytes.into());
        let server = Server::script([raw.clone(), raw, good()]);
        assert_eq!(size(&server).unwrap(), Some(1), "{bytes}");
    }
}

#[test]
fn refusals_are_final_and_tell_why() {
    let cases = [
        (400, "refused"),
        (401, "way"),
        (403, "denied"),
        (405, "refused"),
        (413, "refused"),
    ];
    for (status, text) in cases {
        let says = r#"{"errors":[{"code":"NOPE","message":"go\naway"}]}"#;
        let server = Server::start(move |seen| {
            let body = if seen.method == "HEAD" { "" } else { says };
            reply(status).body(body)
        });
        let error = size(&server).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        assert!(!error.is_transient() && !error.is_not_found());
        assert_eq!(server.seen().len(), 1);
        if status != 401 {
            let error = repository(&server).manifest("latest").unwrap_err();
            assert!(error.to_string().contains("NOPE go\u{fffd}away"), "{error}");
        }
    }
}

#[test]
fn retry_after_is_waited_for() {
    let wait = reply(429).with("Retry-After", 1);
    let server = Server::script([wait.into(), reply(404).into()]);
    let start = Instant::now();
    assert_eq!(size(&server).unwrap(), None);
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[test]
fn nobody_listening_is_told_after_all_attempts() {
    let server = Server::script([reply(200).into()]);
    let repository = repository(&server);
    drop(server);
    // The port may be open for the connection that wakes the server; after that, it is closed.
    let error = (0..10).find_map(|_| repository.blob_size(&digest()).err());
    assert!(
        matches!(error, Some(RegistryError::GaveUp { .. })),
        "{error:?}"
    );
}

#[test]
fn registries_without_tls_must_be_listed() {
    let server = Server::script([reply(200).into()]);
    let mut options = options(&server);
    options.plain_http.clear();
    let error = repository_with(&server, options).blob_size(&digest());
    let error = error.unwrap_err();
    assert!(matches!(error, RegistryError::Tls { .. }), "{error:?}");
    assert!(error.to_string().contains("plain HTTP"));
}

/// Options with a password for `server`.
fn with_password(server: &Server) -> crate::registry::RegistryOptions {
    let mut options = options(server);
    let credential = Credential::Password {
        username: "me".to_owned(),
        password: Secret::new("hush"),
    };
    options.credentials = Credentials::Explicit([(server.host(), credential)].into());
    options
}

#[test]
fn no_credentials_follow_to_other_hosts() {
    let other = Server::script([reply(200).with("Content-Length", 3).into()]);
    let location = format!("http://{}/elsewhere?signature=1", other.host());
    let server = Server::start(move |seen| match seen.header("authorization") {
        None => reply(401).with("WWW-Authenticate", "Basic realm=\"x\""),
        Some(_) => reply(307).with("Location", &location),
    });
    let mut options = with_password(&server);
    options.plain_http.insert(other.host());
    let repository = repository_with(&server, options);
    assert_eq!(repository.blob_size(&digest()).unwrap(), Some(3));
    assert_eq!(server.seen().len(), 2);
    assert_eq!(
        server.seen()[1].header("authorization"),
        Some("Basic bWU6aHVzaA==")
    );
    let [seen] = &other.seen()[..] else {
        panic!("the redirect was not followed once");
    };
    assert_eq!(seen.header("authorization"), None);
    assert_eq!(seen.target, "/elsewhere?signature=1");
}

#[test]
fn redirects_that_can_not_be_followed_are_told() {
    let other = Server::script([reply(200).into()]);
    let to_other = format!("http://{}/elsewhere", other.host());
    let not_listed = Server::script([reply(302).with("Location", to_other).into()]);
    let error = size(&not_listed).unwrap_err();
    assert!(
        matches!(error, RegistryError::PlainHttp { .. }),
        "{error:?}"
    );
    assert!(other.seen().is_empty());
    for location in [
        "",
        "ftp://x/y",
        "http://me:you@localhost/",
        "http://",
        "http://a:b/",
    ] {
        let server = Server::script([reply(302).with("Location", location).into()]);
        let error = size(&server).unwrap_err();
        assert!(
            matches!(error, RegistryError::BadLocation { .. }),
            "{location} {error:?}"
        );
    }
    let circle = Server::script([reply(302).with("Location", "/v2/again").into()]);
    let error = size(&circle).unwrap_err();
    assert!(
        matches!(error, RegistryError::BadLocation { .. }),
        "{error:?}"
    );
    assert_eq!(circle.seen().len(), 6);
}

#[test]
fn blobs_are_mounted_or_not() {
    let mounted = Server::script([reply(201).into()]);
    assert!(repository(&mounted).mount(&digest(), "base/image").unwrap());
    let target = &mounted.seen()[0].target;
    assert!(
        target.contains("mount=sha256%3A") && target.ends_with("from=base%2Fimage"),
        "{target}"
    );

    let begun = reply(202).with("Location", "/v2/upload/7?state=x");
    let server = Server::script([begun.into(), reply(204).into()]);
    assert!(!repository(&server).mount(&digest(), "base/image").unwrap());
    assert_eq!(server.lines()[1], "DELETE /v2/upload/7");
    for status in [400, 403, 404, 405] {
        let server = Server::script([reply(status).into()]);
        assert!(!repository(&server).mount(&digest(), "base/image").unwrap());
    }
}

#[test]
fn requests_at_once_are_limited() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    // The server's handler runs one at a time, so the delay is in the body.
    let server = Server::script([Play::Stall(reply(200).body("abc"), 1)]);
    let mut options = options(&server);
    options.parallel = 1;
    options.retry.attempts = 1;
    let repository = repository_with(&server, options);
    let done = AtomicUsize::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut sink = |_: &[u8]| Ok(());
                repository
                    .read_blob(&digest(), 3, 0, &mut sink)
                    .unwrap_err();
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
    });
    assert_eq!(done.into_inner(), 2);
    assert!(start.elapsed() >= 2 * super::super::tests::IDLE_TIMEOUT);
}

#[test]
fn names_that_are_none_are_not_sent() {
    let server = Server::script([reply(200).into()]);
    let registries = crate::Registries::new(options(&server)).unwrap();
    for name in ["", "../x", "a b", "A", "a?b", "a/"] {
        let error = registries.repository(&server.host(), name);
        let error = error.blob_size(&digest()).unwrap_err();
        assert!(matches!(error, RegistryError::BadName { .. }), "{error:?}");
        assert!(!repository(&server).mount(&digest(), name).unwrap());
    }
    for tag in ["", "../x", "a/b", "sha256:00"] {
        let error = repository(&server).manifest(tag).unwrap_err();
        assert!(matches!(error, RegistryError::BadName { .. }), "{error:?}");
    }
    for host in ["", "me@a", "a/b", "a?b"] {
        let error = registries.repository(host, "a").blob_size(&digest());
        assert!(
            matches!(error, Err(RegistryError::BadHost { .. })),
            "{error:?}"
        );
    }
    assert!(server.seen().is_empty());
    let mut options = options(&server);
    options.plain_http.insert("http://a".to_owned());
    let error = crate::Registries::new(options).unwrap_err();
    assert!(matches!(error, RegistryError::BadHost { .. }), "{error:?}");
}
