use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::*;
use crate::limits::Limit;
use crate::testing::heard;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn events_are_told_in_their_order() {
    let (events, heard) = heard();
    for seconds in 0..100 {
        let took = Duration::from_secs(seconds);
        events.tell(Event::Rebooted { took });
    }
    let expected = (0..100).map(|seconds| Event::Rebooted {
        took: Duration::from_secs(seconds),
    });
    assert_eq!(heard.so_far(&events), expected.collect::<Vec<_>>());
}

#[test]
fn listener_that_panics_hears_the_next_event() {
    let (sender, told) = mpsc::channel();
    let events = Events::to(Box::new(move |event| {
        sender.send(event.clone()).unwrap();
        panic!("a defect of the listener");
    }));
    let events = events.unwrap();
    for event in [Event::PoweredOff, Event::Terminated] {
        events.tell(event.clone());
        assert_eq!(told.recv_timeout(SOON), Ok(event));
    }
}

#[test]
fn listener_that_does_not_return_holds_nobody_up_and_misses_the_last_events() {
    let (release, released) = mpsc::channel::<()>();
    let (sender, told) = mpsc::channel();
    let events = Events::to(Box::new(move |event| {
        sender.send(event.clone()).unwrap();
        let _ = released.recv();
    }));
    let events = events.unwrap();
    events.tell(Event::PoweredOff);
    assert_eq!(told.recv_timeout(SOON), Ok(Event::PoweredOff));
    let trouble = Event::NetworkLost {
        network: 0,
        message: String::new(),
    };
    for _ in 0..MAX_WAITING {
        events.tell(trouble.clone());
    }
    for _ in 0..MAX_WAITING {
        events.tell(Event::LimitReached { limit: Limit::Idle });
    }
    events.tell(Event::Terminated);
    drop((release, events));
    let rest: Vec<_> = told.iter().collect();
    assert_eq!(rest.len(), MAX_WAITING);
    let troubles = rest.iter().filter(|event| **event == trouble).count();
    assert_eq!(troubles, MAX_TROUBLE);
    assert!(!rest.contains(&Event::Terminated));
}

#[test]
fn thread_of_a_listener_ends_with_the_session() {
    let alive = Arc::new(());
    let kept = Arc::clone(&alive);
    let (sender, ended) = mpsc::channel::<()>();
    let events = Events::to(Box::new(move |_| {
        let _ = (&kept, &sender);
    }));
    drop(events.unwrap());
    assert_eq!(
        ended.recv_timeout(SOON),
        Err(mpsc::RecvTimeoutError::Disconnected)
    );
    assert_eq!(Arc::strong_count(&alive), 1);
}
