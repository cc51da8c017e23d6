//! Guests with networks.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use session::{ErrorKind, Event, IdleLimit, Limits, Network, Session, SessionState, Switch};
use testbed::{Island, Tap};

use super::bed::{Bed, kernel, next_news, patient, sh};

const IDLE_AFTER: Duration = Duration::from_secs(3600);

/// Idle by traffic and commands alone: emulated processors are never idle enough.
fn limits() -> Limits {
    let mut idle = IdleLimit::after(IDLE_AFTER);
    idle.cpu_percent = 100;
    let mut limits = Limits::none();
    limits.idle = Some(idle);
    limits
}

/// What a guest sends without anybody's command is use.
fn check_that_traffic_is_use(session: &Session) {
    /// Longer than what rates are averages over, twice.
    const WHILE: Duration = Duration::from_secs(23);
    let idle_for = || IDLE_AFTER - session.time_left().idle.unwrap();
    sh(session, "ping -i 0.05 -s 1400 10.9.8.1 > /dev/null 2>&1 &");
    thread::sleep(WHILE);
    let busy = idle_for();
    sh(session, "killall ping");
    thread::sleep(WHILE);
    let quiet = idle_for();
    // The moment before the end of the traffic counts with what followed.
    assert!(busy < WHILE / 2 && quiet > WHILE / 3, "{busy:?}, {quiet:?}");
}

#[test]
fn two_sessions_on_one_switch_reach_each_other() {
    let bed = Bed::busybox();
    let switch = Switch::new();
    let network = |last| Network::switch(&switch).address([10, 9, 8, last], 24);
    let start = |id: &str, network| {
        let builder = Session::from_snapshot(&bed.store, bed.image)
            .id(id)
            .limits(limits())
            .network(network);
        patient(builder.kernel(kernel())).start()
    };
    let with_gateway = network(2)
        .gateway([10, 9, 8, 1])
        .dns([10, 9, 8, 1])
        .mtu(1400);
    let b = start("b", with_gateway);
    let a = start("a", network(1)).wait().unwrap();
    let b = b.wait().unwrap();
    sh(&b, "ping -c 2 -w 60 10.9.8.1");
    let served = a
        .command("sh")
        .args(["-c", "echo from a | nc -l -p 7000 -w 60"])
        .output();
    check_that_traffic_is_use(&b);
    let got = sh(
        &b,
        "for i in $(seq 50); do nc -w 30 10.9.8.1 7000 < /dev/null && exit; sleep 0.2; done; exit 1",
    );
    assert_eq!(got, "from a\n");
    drop(served.wait().unwrap());
    let facts = "ip route | grep default | awk '{print $3}'; cat /etc/resolv.conf; cat /sys/class/net/eth0/mtu";
    assert_eq!(sh(&b, facts), "10.9.8.1\nnameserver 10.9.8.1\n1400\n");
    let mac = "cat /sys/class/net/eth0/address";
    let own = sh(&b, mac);
    assert_ne!(own, sh(&a, mac));
    bed.shut_down(&b);
    bed.shut_down(&a);
    // The switch was this process'; the session does not come up without one.
    let error = Session::resume(&bed.store, "b").start().wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let b = Session::resume(&bed.store, "b").network(network(3));
    let b = patient(b).start().wait().unwrap();
    assert_eq!(sh(&b, mac), own);
    assert!(sh(&b, "ip addr show eth0").contains("10.9.8.3/24"));
    bed.shut_down(&b);
}

#[test]
fn a_session_on_a_tap_interface_and_behind_passt_tells_when_one_is_gone() {
    let bed = Bed::busybox();
    let tap = Tap::new("sessiontest0", "10.9.7.1/24").unwrap();
    let island = Island::start(b"hello from the island\n").unwrap();
    let (telling, told) = mpsc::channel();
    let builder = Session::from_snapshot(&bed.store, bed.image)
        .id("n")
        .network(Network::tap(tap.name()).address([10, 9, 7, 2], 24))
        .network(
            Network::passt(island.socket())
                .address([10, 8, 0, 1], 24)
                .gateway([10, 8, 0, 254]),
        )
        .on_event(move |event| drop(telling.send(event.clone())));
    let session = patient(builder.kernel(kernel())).start().wait().unwrap();
    sh(&session, "ping -c 2 -w 60 10.9.7.1");
    let page = sh(&session, "wget -q -O - http://10.8.0.254:8080/page");
    assert_eq!(page, "hello from the island\n");
    drop(island);
    let event = next_news(&told);
    assert!(
        matches!(event, Event::NetworkLost { network: 1, .. }),
        "{event:?}"
    );
    sh(
        &session,
        "until [ $(cat /sys/class/net/eth1/carrier) = 0 ]; do sleep 0.1; done",
    );
    sh(&session, "ping -c 2 -w 60 10.9.7.1");
    bed.shut_down(&session);
    // Nobody listens where the session was connected, which names the socket and changes nothing.
    let error = Session::resume(&bed.store, "n").start().wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Host, "{error}");
    assert!(error.to_string().contains("socket"), "{error}");
    let info = bed.store.session("n").unwrap();
    assert_eq!(info.state, SessionState::Stopped);
    drop(tap);
}
