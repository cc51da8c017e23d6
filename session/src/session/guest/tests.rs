use std::cell::Cell;

use super::*;

fn timed_out() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

#[test]
fn a_pause_takes_nothing_of_the_time_to_connect() {
    let pauses = Cell::new(0);
    let tries = Cell::new(0);
    let connect = || {
        tries.set(tries.get() + 1);
        if tries.get() < 3 {
            pauses.set(pauses.get() + 1);
            return Err(timed_out());
        }
        Ok(tries.get())
    };
    let connected = connect_between_pauses(|| Ok(pauses.get()), connect).unwrap();
    assert_eq!(connected, 3);
}

#[test]
fn an_agent_that_does_not_answer_in_its_time_is_an_error() {
    let tries = Cell::new(0);
    let connect = || {
        tries.set(tries.get() + 1);
        Err::<(), _>(timed_out())
    };
    let error = connect_between_pauses(|| Ok(1), connect).unwrap_err();
    assert_eq!(error.io_kind(), Some(io::ErrorKind::TimedOut));
    assert_eq!(tries.get(), 1);
}

#[test]
fn a_session_that_ends_during_a_pause_is_waited_for_no_more() {
    let asked = Cell::new(0);
    let await_pause = || {
        asked.set(asked.get() + 1);
        if asked.get() > 1 {
            return Err(not_running("it is being ended"));
        }
        Ok(0)
    };
    let error = connect_between_pauses(await_pause, || Err::<(), _>(timed_out())).unwrap_err();
    assert!(error.to_string().contains("being ended"), "{error}");
}
