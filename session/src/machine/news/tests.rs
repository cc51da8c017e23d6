use std::io;
use std::time::Duration;

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

#[test]
fn networks_and_waits_are_told_by_their_place() {
    let (news, heard) = news();
    news.hear(VmEvent::NetworkLost {
        net: 1,
        error: Arc::new(io::ErrorKind::ConnectionReset.into()),
    });
    let waited = Duration::from_secs(5);
    for backend in [Backend::Drive(0), Backend::Drive(2), Backend::Net(0)] {
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
        slow(Device::RootDisk),
        slow(Device::Drive {
            name: "tools".into(),
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
