use std::time::Duration;

use rootfs_store::{BlobDigest, OriginError, RemoteError};
use vmm_core::DiskOperation;

use super::*;
use crate::testing::{Heard, heard};

fn news() -> (News, Heard) {
    let (events, heard) = heard();
    let news = News {
        events: Arc::new(events),
        drives: vec!["data".into(), "tools".into()],
        has_tripped: Arc::default(),
    };
    (news, heard)
}

fn io_error(drive: usize, error: io::Error) -> VmEvent {
    VmEvent::IoError {
        drive,
        operation: DiskOperation::Write,
        error: Arc::new(error),
        unreported: 0,
    }
}

#[test]
fn failed_requests_name_the_disk() {
    let (news, heard) = news();
    for drive in 0..3 {
        news.hear(io_error(drive, io::ErrorKind::StorageFull.into()));
    }
    let drive = |name: &str| Device::Drive { name: name.into() };
    let expected =
        [Device::RootDisk, drive("data"), drive("tools")].map(|device| Event::DiskFailed {
            device,
            message: "no storage space".into(),
        });
    assert_eq!(heard.so_far(&news.events), expected);
}

#[test]
fn outage_of_a_registry_is_told_by_the_disk_alone() {
    let (news, heard) = news();
    let error = RemoteError::Unreachable {
        pack: BlobDigest::of(b"pack"),
        origin: "registry.example/labs/disk".to_owned(),
        waited: Duration::from_secs(1),
        source: OriginError::transient(io::Error::from(io::ErrorKind::ConnectionRefused)),
    };
    news.hear(io_error(
        0,
        io::Error::other(DiskError::Store(error.into())),
    ));
    assert_eq!(heard.so_far(&news.events), []);
}

#[test]
fn networks_and_waits_are_told_by_their_place() {
    let (news, heard) = news();
    news.hear(VmEvent::NetworkLost {
        net: 1,
        error: Arc::new(io::ErrorKind::ConnectionReset.into()),
    });
    let waited = Duration::from_secs(5);
    for backend in [Backend::Drive(1), Backend::Net(0)] {
        news.hear(VmEvent::BackendSlow {
            backend,
            thread: "vm-x".into(),
            elapsed: waited,
        });
    }
    let slow = |device| Event::DeviceSlow { device, waited };
    let expected = [
        Event::NetworkLost {
            network: 1,
            message: "connection reset".into(),
        },
        slow(Device::Drive {
            name: "data".into(),
        }),
        slow(Device::Network { network: 0 }),
    ];
    assert_eq!(heard.so_far(&news.events), expected);
}

#[test]
fn triple_fault_is_noted_and_told_by_who_sees_to_the_end() {
    let (news, heard) = news();
    news.hear(VmEvent::RebootAsked);
    assert!(!news.has_tripped.load(Ordering::Acquire));
    news.hear(VmEvent::TripleFault { vcpu: 0 });
    assert!(news.has_tripped.load(Ordering::Acquire));
    assert_eq!(heard.so_far(&news.events), []);
}
