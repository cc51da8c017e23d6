//! Networks as a stock driver uses them: a switch, a TAP interface, and `passt`.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use testbed::Island;
use vmm_core::{
    Event, Exit, FrameStream, Net, NetError, NetTraffic, RateLimit, RateLimits, Switch, Tap, Vm,
};

use super::events::Diary;
use super::machine::{PATIENCE, Screen, config, end};

/// Waits for the other station to answer, for as long as it boots.
fn until_it_answers(address: &str) -> String {
    format!(
        "for attempt in $(seq 60); do ping -c 1 -W 1 {address} >/dev/null && break; done\n\
         ping -c 3 -i 0.2 {address} | grep received\n"
    )
}

fn up(address: &str) -> String {
    format!("ip addr add {address} dev eth0\nip link set eth0 up\n")
}

fn run(program: &str, arguments: &[&str]) {
    let done = Command::new(program).args(arguments).status();
    assert!(done.unwrap().success(), "{program} {arguments:?}");
}

/// What `md5sum` says of bytes.
fn md5sum(bytes: &[u8]) -> String {
    let mut program = Command::new("md5sum");
    let mut child = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

/// What follows `word` on its line.
fn said(screen: &Screen, word: &str) -> String {
    let text = screen.text();
    let line = text.lines().find_map(|line| line.strip_prefix(word));
    line.unwrap_or_else(|| panic!("no {word:?} in:\n{text}"))
        .trim()
        .to_owned()
}

#[test]
fn guests_on_a_switch_reach_each_other() {
    let switch = Switch::new();
    let (first, second) = (Screen::default(), Screen::default());
    let mut listening = config(
        &format!(
            "{}echo address $(cat /sys/class/net/eth0/address)\n\
             nc -l -p 5000 -e md5sum\nsleep 1000",
            up("10.0.0.1/24")
        ),
        &first,
    );
    let mut sending = config(
        &format!(
            "{}echo address $(cat /sys/class/net/eth0/address)\n{}\
             dd if=/dev/urandom of=/out.bin bs=1M count=4 2>/dev/null\n\
             echo sum $(md5sum </out.bin)\n\
             echo answer $(nc 10.0.0.1 5000 </out.bin)\npoweroff -f",
            up("10.0.0.2/24"),
            until_it_answers("10.0.0.1")
        ),
        &second,
    );
    listening.nets = vec![Net::new(switch.port().unwrap())];
    let net = Net::new(switch.port().unwrap());
    let counters = net.counters();
    sending.nets = vec![net];
    let listening = Vm::start(listening).unwrap();
    let begun = Instant::now();
    let sending = Vm::start(sending).unwrap();
    assert!(matches!(end(&sending, &second), Exit::PowerOff));
    listening.stop();
    assert!(matches!(end(&listening, &first), Exit::Stopped));
    println!("{:?}\n{}", begun.elapsed(), second.text());
    assert!(second.text().contains("3 packets received"));
    assert_eq!(said(&second, "answer "), said(&second, "sum "));
    assert_ne!(said(&first, "address "), said(&second, "address "));
    assert!(counters.sent().bytes > 4 << 20);
    assert!(counters.received().frames > 3);
    assert_eq!(counters.sent().dropped, 0);
}

/// Bytes a frame between two counts; more than the MTU if frames were cut by neither side.
fn mean(before: NetTraffic, after: NetTraffic) -> u64 {
    (after.bytes - before.bytes) / (after.frames - before.frames)
}

fn fetch(address: (Ipv4Addr, u16), path: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

#[test]
fn a_guest_and_its_host_reach_each_other_through_a_tap_interface() {
    const NAME: &str = "vmtest0";
    const MTU: u64 = 1400;
    let interface = testbed::Tap::new(NAME, "10.9.0.1/24").unwrap();
    let tap = Tap::open(NAME).unwrap();
    assert!(matches!(Tap::open(NAME), Err(NetError::TapBusy { .. })));
    assert!(matches!(Tap::open("lo"), Err(NetError::NotATap { .. })));
    // A descriptor that somebody else has opened does as well.
    let descriptor = tap.as_fd().try_clone_to_owned().unwrap();
    drop(tap);
    let tap = Tap::from_descriptor(descriptor).unwrap();

    let listener = TcpListener::bind((Ipv4Addr::new(10, 9, 0, 1), 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let screen = Screen::default();
    let mut config = config(
        &format!(
            "{}{}echo mac $(cat /sys/class/net/eth0/address) mtu $(cat /sys/class/net/eth0/mtu)\n\
             dd if=/dev/urandom of=/out.bin bs=1M count=4 2>/dev/null\n\
             nc 10.9.0.1 {port} </out.bin >/in.bin\n\
             cmp /in.bin /out.bin && echo same\n\
             httpd -p 80 -h /; echo serving; sleep 1000",
            up("10.9.0.2/24"),
            until_it_answers("10.9.0.1")
        ),
        &screen,
    );
    let mut net = Net::new(tap);
    net.mac = Some([0x02, 0xab, 0xcd, 0xef, 0x01, 0x02]);
    net.mtu = Some(u16::try_from(MTU).unwrap());
    let counters = net.counters();
    config.nets = vec![net];
    let vm = Vm::start(config).unwrap();

    let (mut stream, _) = listener.accept().unwrap();
    let mut bytes = Vec::new();
    io::copy(&mut stream, &mut bytes).unwrap();
    let before = counters.received();
    stream.write_all(&bytes).unwrap();
    drop(stream);
    screen.wait_for("same\n");
    assert!(mean(before, counters.received()) > MTU);
    screen.wait_for("serving\n");
    let before = counters.sent();
    assert!(fetch((Ipv4Addr::new(10, 9, 0, 2), 80), "/out.bin").ends_with(&bytes));
    assert!(mean(before, counters.sent()) > MTU);
    run("busybox", &["ping", "-c", "2", "-W", "5", "10.9.0.2"]);
    vm.stop();
    assert!(matches!(end(&vm, &screen), Exit::Stopped));
    drop(vm);
    println!("{}\n{counters:?}", screen.text());
    assert_eq!(bytes.len(), 4 << 20);
    let text = screen.text();
    assert!(text.contains("3 packets received"), "{text}");
    assert_eq!(said(&screen, "mac "), "02:ab:cd:ef:01:02 mtu 1400");
    // The interface is free again.
    drop(Tap::open(NAME).unwrap());
    drop(interface);
}

#[test]
fn a_guest_gets_an_address_from_passt_and_fetches_from_the_hosts_loopback() {
    let page: Vec<u8> = (0..3u32 << 20).map(|n| (n % 251) as u8).collect();
    let island = Island::start(&page).unwrap();
    let screen = Screen::default();
    let mut config = config(
        "cat >/dhcp.sh <<'END'\n#!/bin/sh\n\
         [ \"$1\" = bound ] || exit 0\n\
         ip addr add $ip/$mask dev $interface; ip route add default via $router\n\
         echo bound $ip $router\nEND\n\
         chmod +x /dhcp.sh; ip link set eth0 up\n\
         udhcpc -i eth0 -n -q -s /dhcp.sh\n\
         wget -q -O /page http://10.8.0.254:8080/page; echo wget $?\n\
         echo sum $(md5sum </page)\n\
         echo lonely; sleep 1\n\
         ping -c 1 -W 1 10.8.0.254 >/dev/null || echo alone\npoweroff -f",
        &screen,
    );
    config.nets = vec![Net::new(FrameStream::connect(island.socket()).unwrap())];
    let vm = Vm::start(config).unwrap();
    screen.wait_for("lonely\n");
    drop(island);
    assert!(matches!(end(&vm, &screen), Exit::PowerOff));
    let text = screen.text();
    println!("{text}");
    assert!(text.contains("bound 10.8.0.1 10.8.0.254\n"), "{text}");
    let sum = md5sum(&page);
    assert_eq!(said(&screen, "sum ")[..32], sum[..32]);
    assert!(text.contains("alone\n"), "{text}");
}

#[test]
fn limits_on_a_network_hold_and_can_be_lifted_while_it_runs() {
    let switch = Switch::new();
    let (first, second) = (Screen::default(), Screen::default());
    let mut listening = config(
        &format!("{}nc -l -p 5000 -e wc -c\nsleep 1000", up("10.0.0.1/24")),
        &first,
    );
    let mut sending = config(
        &format!(
            "{}{}echo begins\n\
             echo passed $(dd if=/dev/zero bs=64k count=64 2>/dev/null | nc 10.0.0.1 5000)\n\
             poweroff -f",
            up("10.0.0.2/24"),
            until_it_answers("10.0.0.1")
        ),
        &second,
    );
    listening.nets = vec![Net::new(switch.port().unwrap())];
    let net = Net::new(switch.port().unwrap());
    let (limiter, counters) = (net.transmit_limiter.clone(), net.counters());
    let slow = RateLimit {
        per_second: 100 << 10,
        burst: 100 << 10,
    };
    limiter
        .set(RateLimits {
            bytes: Some(slow),
            operations: None,
        })
        .unwrap();
    sending.nets = vec![net];
    let listening = Vm::start(listening).unwrap();
    let sending = Vm::start(sending).unwrap();
    second.wait_for("begins\n");
    let (begun, before) = (Instant::now(), counters.sent().bytes);
    // At least as long as the limit takes to bite; a busy host's guest needs longer to send anything.
    let (passed, took) = loop {
        thread::sleep(std::time::Duration::from_secs(3));
        let (passed, took) = (counters.sent().bytes - before, begun.elapsed());
        if passed > 50 << 10 || took > PATIENCE {
            break (passed, took);
        }
    };
    let most = slow.burst as f64 + took.as_secs_f64() * slow.per_second as f64 + 70e3;
    assert!(passed > 50 << 10, "{passed} bytes");
    assert!((passed as f64) < most, "{passed} bytes in {took:?}");
    assert!(!second.text().contains("passed"));
    limiter.set(RateLimits::default()).unwrap();
    assert!(matches!(end(&sending, &second), Exit::PowerOff));
    listening.stop();
    assert!(matches!(end(&listening, &first), Exit::Stopped));
    assert_eq!(said(&second, "passed "), "4194304");
}

#[test]
fn a_guest_sees_its_cable_pulled_out_and_its_network_go() {
    let screen = Screen::default();
    let mut config = config(
        "ip link set eth0 up\n\
         is() { until [ \"$(cat /sys/class/net/eth0/carrier)\" = $1 ]; do sleep 0.1; done; echo carrier $2; }\n\
         is 1 first; is 0 second; is 1 third; is 0 fourth\n\
         poweroff -f",
        &screen,
    );
    let (ours, peer) = UnixStream::pair().unwrap();
    let net = Net::new(FrameStream::from_socket(ours).unwrap());
    let link = net.link();
    config.nets = vec![net];
    let diary = Diary::of(&mut config);
    let vm = Vm::start(config).unwrap();
    screen.wait_for("carrier first\n");
    link.set_up(false);
    screen.wait_for("carrier second\n");
    link.set_up(true);
    screen.wait_for("carrier third\n");
    drop(peer);
    assert!(matches!(end(&vm, &screen), Exit::PowerOff));
    assert!(
        screen.text().contains("carrier fourth\n"),
        "{}",
        screen.text()
    );
    assert!(!link.is_up());
    let events = diary.events();
    let lost = matches!(
        events[..],
        [Event::NetworkLost { net: 0, .. }, Event::PowerOffAsked]
    );
    assert!(lost, "{events:?}");
}
