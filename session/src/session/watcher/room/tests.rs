use super::*;
use crate::error::Repr;

const MIB: u64 = 1 << 20;
const RESERVE: u64 = 512 * MIB;

fn quotas() -> Quotas {
    Quotas {
        host_reserve: RESERVE,
        ..Quotas::default()
    }
}

fn look(room: &mut Room, free: u64, written: u64) -> Look {
    room.look(Ok(free), written, &quotas())
}

fn full(free: u64) -> Option<Event> {
    Some(Event::HostFull { free })
}

#[test]
fn it_is_looked_often_when_there_is_little_room() {
    let mut room = Room::default();
    look(&mut room, 8 * RESERVE, 0);
    assert_eq!(room.pause(), PAUSE);
    look(&mut room, 8 * RESERVE - 1, 0);
    assert_eq!(room.pause(), SHORT_PAUSE);
    // A disk of 2 GiB/s passes half of the reserve meanwhile.
    assert!(room.pause() * 2 <= Duration::from_secs_f64(0.25));
}

#[test]
fn who_fills_the_disk_is_slowed_down_and_ended_at_once() {
    let mut room = Room::default();
    assert_eq!(look(&mut room, RESERVE, 100 * MIB), Look::default());
    let found = look(&mut room, RESERVE - 200 * MIB, 300 * MIB);
    assert_eq!(found.end, full(RESERVE - 200 * MIB));
    let limit = found.limits.unwrap().bytes.unwrap();
    assert_eq!((limit.per_second, limit.burst), (8 * MIB, 8 * MIB));
}

#[test]
fn a_neighbour_that_hardly_writes_goes_on_while_half_of_the_reserve_is_left() {
    let mut room = Room::default();
    look(&mut room, RESERVE, 100 * MIB);
    let found = look(&mut room, RESERVE - 1, 101 * MIB);
    assert!(found.end.is_none() && found.limits.is_some());
    // Limits that are set stay as they are.
    assert_eq!(look(&mut room, RESERVE / 2, 107 * MIB), Look::default());
    assert_eq!(
        look(&mut room, RESERVE / 2 - 1, 107 * MIB).end,
        full(RESERVE / 2 - 1)
    );
    // Slowly is too much, too, if it goes on.
    assert_eq!(
        look(&mut room, RESERVE / 2, 108 * MIB).end,
        full(RESERVE / 2)
    );
}

#[test]
fn room_that_was_made_lets_a_session_write_as_before() {
    let mut room = Room::default();
    look(&mut room, RESERVE, 0);
    assert!(look(&mut room, RESERVE - 1, 7 * MIB).limits.is_some());
    let found = look(&mut room, RESERVE, 7 * MIB);
    assert_eq!(found.limits, Some(RateLimits::default()));
    // What it writes from now on counts anew.
    assert_eq!(look(&mut room, RESERVE - 1, 14 * MIB).end, None);
}

#[test]
fn a_run_may_write_so_much_and_no_more() {
    let mut room = Room::default();
    let quotas = Quotas {
        bytes_per_run: Some(MIB),
        ..quotas()
    };
    let mut look = |written| room.look(Ok(u64::MAX), written, &quotas).end;
    assert_eq!(look(MIB), None);
    let (written, limit) = (MIB + 1, MIB);
    assert_eq!(look(written), Some(Event::QuotaReached { written, limit }));
}

#[test]
fn a_host_that_cant_tell_ends_nobody_but_is_asked_again_soon() {
    let mut room = Room::default();
    look(&mut room, 8 * RESERVE, 0);
    let error = Repr::NotRunning { state: "of a test" }.into();
    assert_eq!(room.look(Err(error), 9 * MIB, &quotas()), Look::default());
    assert!(room.is_unknown);
    assert_eq!(room.pause(), SHORT_PAUSE);
    look(&mut room, 8 * RESERVE, 0);
    assert!(!room.is_unknown);
}
