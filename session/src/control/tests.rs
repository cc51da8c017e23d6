use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{io, iter};

use agent::protocol::{Failure, FailureKind, Fatal, Hello, Root};

use super::timed::Limits;
use super::*;
use crate::ErrorKind;

/// An agent that answers each frame by `answer`, after its first words.
fn agent(
    first: Frame,
    mut answer: impl FnMut(Frame) -> Option<Frame> + Send + 'static,
) -> (UnixStream, JoinHandle<()>) {
    let (host, mut guest) = UnixStream::pair().unwrap();
    let agent = thread::spawn(move || {
        write_frame(&mut guest, &first).unwrap();
        while let Ok(Some(frame)) = read_frame(&mut guest) {
            match answer(frame) {
                Some(frame) => write_frame(&mut guest, &frame).unwrap(),
                None => return,
            }
        }
    });
    (host, agent)
}

fn config() -> Config {
    let root = Root {
        serial: "s".into(),
        fstype: "ext4".into(),
        read_only: false,
    };
    Config {
        hostname: None,
        root,
        env: Vec::new(),
        working_dir: None,
        user: None,
        identity: Box::default(),
        mounts: Vec::new(),
    }
}

fn start(stream: &mut UnixStream) -> Result<Ready, Error> {
    hear_hello(stream)?;
    configure(stream, config())
}

#[test]
fn an_agent_is_greeted_and_configured() {
    let (mut host, agent) = agent(Frame::Hello(Hello::ours()), |frame| match frame {
        Frame::Configure(given) => {
            assert_eq!(given, config());
            Some(Frame::Ready(Ready {
                init: Some("/sbin/init".into()),
                complaints: Vec::new(),
            }))
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(
        start(&mut host).unwrap().init.as_deref(),
        Some("/sbin/init")
    );
    drop(host);
    agent.join().unwrap();
}

#[test]
fn an_agent_that_gives_up_is_quoted() {
    let (mut host, agent) = agent(Frame::Hello(Hello::ours()), |_| {
        Some(Frame::Fatal(Fatal {
            message: "no disk has the serial".into(),
        }))
    });
    let error = start(&mut host).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Guest);
    assert!(
        error.to_string().contains("no disk has the serial"),
        "{error}"
    );
    drop(host);
    agent.join().unwrap();
}

#[test]
fn an_agent_of_another_version_is_named_with_both_versions() {
    let hello = Hello {
        version: 77,
        agent: "agent 9".into(),
    };
    let (mut host, agent) = agent(Frame::Hello(hello), |_| None);
    let error = start(&mut host).unwrap_err();
    let text =
        std::error::Error::source(&error).map_or(error.to_string(), |s| format!("{error}: {s}"));
    assert!(text.contains("77") && text.contains("agent 9"), "{text}");
    drop(host);
    agent.join().unwrap();
}

#[test]
fn answers_that_make_no_sense_are_errors() {
    let refused = Failure {
        kind: FailureKind::System,
        message: "out of threads".into(),
    };
    for (first, answer) in [
        (Frame::Thawed, None),
        (Frame::Hello(Hello::ours()), Some(Frame::Thawed)),
        (Frame::Hello(Hello::ours()), None),
        (Frame::Hello(Hello::ours()), Some(Frame::Failed(refused))),
    ] {
        let (mut host, agent) = agent(first, move |_| answer.clone());
        assert_eq!(start(&mut host).unwrap_err().kind(), ErrorKind::Guest);
        drop(host);
        agent.join().unwrap();
    }
}

impl Limits for UnixStream {
    fn limit(&self, limit: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(limit)?;
        self.set_write_timeout(limit)
    }
}

#[test]
fn an_agent_that_dribbles_its_answer_does_not_stretch_the_deadline() {
    let (host, mut guest) = UnixStream::pair().unwrap();
    let agent = thread::spawn(move || {
        let header = [4, 0, 0, 1, 0];
        for byte in header.into_iter().chain(iter::repeat(b' ')) {
            if guest.write_all(&[byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    });
    let begun = Instant::now();
    let deadline = begun.checked_add(Duration::from_millis(300));
    let error = hear_hello(&mut Timed::new(&host, deadline)).unwrap_err();
    assert!(
        matches!(
            error.io_kind(),
            Some(io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
        ),
        "{error}"
    );
    assert!(begun.elapsed() < Duration::from_secs(5));
    drop(host);
    agent.join().unwrap();
}

#[test]
fn an_agent_that_takes_nothing_does_not_stretch_the_deadline() {
    let (host, guest) = UnixStream::pair().unwrap();
    let deadline = Instant::now().checked_add(Duration::from_millis(100));
    let mut timed = Timed::new(&host, deadline);
    let error = timed.write_all(&vec![0; 16 << 20]).unwrap_err();
    assert!(
        matches!(
            error.kind(),
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
        ),
        "{error}"
    );
    drop(guest);
}

#[test]
fn a_description_that_is_too_long_is_the_callers_fault() {
    let (mut host, agent) = agent(Frame::Hello(Hello::ours()), |_| None);
    hear_hello(&mut host).unwrap();
    let too_long = Config {
        env: vec![format!("X={}", "x".repeat(2 << 20))],
        ..config()
    };
    let error = configure(&mut host, too_long).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    drop(host);
    agent.join().unwrap();
}
