use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use agent::protocol::{Failure, FailureKind, Frame, read_frame, write_frame};

use super::*;
use crate::ErrorKind;

impl Connection for UnixStream {
    fn try_clone(&self) -> io::Result<Box<dyn Connection>> {
        Ok(Box::new(UnixStream::try_clone(self)?))
    }

    fn shutdown_write(&self) -> io::Result<()> {
        self.shutdown(std::net::Shutdown::Write)
    }

    fn limit_reads(&self, limit: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(limit)
    }

    fn limit_writes(&self, limit: Option<Duration>) -> io::Result<()> {
        self.set_write_timeout(limit)
    }

    fn hang_up(&self) {
        drop(self.shutdown(std::net::Shutdown::Both));
    }
}

type Script = Box<dyn FnOnce(&mut UnixStream, Exec) + Send>;

/// A guest whose agent serves one command as `script` says.
struct FakeGuest(Mutex<Option<Script>>);

impl fmt::Debug for FakeGuest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeGuest")
    }
}

impl Guest for FakeGuest {
    fn connect(&self) -> Result<Box<dyn Connection>, Error> {
        let (host, mut guest) = UnixStream::pair().unwrap();
        let script = self.0.lock().unwrap().take().unwrap();
        thread::spawn(move || match read_frame(&mut guest).unwrap() {
            Some(Frame::Exec(exec)) => script(&mut guest, exec),
            other => panic!("{other:?}"),
        });
        Ok(Box::new(host))
    }

    fn listen(&self) -> Result<Arc<dyn Incoming>, Error> {
        panic!("no command listens")
    }

    fn close_at_end(&self, _: std::sync::Weak<dyn Close>) -> Result<(), Error> {
        panic!("no command stays open")
    }

    fn explain(&self, _: Error) -> Error {
        Repr::GuestGone {
            exit: "it powered itself off".into(),
        }
        .into()
    }
}

fn command(script: impl FnOnce(&mut UnixStream, Exec) + Send + 'static) -> Command {
    let guest = FakeGuest(Mutex::new(Some(Box::new(script))));
    Command::new(Arc::new(guest), "prog".into())
}

fn say(stream: &mut UnixStream, frames: impl IntoIterator<Item = Frame>) {
    for frame in frames {
        write_frame(stream, &frame).unwrap();
    }
}

fn exit(code: i32) -> Frame {
    Frame::Exit(agent::protocol::ExitStatus::Code(code))
}

/// Reads input frames up to the end of the input.
fn input(stream: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        match read_frame(stream).unwrap() {
            Some(Frame::Stdin(more)) => bytes.extend(more),
            Some(Frame::StdinEnd) => return bytes,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_agent_is_told_everything_and_its_answers_come_apart() {
    let output = command(|stream, exec| {
        let expected = Exec {
            program: "prog".into(),
            args: vec!["a".into(), "b".into(), "c".into()],
            env: vec!["X=1".into()],
            cwd: Some("/tmp".into()),
            user: Some("nobody".into()),
            stdin: false,
            once: None,
            terminal: None,
        };
        assert_eq!(exec, expected);
        let frames = [
            Frame::Stdout(b"o1".to_vec()),
            Frame::Stderr(b"e".to_vec()),
            Frame::Stdout(b"o2".to_vec()),
            exit(3),
        ];
        say(stream, frames);
    })
    .arg("a")
    .args(["b", "c"])
    .env("X", "1")
    .cwd("/tmp")
    .user("nobody")
    .output()
    .wait()
    .unwrap();
    assert_eq!(
        (&output.stdout[..], &output.stderr[..]),
        (&b"o1o2"[..], &b"e"[..])
    );
    assert_eq!(output.status, ExitStatus::Code(3));
    assert!(!output.status.success());
}

#[test]
fn a_signal_is_a_status_of_its_own() {
    let status = command(|stream, _| {
        let killed = agent::protocol::ExitStatus::Signal(15);
        say(
            stream,
            [Frame::Stdout(b"dropped".to_vec()), Frame::Exit(killed)],
        );
    })
    .status()
    .wait()
    .unwrap();
    assert_eq!(status, ExitStatus::Signal(15));
    assert_eq!(status.shell_code(), 143);
}

#[test]
fn bytes_and_readers_are_fed_to_their_end() {
    let big: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    for reader in [false, true] {
        let echo = command(|stream, exec| {
            assert!(exec.stdin);
            let bytes = input(stream);
            for piece in bytes.chunks(60_000) {
                say(stream, [Frame::Stdout(piece.to_vec())]);
            }
            say(stream, [exit(0)]);
        });
        let echo = if reader {
            echo.stdin_from(io::Cursor::new(big.clone()))
        } else {
            echo.stdin(big.clone())
        };
        assert!(echo.output().wait().unwrap().stdout == big);
    }
}

#[test]
fn a_command_that_ends_without_its_input_just_ends() {
    let status = command(|stream, _| say(stream, [exit(0)]))
        .stdin(vec![0; 1 << 20])
        .status()
        .wait();
    assert_eq!(status.unwrap(), ExitStatus::Code(0));
}

#[test]
fn input_that_fails_is_said_to() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("a broken reader"))
        }
    }
    let error = command(|stream, _| assert!(read_frame(stream).unwrap().is_none()))
        .stdin_from(Broken)
        .output()
        .wait()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Command);
    let text = crate::error::one_line(&error);
    assert!(text.contains("a broken reader"), "{text}");
}

#[test]
fn a_refusal_has_the_agents_words_and_kind() {
    let refusal = Failure {
        kind: FailureKind::NotFound,
        message: "there is no prog".into(),
    };
    let error = command(|stream, _| say(stream, [Frame::Failed(refusal)]))
        .output()
        .wait()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Command);
    assert!(error.is_no_such_program());
    assert!(error.to_string().contains("there is no prog"), "{error}");
}

#[test]
fn a_guest_that_goes_away_is_said_to_be_gone() {
    let half_a_frame: &[u8] = &[20, 9, 0, 0, 0, b'x'];
    for bytes in [&[][..], half_a_frame] {
        let error = command(move |stream, _| stream.write_all(bytes).unwrap())
            .output()
            .wait()
            .unwrap_err();
        assert!(error.to_string().contains("the guest is gone"), "{error}");
    }
}

#[test]
fn an_agent_that_talks_nonsense_is_an_error() {
    let error = command(|stream, _| say(stream, [Frame::Thawed]))
        .output()
        .wait()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Guest);
}

#[test]
fn output_past_the_limit_is_an_error_and_ends_the_command() {
    let (hung_up, is_hung_up) = std::sync::mpsc::channel();
    let error = command(move |stream, _| {
        while write_frame(stream, &Frame::Stdout(vec![0; 1000])).is_ok() {}
        hung_up.send(()).unwrap();
    })
    .output_limit(10_000)
    .output()
    .wait()
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Command);
    assert!(error.to_string().contains("10000"), "{error}");
    is_hung_up.recv_timeout(Duration::from_secs(10)).unwrap();
}

#[test]
fn a_command_that_is_too_long_is_not_sent() {
    let error = command(|_, _| ())
        .arg("x".repeat(2 << 20))
        .status()
        .wait()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Command);
}

#[test]
fn a_process_is_read_and_written_while_it_runs() {
    let mut process = command(|stream, exec| {
        assert!(exec.stdin);
        say(stream, [Frame::Stdout(b"ready\n".to_vec())]);
        assert_eq!(read_frame(stream).unwrap(), Some(Frame::Signal(10)));
        let bytes = input(stream);
        say(stream, [Frame::Stderr(bytes), exit(0)]);
    })
    .stdin_piped()
    .spawn()
    .wait()
    .unwrap();
    let mut ready = [0; 6];
    process
        .take_stdout()
        .unwrap()
        .read_exact(&mut ready)
        .unwrap();
    assert_eq!(&ready, b"ready\n");
    process.control().signal(10).unwrap();
    let mut stdin = process.take_stdin().unwrap();
    stdin.write_all(b"some ").unwrap();
    stdin.write_all(b"input").unwrap();
    drop(stdin);
    let mut stderr = process.take_stderr().unwrap();
    let status = process.wait();
    let mut text = String::new();
    stderr.read_to_string(&mut text).unwrap();
    assert_eq!(text, "some input");
    assert_eq!(status.wait().unwrap(), ExitStatus::Code(0));
}

#[test]
fn output_that_nobody_takes_does_not_hold_a_process_up() {
    let process = command(|stream, _| {
        for _ in 0..200 {
            say(
                stream,
                [Frame::Stdout(vec![0; 1000]), Frame::Stderr(vec![0; 1000])],
            );
        }
        say(stream, [exit(0)]);
    })
    .spawn()
    .wait()
    .unwrap();
    assert_eq!(process.wait().wait().unwrap(), ExitStatus::Code(0));
}

#[test]
fn a_process_that_reads_nothing_can_still_be_killed() {
    let (hung_up, is_hung_up) = std::sync::mpsc::channel();
    let mut process = command(move |stream, _| {
        let mut probe = stream.try_clone().unwrap();
        // Input piles up until the host waits; only the end of the connection is looked for.
        while probe.write_all(&[]).is_ok() && write_frame(stream, &Frame::Stderr(vec![1])).is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
        hung_up.send(()).unwrap();
    })
    .stdin_piped()
    .spawn()
    .wait()
    .unwrap();
    let mut stdin = process.take_stdin().unwrap();
    let writer = thread::spawn(move || while stdin.write_all(&[0; 60_000]).is_ok() {});
    thread::sleep(Duration::from_millis(50));
    process.control().kill();
    is_hung_up.recv_timeout(Duration::from_secs(10)).unwrap();
    writer.join().unwrap();
    assert_eq!(process.wait().wait().unwrap(), ExitStatus::Signal(9));
}

#[test]
fn a_process_whose_output_is_taken_and_not_read_can_still_be_killed() {
    let chatter = command(
        |stream, _| {
            while write_frame(stream, &Frame::Stdout(vec![b'x'; 1000])).is_ok() {}
        },
    );
    let mut process = chatter.spawn().wait().unwrap();
    let mut stdout = process.take_stdout().unwrap();
    // Until all that is between the command and its reader is full.
    thread::sleep(Duration::from_millis(50));
    process.control().kill();
    let (ended, is_ended) = std::sync::mpsc::channel();
    thread::spawn(move || ended.send(process.wait().wait()).unwrap());
    let status = is_ended.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(status.unwrap(), ExitStatus::Signal(9));
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    assert!(!rest.is_empty() && rest.iter().all(|byte| *byte == b'x'));
}

#[test]
fn output_that_is_taken_and_dropped_does_not_hold_a_process_up() {
    let mut process = command(|stream, _| {
        for _ in 0..200 {
            say(stream, [Frame::Stdout(vec![0; 1000])]);
        }
        say(stream, [exit(0)]);
    })
    .spawn()
    .wait()
    .unwrap();
    let stdout = process.take_stdout().unwrap();
    thread::sleep(Duration::from_millis(20));
    drop(stdout);
    assert_eq!(process.wait().wait().unwrap(), ExitStatus::Code(0));
}

#[test]
fn a_terminal_has_a_size_from_the_start_and_gets_another() {
    let size = |rows, columns| TerminalSize { rows, columns };
    let process = command(move |stream, exec| {
        assert_eq!(exec.terminal, Some(size(24, 80)));
        assert_eq!(read_frame(stream).unwrap(), Some(Frame::Resize(size(1, 2))));
        say(stream, [exit(0)]);
    })
    .terminal(size(24, 80))
    .spawn()
    .wait()
    .unwrap();
    let refused = process.control().resize(size(0, 5)).unwrap_err();
    assert!(refused.is_invalid_input());
    process.control().resize(size(1, 2)).unwrap();
    assert_eq!(process.wait().wait().unwrap(), ExitStatus::Code(0));
    for (rows, columns) in [(0, 1), (1, 0)] {
        let none = command(|_, _| ()).terminal(size(rows, columns)).status();
        assert!(none.wait().unwrap_err().is_invalid_input());
    }
}

#[test]
fn a_variable_that_is_none_is_refused_before_the_guest_hears_of_it() {
    for (name, value) in [("", "x"), ("A=B", "c"), ("A\0", "c"), ("A", "c\0")] {
        let command = command(|_, _| panic!("the guest was asked")).env(name, value);
        let error = command.env("OTHER", "1").output().wait().unwrap_err();
        assert!(error.is_invalid_input(), "{error}");
    }
}

#[test]
fn more_output_at_once_than_a_frame_has_is_no_output() {
    for frame in [Frame::Stdout, Frame::Stderr] {
        let flood = frame(vec![0; agent::protocol::MAX_DATA + 1]);
        let error = command(|stream, _| say(stream, [flood])).status().wait();
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Guest);
    }
}

#[test]
fn a_command_whose_time_is_over_is_hung_up_on_whatever_its_agent_says() {
    const LIMIT: Duration = Duration::from_millis(300);
    let scripts: [fn(&mut UnixStream); 2] = [
        |_| {},
        // A frame that never ends, a byte at a time.
        |stream| {
            let mut header = vec![20];
            header.extend(60_000_u32.to_le_bytes());
            let _ = stream.write_all(&header);
            while stream.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        },
    ];
    for script in scripts {
        let (told, hung_up) = mpsc::channel();
        let command = command(move |stream, _| {
            script(stream);
            told.send(read_frame(stream).map(|frame| frame.is_none()))
                .unwrap();
        });
        let begun = Instant::now();
        let error = command.timeout(LIMIT).output().wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert!(begun.elapsed() >= LIMIT && begun.elapsed() < 30 * LIMIT);
        let heard = hung_up.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(heard.is_err() || matches!(heard, Ok(true)));
    }
}

#[test]
fn a_command_that_ends_in_time_is_none_the_worse_for_a_limit() {
    for limit in [Duration::from_secs(60), Duration::MAX] {
        let command = command(|stream, _| {
            for piece in [&b"one "[..], b"two"] {
                write_frame(stream, &Frame::Stdout(piece.to_vec())).unwrap();
                thread::sleep(Duration::from_millis(20));
            }
            let end = agent::protocol::ExitStatus::Code(0);
            write_frame(stream, &Frame::Exit(end)).unwrap();
        });
        let output = command.timeout(limit).output().wait().unwrap();
        assert_eq!(output.stdout, b"one two");
    }
}
