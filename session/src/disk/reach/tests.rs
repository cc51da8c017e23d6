use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rootfs_store::{BlobDigest, OriginError, RemoteError};

use super::*;

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

/// Events, and the list that they end in.
fn heard() -> (Events, Arc<Mutex<Vec<Event>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&heard);
    let events = Events::to(move |event| list.lock().unwrap().push(event.clone()));
    (events, heard)
}

#[test]
fn outage_is_told_once_when_it_begins_and_once_when_it_ends() {
    let (reach, (events, heard)) = (Reach::default(), heard());
    reach.succeeded(&(0..4096), &events);
    assert!(reach.failed(0..8192, &unreachable(), &events));
    assert!(reach.failed(4096..8192, &unreachable(), &events));
    {
        let heard = heard.lock().unwrap();
        let [Event::DiskUnreachable { message }] = &heard[..] else {
            panic!("{heard:?}")
        };
        for cause in ["registry.example/labs/disk", "connection refused"] {
            assert!(message.contains(cause), "{message}");
        }
    }
    // What was read may have been here all the time.
    reach.succeeded(&(0..8191), &events);
    reach.succeeded(&(8192..16384), &events);
    assert_eq!(heard.lock().unwrap().len(), 1);
    reach.succeeded(&(0..16384), &events);
    reach.succeeded(&(0..16384), &events);
    let heard = heard.lock().unwrap();
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(matches!(
        heard[1],
        Event::DiskReachableAgain { failed: 2, .. }
    ));
}

#[test]
fn outage_ends_when_what_was_wanted_is_had_in_parts() {
    let (reach, (events, heard)) = (Reach::default(), heard());
    assert!(reach.failed(4096..16384, &unreachable(), &events));
    for part in [12288..20480, 0..8192] {
        reach.succeeded(&part, &events);
        assert_eq!(heard.lock().unwrap().len(), 1);
    }
    reach.succeeded(&(8192..12288), &events);
    assert_eq!(heard.lock().unwrap().len(), 2);
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
    assert!(heard.lock().unwrap().is_empty());
}

#[test]
fn listener_that_panics_harms_nobody() {
    let reach = Reach::default();
    let events = Events::to(|_| panic!("a defect of the listener"));
    assert!(reach.failed(0..1, &unreachable(), &events));
    reach.succeeded(&(0..1), &events);
    assert!(reach.failed(0..1, &unreachable(), &events));
}
