use std::io;
use std::time::Duration;

use rootfs_store::{BlobDigest, OriginError, RemoteError};

use super::*;
use crate::testing::heard;

fn unreachable() -> DiskError {
    let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
    let error = RemoteError::Unreachable {
        pack: BlobDigest::of(b"pack"),
        origin: "registry.example/labs/disk".to_owned(),
        waited: Duration::from_secs(1),
        source: OriginError::transient(refused),
    };
    DiskError::Store(error.into())
}

#[test]
fn outage_is_told_once_when_it_begins_and_once_when_it_ends() {
    let (reach, (events, heard)) = (Reach::default(), heard());
    reach.succeeded(&(0..4096), &events);
    assert!(reach.failed(0..8192, &unreachable(), &events));
    assert!(reach.failed(4096..8192, &unreachable(), &events));
    let told = heard.so_far(&events);
    let [Event::DiskUnreachable { message }] = &told[..] else {
        panic!("{told:?}")
    };
    for cause in ["registry.example/labs/disk", "connection refused"] {
        assert!(message.contains(cause), "{message}");
    }
    // What was read may have been here all the time.
    reach.succeeded(&(0..8191), &events);
    reach.succeeded(&(8192..16384), &events);
    assert_eq!(heard.so_far(&events), []);
    reach.succeeded(&(0..16384), &events);
    reach.succeeded(&(0..16384), &events);
    let told = heard.so_far(&events);
    assert!(
        matches!(told[..], [Event::DiskReachableAgain { failed: 2, .. }]),
        "{told:?}"
    );
}

#[test]
fn outage_ends_when_what_was_wanted_is_had_in_parts() {
    let (reach, (events, heard)) = (Reach::default(), heard());
    assert!(reach.failed(4096..16384, &unreachable(), &events));
    assert_eq!(heard.so_far(&events).len(), 1);
    for part in [12288..20480, 0..8192] {
        reach.succeeded(&part, &events);
        assert_eq!(heard.so_far(&events), []);
    }
    reach.succeeded(&(8192..12288), &events);
    assert_eq!(heard.so_far(&events).len(), 1);
}

#[test]
fn error_of_the_host_is_no_outage() {
    let (reach, (events, heard)) = (Reach::default(), heard());
    let error = DiskError::OutOfRange {
        start: 0,
        end: 2,
        size: 1,
    };
    assert!(!reach.failed(0..2, &error, &events));
    reach.succeeded(&(0..2), &events);
    assert_eq!(heard.so_far(&events), []);
}
