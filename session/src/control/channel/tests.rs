use std::os::unix::net::UnixStream;
use std::thread;

use agent::protocol::{FailureKind, MAX_FRAME, read_frame, write_frame};

use super::*;

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(20);

fn channel() -> (Channel<UnixStream>, UnixStream) {
    let (host, guest) = UnixStream::pair().unwrap();
    (Channel::new(host), guest)
}

fn within(channel: &mut Channel<UnixStream>, patience: Duration) -> Talk<'_, UnixStream> {
    channel.until(Some(Instant::now() + patience))
}

fn bytes(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes).unwrap();
    bytes
}

fn has_timed_out<T>(result: Result<T, Error>) -> bool {
    let kind = result.err().and_then(|error| error.io_kind());
    matches!(
        kind,
        Some(io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
    )
}

#[test]
fn an_answer_that_comes_too_late_is_not_taken_for_the_next_one() {
    let (mut host, mut guest) = channel();
    let told = within(&mut host, SHORT).notice("soon".into());
    assert!(has_timed_out(told));
    // A part of the answer, which waits for its rest.
    let noticed = bytes(&Frame::Noticed);
    guest.write_all(&noticed[..3]).unwrap();
    assert!(has_timed_out(within(&mut host, SHORT).freeze(1)));
    guest.write_all(&noticed[3..]).unwrap();
    within(&mut host, SHORT).let_thaw().unwrap();
    for frame in [
        Frame::Frozen(Frozen { took_us: 7 }),
        Frame::Thawed,
        Frame::Frozen(Frozen { took_us: 8 }),
    ] {
        guest.write_all(&bytes(&frame)).unwrap();
    }
    let froze = within(&mut host, LONG).freeze(1).unwrap();
    assert_eq!(froze, Duration::from_micros(8));
}

#[test]
fn a_question_that_was_sent_in_part_is_gone_on_with() {
    let (mut host, mut guest) = channel();
    let long = "x".repeat(MAX_FRAME - 100);
    // A slow host may not come to send any of it in time.
    while host.unsent.is_empty() {
        assert!(has_timed_out(within(&mut host, SHORT).notice(long.clone())));
    }
    // Nothing of this one could be sent.
    assert!(has_timed_out(within(&mut host, SHORT).freeze(1)));
    let agent = thread::spawn(move || {
        let mut heard = Vec::new();
        while let Ok(Some(frame)) = read_frame(&mut guest) {
            let answer = match frame {
                Frame::Notice(_) => Frame::Noticed,
                _ => Frame::Thawed,
            };
            heard.push(frame);
            write_frame(&mut guest, &answer).unwrap();
        }
        heard
    });
    within(&mut host, LONG).thaw().unwrap();
    drop(host);
    let heard = agent.join().unwrap();
    assert!(matches!(heard[..], [Frame::Notice(_), Frame::Thaw]));
}

#[test]
fn a_power_off_is_asked_for_whatever_is_owed_and_its_refusal_says_why() {
    let (mut host, mut guest) = channel();
    assert!(has_timed_out(within(&mut host, SHORT).freeze(1)));
    let mut talk = within(&mut host, LONG);
    talk.ask_to_power_off(9).unwrap();
    let frames = [(); 2].map(|()| read_frame(&mut guest).unwrap().unwrap());
    assert_eq!(frames[1], Frame::PowerOff(PowerOff { grace_ms: 9 }));
    let refused = Frame::Failed(Failure {
        kind: FailureKind::System,
        message: "out of threads".into(),
    });
    for answer in [Frame::Frozen(Frozen { took_us: 7 }), refused] {
        guest.write_all(&bytes(&answer)).unwrap();
    }
    let error = talk.hear_powering_off().unwrap_err();
    assert!(error.to_string().contains("out of threads"), "{error}");
    drop(guest);
    assert!(talk.hear_powering_off().is_err());
}

#[test]
fn answers_of_another_kind_and_the_end_are_errors() {
    let (mut host, mut guest) = channel();
    guest.write_all(&bytes(&Frame::Noticed)).unwrap();
    let error = within(&mut host, LONG).thaw().unwrap_err();
    assert!(error.to_string().contains("something else"), "{error}");
    drop(guest);
    assert!(within(&mut host, LONG).thaw().is_err());
}
