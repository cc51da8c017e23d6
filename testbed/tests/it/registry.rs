//! Registries with and without TLS, passwords and tokens, and what they lose and keep.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use testbed::{Auth, Options, PASSWORD, Registry, TokenRules, USER};

use crate::client::{ask, begin_upload, upload};
use crate::front::digest;
use crate::image::{Image, skopeo_copy, skopeo_copy_by, there_and_back};

fn with(auth: Auth, tls: bool) -> Registry {
    let options = Options {
        auth,
        tls,
        ..Options::default()
    };
    Registry::start(&options).unwrap()
}

/// Whether the image can be pushed by someone without credentials.
fn takes_strangers(registry: &Registry) -> bool {
    let image = Image::make();
    let folder = tempfile::tempdir().unwrap();
    let nobody = folder.path().join("nobody.json");
    std::fs::write(&nobody, "{}").unwrap();
    let to = format!("docker://{}/strange:first", registry.host());
    skopeo_copy_by(registry, &nobody, &image.reference(), &to)
        .status
        .success()
}

#[test]
fn an_open_registry_takes_an_image_and_gives_it_back() {
    let registry = with(Auth::None, false);
    there_and_back(&registry, registry.host());
    assert_eq!(
        registry.repository_manifests("some/image").unwrap().len(),
        1
    );
    assert_eq!(registry.repository_blobs("some/image").unwrap().len(), 2);
    assert_eq!(registry.blob_count().unwrap(), 3);
    assert!(registry.blob_bytes().unwrap() > 100_000);
    assert!(
        registry
            .unfinished_uploads("some/image")
            .unwrap()
            .is_empty()
    );
    assert!(takes_strangers(&registry));
}

#[test]
fn a_registry_with_tls_and_a_password_takes_no_strangers() {
    let registry = with(Auth::Password, true);
    there_and_back(&registry, registry.host());
    assert!(!takes_strangers(&registry));
}

#[test]
fn a_registry_with_tls_is_not_trusted_without_its_authority() {
    let registry = with(Auth::None, true);
    let image = Image::make();
    let to = format!("docker://{}/some/image:first", registry.host());
    let output = Command::new("skopeo")
        .args(["copy", &image.reference(), &to])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("certificate"), "{said}");
}

#[test]
fn a_registry_with_tokens_takes_those_with_a_password() {
    let registry = with(Auth::Token(TokenRules::default()), false);
    there_and_back(&registry, registry.host());
    let issued = registry.tokens().unwrap().issued();
    assert!(issued > 0);
    assert!(!takes_strangers(&registry));
    let anonymous = TokenRules {
        anonymous_pulls: true,
        ..TokenRules::default()
    };
    registry.tokens().unwrap().set_rules(anonymous);
    assert!(!takes_strangers(&registry));
    let pull = "scope=repository:some/image:pull";
    assert_eq!(tags_with_token(&registry, pull, None), 200);
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("wrong.json");
    std::fs::write(
        &wrong,
        format!(
            r#"{{"auths":{{"{}":{{"auth":"d3Jvbmc6d3Jvbmc="}}}}}}"#,
            registry.host()
        ),
    )
    .unwrap();
    let from = format!("docker://{}/some/image:first", registry.host());
    assert!(
        !skopeo_copy_by(&registry, &wrong, &from, &Image::make().copy())
            .status
            .success()
    );
    assert!(registry.tokens().unwrap().refused() > 0);
}

/// Lists the tags of some/image with a token for `query`, after a while.
fn tags_with_token(registry: &Registry, query: &str, wait: Option<Duration>) -> u16 {
    let realm = registry.tokens().unwrap().realm();
    let (host, path) = realm
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let start = format!("GET /{path}?{query}");
    let secret = "Authorization: Basic dGVzdGVyOnN0YXBsZQ==";
    let fields: &[&str] = if wait.is_some() { &[secret] } else { &[] };
    let answer = ask(host, &start, fields, b"").unwrap();
    let document: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let token = document["token"].as_str().unwrap();
    std::thread::sleep(wait.unwrap_or_default());
    let bearer = format!("Authorization: Bearer {token}");
    let start = "GET /v2/some/image/tags/list";
    ask(registry.host(), start, &[&bearer], b"").unwrap().status
}

#[test]
fn tokens_end_when_the_rules_say() {
    assert_eq!((USER, PASSWORD), ("tester", "staple"));
    let registry = with(Auth::Token(TokenRules::default()), false);
    there_and_back(&registry, registry.host());
    let rules = TokenRules {
        lifetime: Duration::from_secs(3),
        announced: false,
        anonymous_pulls: false,
    };
    registry.tokens().unwrap().set_rules(rules);
    let pull = "scope=repository:some/image:pull";
    assert_eq!(tags_with_token(&registry, pull, Some(Duration::ZERO)), 200);
    let past = Some(Duration::from_millis(3_500));
    assert_eq!(tags_with_token(&registry, pull, past), 401);
}

#[test]
fn a_collection_keeps_what_manifests_need_and_the_port() {
    let registry = with(Auth::None, false);
    there_and_back(&registry, registry.host());
    // The empty blob, which no manifest needs.
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    upload(registry.host(), "some/image", b"", digest);
    assert!(registry.blob_file(digest).exists());
    let before = registry.blob_count().unwrap();
    let report = registry.garbage_collect().unwrap();
    assert!(report.contains(digest), "{report}");
    assert_eq!(registry.blob_count().unwrap(), before - 1);
    assert!(!registry.blob_file(digest).exists());
    let image = Image::make();
    let from = format!("docker://{}/some/image:first", registry.host());
    let output = skopeo_copy(&registry, &from, &image.copy());
    assert!(output.status.success(), "{output:?}");
    registry.garbage_collect_untagged().unwrap();
    assert_eq!(registry.blob_count().unwrap(), before - 1);
}

#[test]
fn a_registry_that_was_stopped_comes_back_with_what_it_had() {
    let registry = with(Auth::None, false);
    there_and_back(&registry, registry.host());
    let target = begin_upload(registry.host(), "some/image");
    let patch = ask(registry.host(), &format!("PATCH {target}"), &[], b"begun ").unwrap();
    let ours = format!("http://{}", registry.host());
    let target = patch
        .field("location")
        .unwrap()
        .strip_prefix(&ours)
        .unwrap();
    registry.stop();
    assert!(ask(registry.host(), "GET /v2/", &[], b"").is_err());
    registry.start_again().unwrap();
    let tags = ask(registry.host(), "GET /v2/some/image/tags/list", &[], b"").unwrap();
    assert_eq!(tags.status, 200);
    let put = format!("PUT {target}&digest={}", digest(b"begun and done"));
    assert_eq!(
        ask(registry.host(), &put, &[], b"and done").unwrap().status,
        201
    );
}

#[test]
fn a_mirror_serves_what_its_origin_has() {
    let origin = with(Auth::None, false);
    there_and_back(&origin, origin.host());
    let mirror = Registry::start(&Options {
        mirror_of: Some(format!("http://{}", origin.host())),
        ..Options::default()
    });
    let mirror = mirror.unwrap();
    let image = Image::make();
    let from = format!("docker://{}/some/image:first", mirror.host());
    let output = skopeo_copy(&mirror, &from, &image.copy());
    assert!(output.status.success(), "{output:?}\n{}", mirror.log());
}

#[test]
fn a_registry_ends_with_its_owner() {
    let registry = with(Auth::None, false);
    let host = registry.host().to_owned();
    drop(registry);
    assert!(ask(&host, "GET /v2/", &[], b"").is_err());
}

#[test]
fn a_registry_ends_when_its_owner_is_killed() {
    const HOLDER: &str = "TESTBED_HOLDS_A_REGISTRY";
    if std::env::var_os(HOLDER).is_some() {
        let registry = with(Auth::None, false);
        println!("\nholds {}", registry.host());
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    let mut holder = Command::new(std::env::current_exe().unwrap());
    let name = "registry::a_registry_ends_when_its_owner_is_killed";
    holder
        .args(["--exact", name, "--nocapture"])
        .env(HOLDER, "");
    let mut holder = holder.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    let mut hosts = lines.filter_map(|line| Some(line.unwrap().strip_prefix("holds ")?.to_owned()));
    let host = hosts.next().unwrap();
    assert_eq!(ask(&host, "GET /v2/", &[], b"").unwrap().status, 200);
    holder.kill().unwrap();
    holder.wait().unwrap();
    let begun = Instant::now();
    while ask(&host, "GET /v2/", &[], b"").is_ok() {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{host} is still there"
        );
    }
}
