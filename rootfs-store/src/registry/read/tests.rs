use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::tests::server::{Play, Reply, Server, reply};
use super::super::tests::{ATTEMPTS, options, pattern, repository, repository_with};
use super::*;

fn digest() -> BlobDigest {
    BlobDigest::of(b"")
}

/// The answer of a registry that knows ranges.
fn ranged(blob: &[u8], range: Option<&str>) -> Reply {
    let Some(range) = range else {
        return reply(200).body(blob);
    };
    let (first, last) = range
        .strip_prefix("bytes=")
        .unwrap()
        .split_once('-')
        .unwrap();
    let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
    let said = format!("bytes {first}-{last}/{}", blob.len());
    reply(206)
        .with("Content-Range", said)
        .body(&blob[first..=last])
}

fn read_from(server: &Server, size: usize, from: u64) -> Result<Vec<u8>, RegistryError> {
    let mut read = Vec::new();
    let mut sink = |bytes: &[u8]| {
        read.extend_from_slice(bytes);
        Ok(())
    };
    repository(server).read_blob(&digest(), size as u64, from, &mut sink)?;
    Ok(read)
}

fn read(server: &Server, size: usize) -> Result<Vec<u8>, RegistryError> {
    read_from(server, size, 0)
}

#[test]
fn blob_is_read_on_from_where_it_stands() {
    let blob = pattern(700_000);
    let served = blob.clone();
    let server = Server::start(move |seen| ranged(&served, seen.header("range")));
    assert_eq!(read(&server, blob.len()).unwrap(), blob);
    assert_eq!(server.seen()[0].header("range"), None);
    let rest = read_from(&server, blob.len(), 300_001).unwrap();
    assert_eq!(rest, blob[300_001..]);
    let range = server.seen()[1].header("range").map(str::to_owned);
    assert_eq!(range.as_deref(), Some("bytes=300001-699999"));
    assert!(read_from(&server, 5, 5).unwrap().is_empty());
    assert!(read(&server, 0).unwrap().is_empty());
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn broken_connections_go_on_at_the_byte_that_was_reached() {
    let blob = pattern(100_000);
    let served = blob.clone();
    // More breaks than attempts in a row: each brings some bytes.
    let server = Server::start(move |seen| {
        let reply = ranged(&served, seen.header("range"));
        let len = reply.body.len();
        if len > 10_000 {
            Play::Cut(reply, 9_000)
        } else {
            Play::Answer(reply)
        }
    });
    assert_eq!(read(&server, blob.len()).unwrap(), blob);
    assert_eq!(server.seen().len(), 11);
    let second = server.seen()[1].header("range").map(str::to_owned);
    assert_eq!(second.as_deref(), Some("bytes=9000-99999"));
}

#[test]
fn stalled_connections_are_given_up() {
    let blob = pattern(50_000);
    let served = blob.clone();
    let first = AtomicUsize::new(0);
    let server = Server::start(move |seen| {
        let reply = ranged(&served, seen.header("range"));
        match first.fetch_add(1, Ordering::Relaxed) {
            0 => Play::Stall(reply, 20_000),
            _ => Play::Answer(reply),
        }
    });
    assert_eq!(read(&server, blob.len()).unwrap(), blob);
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn whole_answers_to_ranges_are_skipped_through() {
    let blob = pattern(300_000);
    let whole = reply(200).body(blob.clone());
    let server = Server::script([Play::Cut(whole.clone(), 270_000), Play::Answer(whole)]);
    assert_eq!(read(&server, blob.len()).unwrap(), blob);
    let rest = read_from(&server, blob.len(), 299_999).unwrap();
    assert_eq!(rest, blob[299_999..]);
}

#[test]
fn bodies_without_length_end_where_they_should() {
    let blob = pattern(5);
    let chunks = |text: &str| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut bytes = head.as_bytes().to_vec();
        bytes.extend_from_slice(text.as_bytes());
        Play::Raw(bytes)
    };
    let server = Server::script([chunks("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")]);
    assert_eq!(read(&server, 5).unwrap(), b"abcde");
    for text in ["4\r\nabcd\r\n0\r\n\r\n", "4\r\nab", "zz\r\n"] {
        let server = Server::script([chunks(text)]);
        assert!(
            read(&server, blob.len()).unwrap_err().is_transient(),
            "{text}"
        );
    }
    let server = Server::script([chunks("6\r\nabcdef\r\n0\r\n\r\n")]);
    let error = read(&server, blob.len()).unwrap_err();
    assert!(
        matches!(error, RegistryError::WrongSize { .. }),
        "{error:?}"
    );
}

#[test]
fn other_sizes_are_no_blob_of_this_size() {
    let wrong = [
        reply(200).body(pattern(9)),
        reply(200).body(pattern(11)),
        reply(416).with("Content-Length", 0),
        reply(206)
            .with("Content-Range", "bytes 0-9/11")
            .body(pattern(10)),
    ];
    for reply in wrong {
        let server = Server::script([reply.clone().into()]);
        let error = read(&server, 10).unwrap_err();
        assert!(
            matches!(error, RegistryError::WrongSize { .. }),
            "{reply:?} {error:?}"
        );
        assert_eq!(server.seen().len(), 1);
    }
}

#[test]
fn ranges_that_were_not_asked_for_are_failed_attempts() {
    for said in [
        "bytes 1-9/10",
        "bytes 0-8/10",
        "bytes 5-9/*",
        "words 0-9/10",
        "",
    ] {
        let bad = reply(206).with("Content-Range", said).body(pattern(10));
        let good = ranged(&pattern(10), Some("bytes=0-9"));
        let server = Server::script([bad.clone().into(), good.into()]);
        assert_eq!(read(&server, 10).unwrap(), pattern(10), "{said}");
        let server = Server::script([bad.into()]);
        let error = read(&server, 10).unwrap_err();
        assert!(
            matches!(
                error,
                RegistryError::GaveUp {
                    attempts: ATTEMPTS,
                    ..
                }
            ),
            "{said} {error:?}"
        );
    }
}

#[test]
fn sinks_that_fail_end_it() {
    let server = Server::script([reply(200).body(pattern(10)).into()]);
    let mut sink = |_: &[u8]| Err(io::ErrorKind::StorageFull.into());
    let error = repository(&server)
        .read_blob(&digest(), 10, 0, &mut sink)
        .unwrap_err();
    assert!(matches!(
        error,
        RegistryError::Local {
            action: "store",
            ..
        }
    ));
    assert_eq!(server.seen().len(), 1);
}

/// What a range brings, or nothing where the whole blob would come.
fn read_range(
    repository: &Repository,
    size: usize,
    range: Range<u64>,
) -> Result<Option<Vec<u8>>, RegistryError> {
    let mut read = Vec::new();
    let answer = repository.read_range(&digest(), size as u64, range, &mut |bytes| {
        read.extend_from_slice(bytes);
        Ok(())
    })?;
    Ok((answer == RangeAnswer::Part).then_some(read))
}

#[test]
fn range_is_the_bytes_or_the_whole_blob() {
    let blob = pattern(1000);
    let served = blob.clone();
    let server = Server::start(move |seen| ranged(&served, seen.header("range")));
    let read = |server: &Server, range| read_range(&repository(server), 1000, range);
    let part = |range: Range<usize>| Some(blob[range].to_vec());
    assert_eq!(read(&server, 10..20).unwrap(), part(10..20));
    assert_eq!(read(&server, 0..1000).unwrap(), part(0..1000));
    assert_eq!(read(&server, 7..7).unwrap(), part(7..7));
    assert!(matches!(
        read(&server, 0..MAX_RANGE_BYTES + 1),
        Err(RegistryError::TooLarge { .. })
    ));
    let server = Server::script([reply(200).body(blob.clone()).into()]);
    assert_eq!(read(&server, 10..20).unwrap(), None);
    assert_eq!(read(&server, 0..1000).unwrap(), part(0..1000));
}

#[test]
fn range_that_is_cut_off_goes_on_at_the_byte_that_was_reached() {
    let blob = pattern(1000);
    let served = blob.clone();
    let server = Server::start(move |seen| {
        let reply = ranged(&served, seen.header("range"));
        match reply.body.len() {
            501.. => Play::Cut(reply, 300),
            _ => Play::Answer(reply),
        }
    });
    let read = read_range(&repository(&server), 1000, 100..900);
    assert_eq!(read.unwrap().unwrap(), blob[100..900]);
    let asked: Vec<_> = server
        .seen()
        .iter()
        .map(|seen| seen.header("range").map(str::to_owned))
        .collect();
    let expected = ["bytes=100-899", "bytes=400-899"].map(|range| Some(range.to_owned()));
    assert_eq!(asked, expected);
}

#[test]
fn pieces_of_a_range_are_handed_on_while_the_rest_is_on_its_way() {
    let blob = pattern(1000);
    let stalled = Play::Stall(ranged(&blob, Some("bytes=0-999")), 400);
    let server = Server::script([stalled]);
    let mut read = Vec::new();
    let repository = repository(&server).tried_once();
    let answer = repository.read_range(&digest(), 1000, 0..1000, &mut |bytes| {
        read.extend_from_slice(bytes);
        Ok(())
    });
    answer.unwrap_err();
    assert_eq!(read, blob[..400]);
}

#[test]
fn mirrors_are_read_first_and_left_where_they_fail() {
    let blob = pattern(5000);
    let broken = Server::script([reply(500).into()]);
    let served = blob.clone();
    let half = Server::start(move |seen| Play::Cut(ranged(&served, seen.header("range")), 2000));
    let served = blob.clone();
    let server = Server::start(move |seen| ranged(&served, seen.header("range")));
    let mut options = options(&server);
    let mirrors = vec![broken.host(), half.host()];
    options.plain_http.extend(mirrors.clone());
    options.mirrors.insert(server.host(), mirrors);
    let mut read = Vec::new();
    let mut sink = |bytes: &[u8]| {
        read.extend_from_slice(bytes);
        Ok(())
    };
    repository_with(&server, options)
        .read_blob(&digest(), 5000, 0, &mut sink)
        .unwrap();
    assert_eq!(read, blob);
    assert_eq!(broken.seen().len(), 1);
    assert_eq!(half.seen().len(), 1);
    let range = server.seen()[0].header("range").map(str::to_owned);
    assert_eq!(range.as_deref(), Some("bytes=2000-4999"));
}
