use super::super::tests::server::{Play, Reply, Server, reply};
use super::super::tests::{REPOSITORY, repository};
use super::*;

const OCI: &str = MEDIA_TYPES[0];
const BYTES: &[u8] = br#"{"schemaVersion":2}"#;

fn good() -> Reply {
    reply(200)
        .with("Content-Type", OCI)
        .with("Docker-Content-Digest", BlobDigest::of(BYTES))
        .body(BYTES)
}

fn fetch(reply: Reply, reference: &str) -> Result<Fetched, RegistryError> {
    let server = Server::script([Play::Answer(reply)]);
    repository(&server).manifest(reference)
}

#[test]
fn manifest_comes_with_its_digest() {
    let expected = Fetched {
        bytes: BYTES.to_vec(),
        media_type: OCI.to_owned(),
        digest: BlobDigest::of(BYTES),
    };
    let server = Server::script([good().into()]);
    let digest = BlobDigest::of(BYTES).to_string();
    for reference in ["latest", &digest] {
        assert_eq!(repository(&server).manifest(reference).unwrap(), expected);
    }
    let seen = server.seen();
    assert_eq!(
        seen[0].line(),
        format!("GET /v2/{REPOSITORY}/manifests/latest")
    );
    for media_type in MEDIA_TYPES {
        assert!(seen[0].header("accept").unwrap().contains(media_type));
    }
    let plain = reply(200).with("Content-Type", OCI).body(BYTES);
    assert_eq!(fetch(plain, "latest").unwrap(), expected);
}

#[test]
fn other_bytes_are_refused() {
    let other = BlobDigest::of(b"other");
    let error = fetch(good(), &other.to_string()).unwrap_err();
    assert!(matches!(error, RegistryError::DigestMismatch { expected, .. } if expected == other));
    let error = fetch(good().body("{}"), "latest").unwrap_err();
    assert!(matches!(error, RegistryError::DigestMismatch { .. }));
    let mut bad = good();
    bad.headers[1].1 = "sha256:what".to_owned();
    let error = fetch(bad, "latest").unwrap_err();
    assert!(matches!(error, RegistryError::BadDigest { .. }));
}

#[test]
fn media_types_are_those_of_manifests() {
    let typed = |sent: &str, body: &str| {
        let reply = reply(200).with("Content-Type", sent).body(body);
        fetch(reply, "latest").map(|fetched| fetched.media_type)
    };
    let with_parameter = format!("{OCI}; charset=utf-8");
    assert_eq!(typed(&with_parameter, "{}").unwrap(), OCI);
    let document = format!(r#"{{"mediaType":"{OCI}"}}"#);
    assert_eq!(typed("application/json", &document).unwrap(), OCI);
    for (sent, body) in [
        ("text/html", "<p>"),
        ("application/json", r#"{"mediaType":"x"}"#),
    ] {
        let error = typed(sent, body).unwrap_err();
        assert!(
            matches!(error, RegistryError::MediaType { .. }),
            "{error:?}"
        );
    }
}

#[test]
fn large_manifests_are_refused_both_ways() {
    let large = b" ".repeat(usize::try_from(MAX_MANIFEST_BYTES).unwrap() + 1);
    let error = fetch(good().body(large.clone()), "latest").unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error:?}");
    let endless = [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &large, &large];
    let server = Server::script([Play::Raw(endless.concat())]);
    let error = repository(&server).manifest("latest").unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error:?}");
    let error = repository(&server).put_manifest("latest", OCI, &large);
    assert!(matches!(error, Err(RegistryError::TooLarge { .. })));
}

#[test]
fn missing_manifests_are_not_found() {
    let error = fetch(reply(404), "latest").unwrap_err();
    assert!(error.is_not_found());
    let server = Server::script([reply(404).into()]);
    assert_eq!(repository(&server).has_manifest("latest").unwrap(), None);
}

#[test]
fn digest_is_told_by_the_registry_or_found_out() {
    let digest = BlobDigest::of(BYTES);
    let has = |reply: Reply, reference: &str| {
        let server = Server::script([Play::Answer(reply)]);
        let found = repository(&server).has_manifest(reference);
        (found, server.seen().len())
    };
    let (found, requests) = has(good(), "latest");
    assert_eq!((found.unwrap(), requests), (Some(digest), 1));
    let silent = || reply(200).with("Content-Type", OCI).body(BYTES);
    let (found, requests) = has(silent(), "latest");
    assert_eq!((found.unwrap(), requests), (Some(digest), 2));
    let (found, requests) = has(silent(), &digest.to_string());
    assert_eq!((found.unwrap(), requests), (Some(digest), 1));
    let (found, _) = has(good(), &BlobDigest::of(b"other").to_string());
    assert!(matches!(found, Err(RegistryError::DigestMismatch { .. })));
}

#[test]
fn written_manifest_has_the_digest_of_its_bytes() {
    let answers = [
        reply(503),
        reply(201).with("Docker-Content-Digest", BlobDigest::of(BYTES)),
    ];
    let server = Server::script(answers.map(Play::Answer));
    repository(&server).put_manifest("v1", OCI, BYTES).unwrap();
    let seen = server.seen();
    assert_eq!(seen[1].line(), format!("PUT /v2/{REPOSITORY}/manifests/v1"));
    assert_eq!(seen[1].body, BYTES);
    assert_eq!(seen[1].header("content-type"), Some(OCI));
    let wrong = reply(201).with("Docker-Content-Digest", BlobDigest::of(b"x"));
    let server = Server::script([wrong.into()]);
    let error = repository(&server).put_manifest("v1", OCI, BYTES);
    assert!(matches!(error, Err(RegistryError::DigestMismatch { .. })));
}
