//! Commands in a real guest.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use session::{ErrorKind, ExitStatus};

use super::bed::{Bed, noise, sh};

/// One guest for all of it: a boot costs more than what is tested.
#[test]
fn commands_have_streams_an_environment_and_a_status() {
    let bed = Bed::busybox();
    let session = bed.start("commands");
    let shell = |script: &str| session.command("sh").args(["-c", script]);

    let output = shell("echo out; echo err >&2; exit 7")
        .output()
        .wait()
        .unwrap();
    assert_eq!(output.status, ExitStatus::Code(7));
    assert_eq!(
        (&output.stdout[..], &output.stderr[..]),
        (&b"out\n"[..], &b"err\n"[..])
    );

    let output = shell("echo $X $Y; pwd; id -u")
        .env("X", "1")
        .env("Y", "a b")
        .cwd("/tmp");
    assert_eq!(output.output().wait().unwrap().stdout, b"1 a b\n/tmp\n0\n");
    let user = shell("id -u; id -g")
        .user("65534:65534")
        .output()
        .wait()
        .unwrap();
    assert_eq!(user.stdout, b"65534\n65534\n");

    let killed = shell("kill -TERM $$").status().wait().unwrap();
    assert_eq!((killed, killed.shell_code()), (ExitStatus::Signal(15), 143));
    let nothing = session.command("cat").output().wait().unwrap();
    assert_eq!(
        (nothing.status, nothing.stdout.len()),
        (ExitStatus::Code(0), 0)
    );

    let bytes = noise(5_000_000);
    let echo = session
        .command("cat")
        .stdin(bytes.clone())
        .output()
        .wait()
        .unwrap();
    assert!(
        echo.stdout == bytes,
        "{} bytes came back",
        echo.stdout.len()
    );

    let missing = session
        .command("no-such-program")
        .status()
        .wait()
        .unwrap_err();
    assert!(missing.is_no_such_program(), "{missing}");
    let nowhere = session
        .command("true")
        .cwd("/nowhere")
        .status()
        .wait()
        .unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::Command, "{nowhere}");

    let sessions: Vec<_> = (0..20)
        .map(|n| shell(&format!("sleep 0.2; echo {n}")).output())
        .collect();
    for (number, operation) in sessions.into_iter().enumerate() {
        let output = operation.wait().unwrap();
        assert_eq!(output.stdout, format!("{number}\n").into_bytes());
    }
    bed.shut_down(&session);
}

#[test]
fn a_process_is_talked_to_signalled_and_killed() {
    let bed = Bed::busybox();
    let session = bed.start("process");
    let script = "echo ready; read line; echo got $line >&2; trap 'echo trapped; exit 5' USR1; \
                  echo waiting; while :; do sleep 0.1; done";
    let command = session.command("sh").args(["-c", script]).stdin_piped();
    let mut process = command.spawn().wait().unwrap();
    let mut stdin = process.take_stdin().unwrap();
    let mut stdout = process.take_stdout().unwrap();
    let mut stderr = process.take_stderr().unwrap();
    let mut ready = [0; 6];
    stdout.read_exact(&mut ready).unwrap();
    stdin.write_all(b"a line\n").unwrap();
    let mut got = [0; 11];
    stderr.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"got a line\n");
    let mut waiting = [0; 8];
    stdout.read_exact(&mut waiting).unwrap();
    process.control().signal(10).unwrap();
    assert_eq!(process.wait().wait().unwrap(), ExitStatus::Code(5));
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "trapped\n");

    let stubborn = "trap '' TERM HUP INT; while :; do sleep 0.1; done";
    let process = session
        .command("sh")
        .args(["-c", stubborn])
        .spawn()
        .wait()
        .unwrap();
    let begun = Instant::now();
    process.control().kill();
    assert_eq!(process.wait().wait().unwrap(), ExitStatus::Signal(9));
    assert!(begun.elapsed() < Duration::from_secs(20));
    // The agent gives it half a second before it kills it.
    let gone = "for i in 1 2 3 4 5 6 7 8 9 10; do \
                ps | grep -v grep | grep -q 'trap .. TERM HUP' || exit 0; sleep 0.5; done; exit 1";
    sh(&session, gone);
}

/// Whoever reads no input can't hear of a signal that queues behind it.
#[test]
fn a_command_whose_input_is_backed_up_ends_with_its_process_or_its_output() {
    let bed = Bed::busybox();
    let session = bed.start("backed-up");
    let flood = || vec![0_u8; 4 << 20];
    let sleep = session.command("sleep").arg("4321").stdin(flood());
    let process = sleep.spawn().wait().unwrap();
    sh(
        &session,
        "until ps | grep -q '[s]leep 4321'; do sleep 0.1; done",
    );
    // Until the guest takes no more of it.
    std::thread::sleep(Duration::from_secs(2));
    process.control().kill();
    assert_eq!(process.wait().wait().unwrap(), ExitStatus::Signal(9));
    let chatty = "sleep 4322 & while :; do echo chatter; done";
    let chatty = session.command("sh").args(["-c", chatty]).stdin(flood());
    let error = chatty.output_limit(1 << 20).output().wait().unwrap_err();
    // What it is called is for the tests of the limit; here it counts that the command ends.
    println!("{error}");
    let gone =
        "for i in $(seq 20); do ps | grep -q '[s]leep 432' || exit 0; sleep 0.5; done; exit 1";
    sh(&session, gone);
    bed.shut_down(&session);
}
