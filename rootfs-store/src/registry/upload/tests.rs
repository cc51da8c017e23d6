use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use super::super::tests::server::{Play, Reply, Seen, Server, reply};
use super::super::tests::{options, pattern, repository, repository_with};
use super::session::MAX_CHUNKS;
use super::*;
use crate::registry::{Credential, Credentials, Secret};

const CHUNK: u64 = 1000;

/// A registry that takes uploads, and what it has of them.
#[derive(Default)]
struct Uploads {
    /// What has arrived of the only upload.
    data: Vec<u8>,
    /// What became a blob.
    blob: Option<Vec<u8>>,
    /// Answers that are given instead, by method, before anything else happens.
    instead: VecDeque<(&'static str, Reply)>,
    /// Methods whose next request is carried out, but not answered.
    unanswered: VecDeque<&'static str>,
    /// Counts places, as each answer names a new one.
    place: usize,
}

type Shared = Arc<Mutex<Uploads>>;

impl Uploads {
    fn play(&mut self, seen: &Seen) -> Play {
        let method = seen.method.as_str();
        if self.instead.front().is_some_and(|next| next.0 == method) {
            return self.instead.pop_front().unwrap().1.into();
        }
        let reply = self.reply(seen);
        if self.unanswered.front() == Some(&method) {
            self.unanswered.pop_front();
            return Play::Raw(Vec::new());
        }
        reply.into()
    }

    fn reply(&mut self, seen: &Seen) -> Reply {
        match seen.method.as_str() {
            "HEAD" => match &self.blob {
                Some(blob) => reply(200).with("Content-Length", blob.len()),
                None => reply(404),
            },
            "POST" => {
                self.data.clear();
                self.at_next_place(202)
            }
            // What an upload has may be asked for at its former places, too: answers with new ones get lost.
            "GET" => {
                let last = self.data.len().saturating_sub(1);
                self.at_next_place(204).with("Range", format!("0-{last}"))
            }
            _ if !seen.target.contains(&format!("/place/{}?", self.place)) => reply(404),
            "PATCH" => {
                let (first, _) = seen
                    .header("content-range")
                    .unwrap()
                    .split_once('-')
                    .unwrap();
                if first.parse() != Ok(self.data.len()) {
                    return reply(416);
                }
                self.data.extend_from_slice(&seen.body);
                self.at_next_place(202)
            }
            "PUT" => {
                self.data.extend_from_slice(&seen.body);
                let digest = BlobDigest::of(&self.data).to_string().replace(':', "%3A");
                if !seen.target.contains(&digest) {
                    return reply(400);
                }
                self.place += 1;
                self.blob = Some(self.data.clone());
                reply(201)
            }
            _ => reply(405),
        }
    }

    fn at_next_place(&mut self, status: u16) -> Reply {
        self.place += 1;
        reply(status).with("Location", format!("/place/{}?a=b", self.place))
    }
}

fn start() -> (Server, Shared) {
    let uploads = Shared::default();
    let playing = Arc::clone(&uploads);
    let server = Server::start(move |seen| playing.lock().unwrap().play(seen));
    (server, uploads)
}

fn upload_to(repository: &Repository, blob: &[u8]) -> Result<u64, RegistryError> {
    let read_at = |at: u64, buf: &mut [u8]| {
        let at = usize::try_from(at).unwrap();
        buf.copy_from_slice(&blob[at..at + buf.len()]);
        Ok(())
    };
    let mut sent = 0;
    let digest = BlobDigest::of(blob);
    let size = blob.len() as u64;
    repository.upload_in_chunks(&digest, size, &read_at, &mut |at| sent = at, CHUNK)?;
    Ok(sent)
}

fn upload(server: &Server, blob: &[u8]) -> Result<u64, RegistryError> {
    upload_to(&repository(server), blob)
}

/// Methods of the requests that came, in short.
fn methods(server: &Server) -> String {
    let methods: Vec<String> = server.seen().into_iter().map(|seen| seen.method).collect();
    methods.join(" ")
}

fn blob_of(uploads: &Shared) -> Option<Vec<u8>> {
    uploads.lock().unwrap().blob.clone()
}

#[test]
fn small_blobs_go_in_one_request() {
    for len in [0, 1, 1000] {
        let (server, uploads) = start();
        let blob = pattern(len);
        assert_eq!(upload(&server, &blob).unwrap(), len as u64);
        assert_eq!(blob_of(&uploads), Some(blob));
        assert_eq!(methods(&server), "POST PUT");
    }
}

#[test]
fn larger_blobs_go_in_chunks() {
    let (server, uploads) = start();
    let blob = pattern(2500);
    assert_eq!(upload(&server, &blob).unwrap(), 2500);
    assert_eq!(blob_of(&uploads), Some(blob));
    assert_eq!(methods(&server), "POST PATCH PATCH PATCH PUT");
    assert_eq!(server.seen()[3].header("content-range"), Some("2000-2499"));
}

#[test]
fn chunks_are_as_long_as_the_registry_wants_and_few() {
    let (server, uploads) = start();
    let begun = reply(202).with("OCI-Chunk-Min-Length", 2000);
    let begun = begun.with("Location", "/place/0?x=");
    uploads.lock().unwrap().instead.push_back(("POST", begun));
    upload(&server, &pattern(2500)).unwrap();
    assert_eq!(methods(&server), "POST PATCH PATCH PUT");
    let (server, _) = start();
    upload(&server, &pattern(500_000)).unwrap();
    assert_eq!(server.seen().len() as u64, 1 + MAX_CHUNKS + 1);
}

#[test]
fn broken_chunks_go_on_at_what_the_registry_has() {
    let (server, uploads) = start();
    let cutting = Arc::clone(&uploads);
    server.cut_next_body(700);
    let blob = pattern(2500);
    upload(&server, &blob).unwrap();
    assert_eq!(cutting.lock().unwrap().blob, Some(blob));
    assert_eq!(methods(&server), "POST PATCH GET PATCH PATCH PUT");
    assert_eq!(server.seen()[3].header("content-range"), Some("700-1699"));
    assert_eq!(server.seen()[3].header("expect"), Some("100-continue"));
}

#[test]
fn lost_answers_are_found_out() {
    // To a chunk: the registry says that it has it. To the last request: the blob is there.
    for (method, expected) in [
        ("POST", "POST POST PATCH PATCH PUT"),
        ("PATCH", "POST PATCH GET PATCH PUT"),
        ("PUT", "POST PATCH PATCH PUT HEAD"),
    ] {
        let (server, uploads) = start();
        uploads.lock().unwrap().unanswered.push_back(method);
        let blob = pattern(1500);
        upload(&server, &blob).unwrap();
        assert_eq!(blob_of(&uploads), Some(blob));
        assert_eq!(methods(&server), expected);
    }
}

#[test]
fn passing_troubles_are_tried_again_at_each_step() {
    for status in [408, 429, 500, 503] {
        for (method, expected) in [
            ("POST", "POST POST PATCH PATCH PUT"),
            ("PATCH", "POST PATCH GET PATCH PATCH PUT"),
            ("PUT", "PUT"),
        ] {
            let (server, uploads) = start();
            let instead = (method, reply(status));
            uploads.lock().unwrap().instead.push_back(instead);
            let blob = pattern(1500);
            upload(&server, &blob).unwrap();
            assert_eq!(blob_of(&uploads), Some(blob));
            let methods = methods(&server);
            assert!(methods.ends_with(expected), "{status} {methods}");
        }
    }
}

#[test]
fn forgotten_uploads_start_over() {
    let (server, uploads) = start();
    uploads.lock().unwrap().instead = [("PATCH", reply(500)), ("GET", reply(404))].into();
    let blob = pattern(1500);
    upload(&server, &blob).unwrap();
    assert_eq!(blob_of(&uploads), Some(blob));
    assert_eq!(methods(&server), "POST PATCH GET POST PATCH PATCH PUT");
    let (server, uploads) = start();
    uploads.lock().unwrap().instead = [("PUT", reply(404))].into();
    let blob = pattern(1500);
    upload(&server, &blob).unwrap();
    assert_eq!(blob_of(&uploads), Some(blob));
    assert_eq!(
        methods(&server),
        "POST PATCH PATCH PUT HEAD POST PATCH PATCH PUT"
    );
}

#[test]
fn registries_without_chunks_get_the_whole() {
    for status in [404, 405, 416, 501] {
        let (server, uploads) = start();
        uploads
            .lock()
            .unwrap()
            .instead
            .push_back(("PATCH", reply(status)));
        let blob = pattern(2500);
        upload(&server, &blob).unwrap();
        assert_eq!(blob_of(&uploads), Some(blob));
        assert_eq!(methods(&server), "POST PATCH POST PUT");
    }
}

#[test]
fn broken_whole_blobs_come_again_whole() {
    let (server, uploads) = start();
    uploads
        .lock()
        .unwrap()
        .instead
        .push_back(("PATCH", reply(405)));
    let first = pattern(2500);
    let blob = first.clone();
    uploads.lock().unwrap().unanswered.push_back("POST");
    upload(&server, &blob).unwrap();
    assert_eq!(blob_of(&uploads), Some(first));
}

#[test]
fn tokens_that_end_in_the_middle_are_renewed() {
    let uploads = Shared::default();
    let playing = Arc::clone(&uploads);
    let mut tokens = 0;
    let mut uses = 0;
    let server = Server::start(move |seen: &Seen| -> Play {
        if seen.line() == "GET /token" {
            tokens += 1;
            uses = 0;
            return reply(200)
                .body(format!(r#"{{"token":"t{tokens}"}}"#))
                .into();
        }
        uses += 1;
        // Each token is good for two requests.
        if seen.header("authorization") != Some(&format!("Bearer t{tokens}")) || uses > 2 {
            let realm = format!("http://{}/token", seen.header("host").unwrap());
            let challenge = format!("Bearer realm=\"{realm}\"");
            return reply(401).with("WWW-Authenticate", challenge).into();
        }
        playing.lock().unwrap().play(seen)
    });
    let blob = pattern(4500);
    upload(&server, &blob).unwrap();
    assert_eq!(blob_of(&uploads), Some(blob));
    let retries = server
        .lines()
        .iter()
        .filter(|line| *line == "GET /token")
        .count();
    assert_eq!(retries, 4);
}

#[test]
fn uploads_to_other_hosts_carry_no_credentials() {
    let other = Server::script([reply(201).into()]);
    let location = format!("http://{}/put?signature=x", other.host());
    let server = Server::start(move |seen| match seen.header("authorization") {
        None => reply(401).with("WWW-Authenticate", "Basic"),
        Some(_) => reply(202).with("Location", &location),
    });
    let mut options = options(&server);
    let credential = Credential::Password {
        username: "me".to_owned(),
        password: Secret::new("hush"),
    };
    options.credentials = Credentials::Explicit([(server.host(), credential)].into());
    options.plain_http.insert(other.host());
    upload_to(&repository_with(&server, options), b"blob").unwrap();
    let seen = &other.seen()[0];
    assert_eq!(seen.header("authorization"), None);
    assert!(seen.target.starts_with("/put?signature=x&digest=sha256%3A"));
    assert_eq!(seen.body, b"blob");
}

#[test]
fn refused_blobs_and_unreadable_ones_are_final() {
    let (server, _) = start();
    let read_at = |_: u64, buf: &mut [u8]| {
        buf.fill(1);
        Ok(())
    };
    let digest = BlobDigest::of(b"something else");
    let repository = repository(&server);
    let error = repository
        .upload(&digest, 10, &read_at, &mut |_| {})
        .unwrap_err();
    assert!(
        matches!(error, RegistryError::Refused { status: 400, .. }),
        "{error:?}"
    );
    let read_at = |_: u64, _: &mut [u8]| Err(io::ErrorKind::NotFound.into());
    let error = repository
        .upload(&digest, 10, &read_at, &mut |_| {})
        .unwrap_err();
    assert!(
        matches!(error, RegistryError::Local { action: "read", .. }),
        "{error:?}"
    );
    assert_eq!(methods(&server), "POST PUT POST");
}

#[test]
fn registries_that_always_break_are_given_up() {
    let server = Server::start(|seen| match seen.method.as_str() {
        "POST" => Play::Answer(reply(202).with("Location", "/place")),
        _ => Play::Raw(Vec::new()),
    });
    let error = upload(&server, &pattern(10)).unwrap_err();
    assert!(matches!(error, RegistryError::GaveUp { .. }), "{error:?}");
}
