use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};

use agent::protocol::{
    ExitStatus, Failure, MAX_DATA, ProtocolError, Root, TerminalSize, read_frame, write_frame,
};
use nix::sys::signal::SigSet;
use nix::unistd::{getgid, getuid};

use super::super::job::serve;
use super::*;

/// The host's side of one command connection.
struct Host {
    stream: UnixStream,
    server: JoinHandle<()>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Output {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    last: Option<Frame>,
}

fn defaults() -> Config {
    let root = Root {
        serial: String::new(),
        fstype: String::new(),
        read_only: false,
    };
    let user = Some(format!("{}:{}", getuid(), getgid()));
    Config {
        hostname: None,
        root,
        env: vec!["FROM=image".to_owned()],
        working_dir: None,
        user,
        identity: Box::default(),
        mounts: Vec::new(),
    }
}

fn shell(script: &str) -> Exec {
    Exec {
        program: "sh".to_owned(),
        args: vec!["-c".to_owned(), script.to_owned()],
        ..Exec::default()
    }
}

impl Host {
    fn connect() -> Self {
        let (stream, guest) = UnixStream::pair().unwrap();
        let guest = File::from(OwnedFd::from(guest));
        let server = thread::spawn(move || {
            // As the server does: what it blocks must not be blocked in commands.
            SigSet::all().thread_block().unwrap();
            serve(guest, &defaults(), || Some(()));
        });
        Self { stream, server }
    }

    fn run(exec: Exec) -> Self {
        let mut host = Self::connect();
        host.send(Frame::Exec(exec));
        host
    }

    fn send(&mut self, frame: Frame) {
        write_frame(&mut self.stream, &frame).unwrap();
    }

    fn read(&mut self) -> Result<Option<Frame>, ProtocolError> {
        read_frame(&mut self.stream)
    }

    fn output(mut self) -> Output {
        let mut output = Output::default();
        while output.last.is_none() {
            match self.read().unwrap().unwrap() {
                Frame::Stdout(data) => output.stdout.extend(data),
                Frame::Stderr(data) => output.stderr.extend(data),
                last => output.last = Some(last),
            }
        }
        self.close();
        output
    }

    fn close(self) {
        drop(self.stream);
        self.server.join().unwrap();
    }
}

fn failure_of(exec: Exec) -> Failure {
    match Host::run(exec).output().last {
        Some(Frame::Failed(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

fn exit(code: i32) -> Option<Frame> {
    Some(Frame::Exit(ExitStatus::Code(code)))
}

#[test]
fn stdout_stderr_and_status_come_apart() {
    let output = Host::run(shell("echo out; echo err >&2; exit 3")).output();
    assert_eq!(
        output,
        Output {
            stdout: b"out\n".to_vec(),
            stderr: b"err\n".to_vec(),
            last: exit(3)
        }
    );
}

#[test]
fn a_command_starts_where_and_with_what_it_was_told() {
    let mut exec =
        shell("echo $FROM $MORE $HOME $TERM; pwd; cat; ps -o sid= -p $$ | tr -d ' '; echo $$");
    exec.env = vec!["MORE=x".to_owned(), "HOME=/h".to_owned()];
    exec.cwd = Some("/usr".to_owned());
    let output = Host::run(exec).output();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["image x /h dumb", "/usr"]);
    assert_eq!(lines[2], lines[3], "the command leads its session");
}

#[test]
fn input_reaches_the_command_and_its_end_too() {
    let mut exec = shell("cat; echo done >&2");
    exec.stdin = true;
    let mut host = Host::run(exec);
    host.send(Frame::Stdin(b"one ".to_vec()));
    host.send(Frame::Stdin(b"two".to_vec()));
    host.send(Frame::StdinEnd);
    let output = host.output();
    assert_eq!(
        output,
        Output {
            stdout: b"one two".to_vec(),
            stderr: b"done\n".to_vec(),
            last: exit(0)
        }
    );
}

#[test]
fn large_data_passes_both_ways_unchanged() {
    const FRAMES: usize = 800;
    let mut host = Host::run(Exec {
        stdin: true,
        ..shell("cat")
    });
    let mut sender = host.stream.try_clone().unwrap();
    let data = |index: usize| {
        (0..MAX_DATA)
            .map(|at| (at.wrapping_mul(31) ^ index).to_le_bytes()[0])
            .collect::<Vec<_>>()
    };
    let sending = thread::spawn(move || {
        for index in 0..FRAMES {
            write_frame(&mut sender, &Frame::Stdin(data(index))).unwrap();
        }
        write_frame(&mut sender, &Frame::StdinEnd).unwrap();
    });
    let mut waiting = Vec::new();
    let mut index = 0;
    while let Some(Frame::Stdout(bytes)) = host.read().unwrap() {
        waiting.extend(bytes);
        while waiting.len() >= MAX_DATA {
            let rest = waiting.split_off(MAX_DATA);
            assert!(waiting == data(index), "chunk {index} differs");
            waiting = rest;
            index += 1;
        }
    }
    assert_eq!((index, waiting.len()), (FRAMES, 0));
    sending.join().unwrap();
    host.close();
}

#[test]
fn input_that_nobody_reads_is_dropped() {
    let mut host = Host::run(Exec {
        stdin: true,
        ..shell("exec <&-; sleep 0.2; echo end")
    });
    for _ in 0..64 {
        host.send(Frame::Stdin(vec![0; MAX_DATA]));
    }
    assert_eq!(host.output().stdout, b"end\n");
}

#[test]
fn signals_reach_the_whole_group_and_are_reported() {
    let mut host = Host::run(shell("sleep 60 & echo ready; wait"));
    assert_eq!(
        host.read().unwrap(),
        Some(Frame::Stdout(b"ready\n".to_vec()))
    );
    host.send(Frame::Signal(999));
    host.send(Frame::Signal(libc::SIGTERM));
    let started = Instant::now();
    assert_eq!(
        host.output().last,
        Some(Frame::Exit(ExitStatus::Signal(libc::SIGTERM)))
    );
    assert!(
        started.elapsed() < DRAIN,
        "the sleeping child kept the pipes open"
    );
}

#[test]
fn what_a_command_leaves_behind_delays_its_end_only_shortly() {
    let started = Instant::now();
    let output = Host::run(shell("sleep 5 & echo started")).output();
    assert_eq!(
        output,
        Output {
            stdout: b"started\n".to_vec(),
            stderr: Vec::new(),
            last: exit(0)
        }
    );
    assert!(started.elapsed() >= DRAIN && started.elapsed() < Duration::from_secs(4));
}

#[test]
fn what_was_written_before_the_end_reaches_even_a_slow_host() {
    let mut host = Host::run(shell("head -c 3000000 /dev/zero; (sleep 3; yes) & exit 0"));
    let mut received = 0;
    while let Some(Frame::Stdout(data)) = host.read().unwrap() {
        received += data.len();
        thread::sleep(Duration::from_millis(15));
    }
    assert_eq!(received, 3_000_000);
    host.close();
}

#[test]
fn a_host_that_hangs_up_ends_the_command() {
    let script = "trap '' HUP; sleep 61.5 & echo $! $$; wait";
    let mut host = Host::run(shell(script));
    let Some(Frame::Stdout(pids)) = host.read().unwrap() else {
        panic!("no output")
    };
    host.close();
    thread::sleep(Duration::from_millis(50));
    for pid in String::from_utf8(pids).unwrap().split_whitespace() {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(
            state.is_empty() || state.contains(") Z "),
            "{pid} still runs: {state}"
        );
    }
}

#[test]
fn hanging_up_works_while_the_command_reads_nothing_and_while_it_floods() {
    for script in ["sleep 60", "yes"] {
        let mut host = Host::run(Exec {
            stdin: true,
            ..shell(script)
        });
        host.stream.set_nonblocking(true).unwrap();
        while write_frame(&mut host.stream, &Frame::Stdin(vec![0; 1000])).is_ok() {}
        let started = Instant::now();
        host.close();
        assert!(started.elapsed() < Duration::from_secs(3), "{script}");
    }
}

#[test]
fn failures_to_start_say_what_kind_they_are() {
    let exec = |program: &str| Exec {
        program: program.to_owned(),
        ..Exec::default()
    };
    assert_eq!(
        failure_of(exec("no-such-program")).kind,
        FailureKind::NotFound
    );
    assert_eq!(
        failure_of(exec("/etc/passwd")).kind,
        FailureKind::NotExecutable
    );
    assert_eq!(failure_of(exec("")).kind, FailureKind::NotFound);
    assert_eq!(
        failure_of(Exec {
            cwd: Some("/nowhere".to_owned()),
            ..exec("sh")
        })
        .kind,
        FailureKind::NoDirectory
    );
    assert_eq!(
        failure_of(Exec {
            user: Some("no-such-user".to_owned()),
            ..exec("sh")
        })
        .kind,
        FailureKind::NoUser
    );
    assert_eq!(
        failure_of(Exec {
            env: vec!["bad".to_owned()],
            ..exec("sh")
        })
        .kind,
        FailureKind::Invalid
    );
    assert_eq!(
        failure_of(Exec {
            args: vec!["a\0b".to_owned()],
            ..exec("sh")
        })
        .kind,
        FailureKind::Invalid
    );
    assert_eq!(
        failure_of(Exec {
            args: vec!["x".repeat(500_000)],
            ..exec("sh")
        })
        .kind,
        FailureKind::Invalid
    );
}

#[test]
fn a_script_without_its_interpreter_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("script");
    std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let failure = failure_of(Exec {
        program: script.to_str().unwrap().to_owned(),
        ..Exec::default()
    });
    assert_eq!(failure.kind, FailureKind::NotFound);
    assert!(
        failure.message.contains("interpreter"),
        "{}",
        failure.message
    );
}

#[test]
fn nonsense_is_answered_and_ends_the_command() {
    let mut host = Host::connect();
    host.send(Frame::StdinEnd);
    assert!(
        matches!(host.output().last, Some(Frame::Failed(failure)) if failure.kind == FailureKind::Invalid)
    );
    let mut host = Host::run(shell("sleep 60"));
    host.stream.write_all(&[99, 0, 0, 0, 0]).unwrap();
    assert!(
        matches!(host.output().last, Some(Frame::Failed(failure)) if failure.kind == FailureKind::Invalid)
    );
}

#[test]
fn a_guest_without_a_free_place_says_so() {
    let (mut stream, guest) = UnixStream::pair().unwrap();
    let guest = File::from(OwnedFd::from(guest));
    let server = thread::spawn(move || serve(guest, &defaults(), || None::<()>));
    write_frame(&mut stream, &Frame::Exec(shell("true"))).unwrap();
    let answer = read_frame(&mut stream).unwrap();
    assert!(matches!(answer, Some(Frame::Failed(failure)) if failure.kind == FailureKind::Busy));
    drop(stream);
    server.join().unwrap();
}

#[test]
fn a_thousand_commands_leave_no_descriptor_and_no_zombie() {
    // Other tests run beside this one, so the counts may differ by what they use: far less than one a command.
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let zombies = || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let stats =
            processes.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
        stats
            .filter(|stat| stat.contains(&format!(") Z {} ", std::process::id())))
            .count()
    };
    let (descriptors_before, zombies_before) = (descriptors(), zombies());
    for _ in 0..1000 {
        assert_eq!(
            Host::run(Exec {
                program: "true".to_owned(),
                ..Exec::default()
            })
            .output()
            .last,
            exit(0)
        );
    }
    assert!(descriptors() < descriptors_before + 200);
    assert!(zombies() < zombies_before + 50);
}

#[test]
fn a_connection_that_closes_unused_is_forgotten() {
    Host::connect().close();
}

fn terminal(rows: u16, columns: u16, exec: Exec) -> Exec {
    Exec {
        terminal: Some(TerminalSize { rows, columns }),
        ..exec
    }
}

#[test]
fn a_command_with_a_terminal_has_it_as_all_of_its_streams() {
    let script = "test -t 0 && test -t 1 && test -t 2 && tty; stty size; echo $TERM; echo err >&2";
    let output = Host::run(terminal(33, 111, shell(script))).output();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines();
    assert!(lines.next().unwrap().starts_with("/dev/pts/"), "{text}");
    assert_eq!(lines.collect::<Vec<_>>(), ["33 111", "xterm", "err"]);
    assert_eq!((output.stderr.len(), output.last), (0, exit(0)));
}

#[test]
fn a_terminal_without_input_is_at_its_end_and_one_with_some_comes_to_it() {
    assert_eq!(
        Host::run(terminal(2, 2, shell("cat"))).output().last,
        exit(0)
    );
    let mut host = Host::run(Exec {
        stdin: true,
        ..terminal(2, 80, shell("stty -echo; echo ready; cat"))
    });
    assert_eq!(
        host.read().unwrap(),
        Some(Frame::Stdout(b"ready\r\n".to_vec()))
    );
    host.send(Frame::Stdin(b"a line\n".to_vec()));
    host.send(Frame::StdinEnd);
    let output = host.output();
    assert_eq!(
        (output.stdout.as_slice(), output.last),
        (&b"a line\r\n"[..], exit(0))
    );
}

#[test]
fn input_of_a_terminal_ends_in_the_middle_of_a_line_too() {
    let mut host = Host::run(Exec {
        stdin: true,
        ..terminal(2, 80, shell("stty -echo; echo ready; cat; echo; echo over"))
    });
    assert_eq!(
        host.read().unwrap(),
        Some(Frame::Stdout(b"ready\r\n".to_vec()))
    );
    host.send(Frame::Stdin(b"a line\nhalf of".to_vec()));
    host.send(Frame::Stdin(b" one".to_vec()));
    host.send(Frame::Stdin(Vec::new()));
    host.send(Frame::StdinEnd);
    let output = host.output();
    assert_eq!(output.last, exit(0));
    assert_eq!(output.stdout, b"a line\r\nhalf of one\r\nover\r\n");
}

#[test]
fn a_terminal_is_resized_and_its_keys_are_signals() {
    let script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done";
    let mut host = Host::run(Exec {
        stdin: true,
        ..terminal(24, 80, shell(script))
    });
    assert_eq!(
        host.read().unwrap(),
        Some(Frame::Stdout(b"ready\r\n".to_vec()))
    );
    host.send(Frame::Resize(TerminalSize {
        rows: 50,
        columns: 20,
    }));
    assert_eq!(
        host.read().unwrap(),
        Some(Frame::Stdout(b"50 20\r\n".to_vec()))
    );
    host.send(Frame::Stdin(vec![3]));
    let last = host.output().last;
    assert_eq!(last, Some(Frame::Exit(ExitStatus::Signal(libc::SIGINT))));
}

#[test]
fn hanging_up_ends_a_command_with_a_terminal_and_what_it_wrote_last_arrives() {
    let mut host = Host::run(terminal(24, 80, shell("echo ready; exec sleep 61.7")));
    assert_eq!(
        host.read().unwrap(),
        Some(Frame::Stdout(b"ready\r\n".to_vec()))
    );
    let started = Instant::now();
    host.close();
    assert!(started.elapsed() < Duration::from_secs(3));
    let output = Host::run(terminal(24, 80, shell("seq 2000; exit 4"))).output();
    assert!(output.stdout.ends_with(b"\r\n2000\r\n"));
    assert_eq!(output.last, exit(4));
}

#[test]
fn a_command_that_lets_go_of_its_terminal_costs_nothing_while_it_runs() {
    let cpu = || {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        stat.split_whitespace()
            .skip(13)
            .take(2)
            .map(|ticks| ticks.parse::<u64>().unwrap())
            .sum::<u64>()
    };
    let (stream, guest) = UnixStream::pair().unwrap();
    let guest = File::from(OwnedFd::from(guest));
    let server = thread::spawn(move || {
        let before = cpu();
        serve(guest, &defaults(), || Some(()));
        cpu() - before
    });
    let mut host = Host {
        stream,
        server: thread::spawn(|| ()),
    };
    let script = "exec <&- >&- 2>&-; sleep 1";
    host.send(Frame::Exec(terminal(24, 80, shell(script))));
    assert_eq!(host.output().last, exit(0));
    // In ticks of 10 ms.
    assert!(server.join().unwrap() < 50);
}
