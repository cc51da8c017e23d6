//! A front that has nothing against its client, and one that goes down.

use std::time::{Duration, Instant};

use testbed::{Auth, Front, Options, Registry, TokenRules};

use crate::client::{Client, ask, begin_upload, upload};
use crate::image::{Image, skopeo_copy, there_and_back};

/// A registry with one blob, behind a front.
pub(crate) struct Bed {
    pub(crate) registry: Registry,
    pub(crate) front: Front,
    pub(crate) blob: Vec<u8>,
    pub(crate) digest: String,
}

impl Bed {
    pub(crate) fn new() -> Self {
        let registry = Registry::start(&Options::default()).unwrap();
        let front = Front::start(registry.host()).unwrap();
        let blob: Vec<u8> = (0..100_000_u32).map(|byte| (byte % 251) as u8).collect();
        let digest = digest(&blob);
        upload(registry.host(), "some/blobs", &blob, &digest);
        Self {
            registry,
            front,
            blob,
            digest,
        }
    }

    /// The first line of a request about the blob.
    pub(crate) fn about_blob(&self, method: &str) -> String {
        format!("{method} /v2/some/blobs/blobs/{}", self.digest)
    }
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    use sha2::Digest;
    let hash = sha2::Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[test]
fn an_image_goes_through_a_front_and_back() {
    let registry = Registry::start(&Options::default()).unwrap();
    let front = Front::start(registry.host()).unwrap();
    there_and_back(&registry, front.host());
    let log = front.log();
    assert!(
        log.iter()
            .any(|seen| seen.method == "HEAD" && seen.is_blob())
    );
    let sent: u64 = log.iter().map(|seen| seen.from_client).sum();
    assert!(sent >= registry.blob_bytes().unwrap());
    let uploads = log
        .iter()
        .filter(|seen| seen.is_upload() && seen.method == "PUT");
    assert_eq!(uploads.filter(|seen| seen.status == Some(201)).count(), 2);
    let manifests = log
        .iter()
        .filter(|seen| seen.is_manifest() && seen.method == "PUT");
    assert_eq!(manifests.count(), 1);
    assert!(
        log.iter()
            .all(|seen| seen.fault.is_none() && !seen.authorized)
    );
    // Pushing the same again moves no blob.
    front.clear_log();
    assert!(front.log().is_empty());
}

#[test]
fn a_front_stands_before_registries_with_passwords_and_tokens() {
    for auth in [Auth::Password, Auth::Token(TokenRules::default())] {
        let options = Options {
            auth,
            ..Options::default()
        };
        let registry = Registry::start(&options).unwrap();
        let front = Front::start(registry.host()).unwrap();
        registry.log_in(front.host()).unwrap();
        there_and_back(&registry, front.host());
        let log = front.log();
        assert!(log.iter().any(|seen| seen.authorized));
        let strangers = log.iter().filter(|seen| !seen.authorized);
        assert!(strangers.into_iter().all(|seen| seen.status == Some(401)));
    }
}

#[test]
fn a_blob_and_a_part_of_it_come_by_one_connection() {
    let bed = Bed::new();
    let mut client = Client::connect(bed.front.host()).unwrap();
    let get = bed.about_blob("GET");
    let whole = client.ask(&get, &[], b"").unwrap();
    assert_eq!((whole.status, &whole.body), (200, &bed.blob));
    let part = client.ask(&get, &["Range: bytes=10-19"], b"").unwrap();
    assert_eq!(
        (part.status, part.body.as_slice()),
        (206, &bed.blob[10..20])
    );
    assert_eq!(part.field("content-range"), Some("bytes 10-19/100000"));
    let head = client.ask(&bed.about_blob("HEAD"), &[], b"").unwrap();
    assert_eq!(head.field("content-length"), Some("100000"));
    let log = bed.front.log();
    assert_eq!(log.len(), 3);
    assert!(
        log.iter()
            .all(|seen| seen.connection == 0 && seen.is_blob())
    );
    assert_eq!(log[1].range.as_deref(), Some("bytes=10-19"));
    let sent: Vec<_> = log.iter().map(|seen| seen.to_client).collect();
    assert_eq!(sent, [100_000, 10, 0]);
}

#[test]
fn bodies_in_chunks_and_bodies_that_wait_for_leave_arrive() {
    let bed = Bed::new();
    let host = bed.front.host();
    let patch = format!("PATCH {}", begin_upload(host, "some/blobs"));
    let chunks = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
    let answer = ask(host, &patch, &["Transfer-Encoding: chunked"], chunks).unwrap();
    assert_eq!((answer.status, answer.field("range")), (202, Some("0-10")));

    let target = begin_upload(host, "some/blobs");
    let put = format!("PUT {target}&digest={}", digest(b"hello"));
    let mut client = Client::connect(host).unwrap();
    let fields = ["Expect: 100-continue", "Transfer-Encoding: chunked"];
    client.send(&put, &fields, b"").unwrap();
    assert_eq!(client.answer(false).unwrap().status, 100);
    client.send_bytes(b"5\r\nhello\r\n0\r\n\r\n").unwrap();
    assert_eq!(client.answer(false).unwrap().status, 201);
    assert_eq!(bed.front.log().last().unwrap().from_client, 5);
}

#[test]
fn every_request_takes_as_long_as_it_is_far() {
    let bed = Bed::new();
    bed.front.set_latency(Duration::from_millis(150));
    let begun = Instant::now();
    assert_eq!(
        ask(bed.front.host(), "GET /v2/", &[], b"").unwrap().status,
        200
    );
    assert!(begun.elapsed() >= Duration::from_millis(150));
}

#[test]
fn a_front_that_is_down_refuses_and_breaks_connections() {
    let bed = Bed::new();
    let mut client = Client::connect(bed.front.host()).unwrap();
    assert_eq!(client.ask("GET /v2/", &[], b"").unwrap().status, 200);
    bed.front.down();
    assert!(client.ask("GET /v2/", &[], b"").is_err());
    assert!(Client::connect(bed.front.host()).is_err());
    bed.front.up().unwrap();
    let answer = ask(bed.front.host(), &bed.about_blob("GET"), &[], b"").unwrap();
    assert_eq!(answer.body, bed.blob);
}

#[test]
fn a_registry_that_is_stopped_is_a_bad_gateway() {
    let bed = Bed::new();
    bed.registry.stop();
    let answer = ask(bed.front.host(), "GET /v2/", &[], b"").unwrap();
    assert_eq!(answer.status, 502);
    bed.registry.start_again().unwrap();
    let image = Image::make();
    let to = format!("docker://{}/some/image:first", bed.front.host());
    assert!(
        skopeo_copy(&bed.registry, &image.reference(), &to)
            .status
            .success()
    );
}
