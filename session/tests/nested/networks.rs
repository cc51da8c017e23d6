//! Guests with networks.

use session::{ErrorKind, Network, Session, Switch};

use super::bed::{Bed, kernel, patient, sh};

#[test]
fn two_sessions_on_one_switch_reach_each_other() {
    let bed = Bed::busybox();
    let switch = Switch::new();
    let network = |last| Network::switch(&switch).address([10, 9, 8, last], 24);
    let start = |id: &str, network| {
        let builder = Session::from_snapshot(&bed.store, bed.image)
            .id(id)
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
