use std::time::Duration;

use proptest::prelude::*;

use super::table::{AGE, MAX_ADDRESSES};
use super::*;
use crate::net::MAX_FRAME_BYTES;

fn mac(number: u8) -> Mac {
    [2, 0, 0, 0, 0, number]
}

fn frame(target: Mac, source: Mac, payload: &[u8]) -> Vec<u8> {
    [&target[..], &source, &[8, 0], payload].concat()
}

fn send(port: &mut SwitchPort, frame: &[u8]) {
    port.send(frame, &OffloadHeader::default()).unwrap();
}

fn receive(port: &mut SwitchPort) -> Option<Vec<u8>> {
    let mut frame = vec![0; MAX_FRAME_BYTES];
    let length = port.receive(&mut frame, &mut OffloadHeader::default());
    match length {
        Ok(length) => Some(frame[..length].to_vec()),
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            None
        }
    }
}

#[test]
fn unknown_and_group_addresses_reach_all_others_and_known_ones_one() {
    let switch = Switch::new();
    let [mut a, mut b, mut c] = [(); 3].map(|()| switch.port().unwrap());
    for target in [mac(9), [0xff; 6], [1, 0, 0x5e, 0, 0, 1]] {
        let flooded = frame(target, mac(1), b"to all");
        send(&mut a, &flooded);
        assert_eq!(receive(&mut a), None);
        assert_eq!(receive(&mut b), Some(flooded.clone()));
        assert_eq!(receive(&mut c), Some(flooded));
    }
    let answer = frame(mac(1), mac(2), b"to one");
    send(&mut b, &answer);
    assert_eq!(receive(&mut a), Some(answer));
    assert_eq!(receive(&mut c), None);
    // To itself: a switch sends nothing back where it came from.
    send(&mut b, &frame(mac(2), mac(3), b""));
    assert_eq!([&mut a, &mut b, &mut c].map(receive), [None, None, None]);
}

#[test]
fn a_station_that_moves_is_found_where_it_is() {
    let switch = Switch::new();
    let [mut a, mut b, mut c] = [(); 3].map(|()| switch.port().unwrap());
    for from in [&mut a, &mut b] {
        send(from, &frame([0xff; 6], mac(1), b""));
    }
    while receive(&mut a).is_some() || receive(&mut b).is_some() || receive(&mut c).is_some() {}
    send(&mut c, &frame(mac(1), mac(3), b"there"));
    assert_eq!(receive(&mut a), None);
    assert!(receive(&mut b).is_some());
}

#[test]
fn a_port_that_does_not_keep_up_loses_frames_and_holds_up_nobody() {
    let switch = Switch::new();
    let [mut a, mut slow, mut other] = [(); 3].map(|()| switch.port().unwrap());
    let long = frame([0xff; 6], mac(1), &vec![0; MAX_FRAME_BYTES - 14]);
    for _ in 0..40 {
        send(&mut a, &long);
        assert!(receive(&mut other).is_some());
    }
    let kept = std::iter::from_fn(|| receive(&mut slow)).count();
    assert_eq!(kept, MAX_QUEUED_BYTES / MAX_FRAME_BYTES);
    assert_eq!(switch.dropped_frames(), 40 - kept as u64);
    for _ in 0..MAX_QUEUED_FRAMES + 5 {
        send(&mut a, &frame([0xff; 6], mac(1), b""));
        assert!(receive(&mut other).is_some());
    }
    let kept = std::iter::from_fn(|| receive(&mut slow)).count();
    assert_eq!(kept, MAX_QUEUED_FRAMES);
}

#[test]
fn a_port_that_is_dropped_leaves() {
    let switch = Switch::new();
    let [mut a, mut b, mut c] = [(); 3].map(|()| switch.port().unwrap());
    send(&mut b, &frame([0xff; 6], mac(2), b""));
    let (suggested, gone) = (b.suggested_mac(), b.port.number);
    drop(b);
    while receive(&mut a).is_some() || receive(&mut c).is_some() {}
    assert_eq!(switch.ports().len(), 2);
    // Its station is unknown again, so that it is found at another port.
    send(&mut a, &frame(mac(2), mac(1), b""));
    assert!(receive(&mut c).is_some());
    let next = switch.port().unwrap();
    assert_ne!((next.suggested_mac(), next.port.number), (suggested, gone));
}

#[test]
fn guests_that_invent_addresses_do_not_push_out_others() {
    let now = Instant::now();
    let mut table = Table::default();
    table.learn(mac(1), 0, now);
    for number in 0..10_000u16 {
        let [high, low] = number.to_be_bytes();
        table.learn([2, 1, 0, 0, high, low], 1, now);
    }
    assert_eq!(table.find(mac(1), now), Some(0));
    let kept = (0..10_000u16).filter(|number| {
        let [high, low] = number.to_be_bytes();
        table.find([2, 1, 0, 0, high, low], now).is_some()
    });
    assert_eq!(kept.count(), MAX_ADDRESSES);
}

#[test]
fn malformed_frames_go_nowhere() {
    let switch = Switch::new();
    let [mut a, mut b] = [(); 2].map(|()| switch.port().unwrap());
    for length in 0..14 {
        send(&mut a, &[0xff; 14][..length]);
    }
    assert_eq!(receive(&mut b), None);
}

#[test]
fn ports_work_from_many_threads_at_once() {
    const FRAMES: usize = 2000;
    let switch = Switch::new();
    let [mut a, mut b, mut c] = [(); 3].map(|()| switch.port().unwrap());
    send(&mut c, &frame([0xff; 6], mac(3), b""));
    assert!(receive(&mut a).is_some() && receive(&mut b).is_some());
    let got = std::thread::scope(|scope| {
        for (port, number) in [(&mut a, 1u8), (&mut b, 2)] {
            scope.spawn(move || {
                for _ in 0..FRAMES {
                    send(port, &frame(mac(3), mac(number), &[number; 200]));
                    std::thread::yield_now();
                }
            });
        }
        let mut got = 0;
        while got + usize::try_from(switch.dropped_frames()).unwrap() < 2 * FRAMES {
            if let Some(frame) = receive(&mut c) {
                let number = frame[11];
                assert_eq!(frame[14..], [number; 200]);
                got += 1;
            }
        }
        got
    });
    assert!(got > 0);
    assert_eq!(receive(&mut c), None);
}

/// A step of the model.
#[derive(Clone, Copy, Debug)]
enum Step {
    Send { port: usize, source: u8, target: u8 },
    Wait(u64),
    Leave(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let address = 0u8..6;
    prop_oneof![
        10 => (0usize..4, address.clone(), address)
            .prop_map(|(port, source, target)| Step::Send { port, source, target }),
        2 => (1u64..400).prop_map(Step::Wait),
        1 => (0usize..4).prop_map(Step::Leave),
    ]
}

proptest! {
    /// The switch does what a list of everything that was ever heard says.
    #[test]
    fn frames_go_where_a_naive_model_says(steps in proptest::collection::vec(step(), 0..60)) {
        let switch = Switch::new();
        let mut ports: Vec<_> = (0..4).map(|_| switch.port().ok()).collect();
        let mut heard: Vec<(u8, usize, Instant)> = Vec::new();
        let mut now = Instant::now();
        for step in steps {
            match step {
                Step::Wait(seconds) => now += Duration::from_secs(seconds),
                Step::Leave(port) => {
                    ports[port] = None;
                    // Who was heard there last is unknown from now on.
                    let gone = |address: u8| {
                        let last = heard.iter().rev().find(|(other, ..)| *other == address);
                        last.is_some_and(|(_, at, _)| *at == port)
                    };
                    let gone: Vec<u8> = (0..6).filter(|address| gone(*address)).collect();
                    heard.retain(|(address, ..)| !gone.contains(address));
                }
                Step::Send { port, source, target } => {
                    let Some(number) = ports[port].as_ref().map(|p| p.port.number) else {
                        continue;
                    };
                    let sent = frame(mac(target), mac(source), b"x");
                    switch.forward(number, &sent, now);
                    heard.push((source, port, now));
                    let last = heard.iter().rev().find(|(address, ..)| *address == target);
                    let known = last.filter(|(.., at)| now - *at < AGE).map(|(_, at, _)| *at);
                    for (index, other) in ports.iter_mut().enumerate() {
                        let Some(other) = other else { continue };
                        let expected = index != port && known.is_none_or(|at| at == index);
                        prop_assert_eq!(receive(other).is_some(), expected, "port {}", index);
                    }
                }
            }
        }
    }
}
