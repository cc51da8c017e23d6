use super::*;

const MINUTE: Duration = Duration::from_secs(60);
/// What renews a minute's patience.
const ENOUGH: usize = 60 << 10;

/// A minute's patience that began so long ago, in the middle of an answer.
fn waiting(ago: Duration) -> Patience {
    let begun = Instant::now().checked_sub(ago).unwrap();
    Patience {
        answered: Some(begun),
        ..Patience::new(MINUTE).since(begun)
    }
}

#[test]
fn pauses_grow_until_nothing_is_left() {
    let mut patience = Patience::new(MINUTE);
    let pauses: Vec<_> = (0..9).filter_map(|_| patience.next_pause(None)).collect();
    assert_eq!(pauses[0], FIRST_PAUSE);
    assert_eq!(pauses[1], 2 * FIRST_PAUSE);
    assert_eq!(pauses[8], MAX_PAUSE);
    let asked = patience.next_pause(Some(Duration::from_secs(3600)));
    assert_eq!(asked, Some(MAX_PAUSE));
    assert_eq!(Patience::new(Duration::ZERO).next_pause(None), None);
    assert_eq!(Patience::new(MINUTE).once().next_pause(None), None);
    assert_eq!(waiting(2 * MINUTE).next_pause(None), None);
}

#[test]
fn enough_bytes_renew_it_however_many_pieces_they_come_in() {
    let mut patience = waiting(MINUTE - Duration::from_secs(5));
    assert!(!patience.take(ENOUGH - 1).unwrap());
    assert!(patience.take(1).unwrap());
    assert!(patience.since.elapsed() < Duration::from_secs(5));
    assert!(!patience.take(ENOUGH - 1).unwrap());
}

#[test]
fn drips_are_too_slow_once_patience_is_over() {
    assert!(!waiting(MINUTE / 2).take(1).unwrap());
    waiting(MINUTE + Duration::from_secs(1))
        .take(ENOUGH - 1)
        .unwrap_err();
    assert!(waiting(2 * MINUTE).take(ENOUGH).unwrap());
    // One that may not be tried again may take as long for its answer.
    assert!(!waiting(MINUTE / 2).once().take(1).unwrap());
}

#[test]
fn silence_before_an_answer_is_not_held_against_it() {
    let mut patience = waiting(2 * MINUTE);
    patience.ask();
    assert!(!patience.take(1).unwrap());
}
