//! Each fault of what is read, as a client sees it.

use std::time::{Duration, Instant};

use testbed::{Auth, Fault, Front, Options, Registry, TokenRules};

use crate::client::{Answer, Client, ask};
use crate::front::Bed;

const RANGE: &str = "Range: bytes=10-19";

/// What a client gets that asks for the blob while every request has `fault`.
fn get(bed: &Bed, fault: Fault, fields: &[&str]) -> std::io::Result<Answer> {
    bed.front.set_plan(move |_, _| Some(fault.clone()));
    ask(bed.front.host(), &bed.about_blob("GET"), fields, b"")
}

#[test]
fn a_connection_that_is_dropped_brings_no_answer() {
    let bed = Bed::new();
    for fault in [Fault::DropBefore, Fault::DropAfter] {
        assert!(get(&bed, fault, &[]).is_err());
    }
    let log = bed.front.log();
    assert_eq!(log.len(), 2);
    assert!(
        log.iter()
            .all(|seen| seen.status.is_none() && seen.to_client == 0)
    );
    assert_eq!(log[1].fault, Some(Fault::DropAfter));
}

#[test]
fn a_body_breaks_off_where_it_is_cut() {
    let bed = Bed::new();
    for at in [0, 1, 70_000] {
        let answer = get(&bed, Fault::TruncateBody(at as u64), &[]).unwrap();
        assert_eq!(answer.field("content-length"), Some("100000"));
        assert_eq!(answer.body, bed.blob[..at]);
    }
    let past = get(&bed, Fault::TruncateBody(100_000), &[]).unwrap();
    assert_eq!(past.body, bed.blob);
}

#[test]
fn one_byte_of_a_body_is_wrong() {
    let bed = Bed::new();
    for at in [0, 65_536, 99_999] {
        let answer = get(&bed, Fault::CorruptBody(at as u64), &[]).unwrap();
        let mut expected = bed.blob.clone();
        expected[at] = !expected[at];
        assert_eq!(answer.body, expected);
    }
}

#[test]
fn an_answer_and_a_body_stall() {
    let bed = Bed::new();
    let time = Duration::from_millis(300);
    let stalled = get(&bed, Fault::Stall(time), &[]).unwrap();
    assert!(stalled.times.0 >= time);
    let (at, pause) = (50_000, Duration::from_secs(1));
    let stalled = get(&bed, Fault::StallBody { at, pause }, &[]).unwrap();
    assert!(stalled.times.0 < pause && stalled.times.1 >= pause);
    assert_eq!(stalled.body, bed.blob);
    let bytes_per_s = 80_000;
    let slow = get(&bed, Fault::SlowBody { bytes_per_s }, &[]).unwrap();
    assert!(slow.times.0 < pause && slow.times.1 >= pause);
    assert_eq!(slow.body, bed.blob);
}

#[test]
fn a_status_comes_instead_of_the_blob() {
    let bed = Bed::new();
    let told = |fault, fields: &[&str]| get(&bed, fault, fields).unwrap();
    assert_eq!(told(Fault::Status(404), &[]).status, 404);
    assert_eq!(told(Fault::ServerError(503), &[]).status, 503);
    let later = told(Fault::TooManyRequests { retry_after_s: 7 }, &[]);
    assert_eq!((later.status, later.field("retry-after")), (429, Some("7")));
    let past = told(Fault::RangeNotSatisfiable, &[RANGE]);
    assert_eq!(past.status, 416);
    assert_eq!(told(Fault::RangeNotSatisfiable, &[]).status, 200);
    let elsewhere = told(Fault::RedirectTo("http://localhost:1/x".to_owned()), &[]);
    assert_eq!(elsewhere.status, 307);
    assert_eq!(elsewhere.field("location"), Some("http://localhost:1/x"));
    let fields = vec![("X-Field".to_owned(), "yes".to_owned())];
    let (status, body) = (299, b"odd".to_vec());
    let own = told(
        Fault::Answer {
            status,
            fields,
            body,
        },
        &[],
    );
    assert_eq!((own.status, own.field("x-field")), (299, Some("yes")));
    assert_eq!(own.body, b"odd");
}

#[test]
fn connections_outlive_answers_that_do_not_end_them() {
    let bed = Bed::new();
    bed.front
        .set_plan(|number, _| (number == 0).then_some(Fault::Status(500)));
    let mut client = Client::connect(bed.front.host()).unwrap();
    let get = bed.about_blob("GET");
    assert_eq!(client.ask(&get, &[], b"").unwrap().status, 500);
    assert_eq!(client.ask(&get, &[], b"").unwrap().body, bed.blob);
    bed.front.clear_log();
    assert_eq!(client.ask(&get, &[], b"").unwrap().status, 500);
    bed.front.clear_plan();
    bed.front.clear_log();
    assert_eq!(client.ask(&get, &[], b"").unwrap().status, 200);
}

#[test]
fn ranges_are_ignored_and_lied_about() {
    let bed = Bed::new();
    let whole = get(&bed, Fault::IgnoreRange, &[RANGE]).unwrap();
    assert_eq!((whole.status, whole.body), (200, bed.blob.clone()));
    let moved = get(&bed, Fault::WrongContentRange, &[RANGE]).unwrap();
    assert_eq!(moved.status, 206);
    assert_eq!(moved.field("content-range"), Some("bytes 11-19/100000"));
    assert_eq!(moved.body, bed.blob[10..20]);
}

#[test]
fn lengths_and_digests_are_lied_about() {
    let bed = Bed::new();
    let less = get(&bed, Fault::LyingLength(-10), &[]).unwrap();
    assert_eq!(less.field("content-length"), Some("99990"));
    assert_eq!(less.body, bed.blob[..99_990]);
    let more = get(&bed, Fault::LyingLength(10), &[]).unwrap();
    assert_eq!(more.field("content-length"), Some("100010"));
    assert_eq!(more.body, bed.blob);
    let head = ask(bed.front.host(), &bed.about_blob("HEAD"), &[], b"").unwrap();
    assert_eq!(head.field("content-length"), Some("100010"));
    let wrong = get(&bed, Fault::WrongDigest, &[]).unwrap();
    let digest = wrong.field("docker-content-digest").unwrap();
    assert!(digest.starts_with("sha256:000") && wrong.body == bed.blob);
}

#[test]
fn heads_of_blobs_are_not_allowed() {
    let bed = Bed::new();
    for status in [404, 405] {
        bed.front.set_plan(move |_, _| Some(Fault::NoHead(status)));
        let head = ask(bed.front.host(), &bed.about_blob("HEAD"), &[], b"").unwrap();
        assert_eq!(head.status, status);
        let get = ask(bed.front.host(), &bed.about_blob("GET"), &[], b"").unwrap();
        assert_eq!(get.status, 200);
    }
}

#[test]
fn a_refusal_asks_for_what_the_registry_would() {
    let bed = Bed::new();
    let refused = get(&bed, Fault::Unauthorized, &[]).unwrap();
    assert_eq!(refused.status, 401);
    assert!(
        refused
            .field("www-authenticate")
            .unwrap()
            .starts_with("Basic")
    );
    let registry = Registry::start(&Options {
        auth: Auth::Token(TokenRules::default()),
        ..Options::default()
    });
    let registry = registry.unwrap();
    let front = Front::start(registry.host()).unwrap();
    front.set_plan(|_, _| Some(Fault::Unauthorized));
    let begun = Instant::now();
    let start = "POST /v2/some/blobs/blobs/uploads/";
    let refused = ask(front.host(), start, &["Authorization: Bearer x"], b"").unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(refused.status, 401);
    let challenge = refused.field("www-authenticate").unwrap();
    assert!(challenge.starts_with("Bearer realm="), "{challenge}");
    // The registry names the actions in any order.
    let asks = |actions| challenge.contains(&format!("scope=\"repository:some/blobs:{actions}\""));
    assert!(asks("pull,push") || asks("push,pull"), "{challenge}");
}
