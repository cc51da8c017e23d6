//! Sessions from their start to their end.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use super::playground::{Bed, args_of_run, env, machine, object};

const MIB: u64 = 1 << 20;

#[test]
fn a_session_is_run_resumed_described_and_removed() {
    let bed = Bed::new();
    let run = bed.session("one", "echo hi > /note; echo out; echo err >&2");
    assert_eq!(run["session"], "one");
    assert_eq!(
        (run["stdout"].as_str(), run["stderr"].as_str()),
        (Some("out\n"), Some("err\n"))
    );
    assert_eq!(
        (run["exit"].as_i64(), run["clean"].as_bool()),
        (Some(0), Some(true))
    );
    for step in [
        "prepare",
        "start",
        "hello",
        "ready",
        "command",
        "power_off",
        "commit",
        "total",
    ] {
        assert!(run["timings_ms"][step].is_f64(), "{step}: {run}");
    }
    println!("{}", run["timings_ms"]);
    let snapshot = run["snapshot"].as_str().unwrap();
    bed.check(snapshot);

    let info = bed.json(&["inspect", "one"]);
    assert_eq!(
        (info["state"].as_str(), info["snapshot"].as_str()),
        (Some("stopped"), Some(snapshot))
    );
    assert_ne!(info["base"], snapshot);
    let noted =
        "resume one --title Mine --label team=red --max-uptime 2h --at-end terminate -- cat /note";
    let resumed = bed.json(&noted.split(' ').collect::<Vec<_>>());
    assert_eq!(resumed["stdout"], "hi\n");
    bed.check("one");
    let info = bed.json(&["inspect", "one"]);
    assert_eq!(
        (&info["title"], &info["labels"]["team"]),
        (&"Mine".into(), &"red".into())
    );
    assert_eq!(
        (&info["max_uptime_s"], &info["at_end"]),
        (&7200.into(), &"terminate".into())
    );

    // From the same snapshot by its digest, and thrown away.
    let mut args = vec![
        "--json".to_owned(),
        "run".to_owned(),
        snapshot.to_owned(),
        "--rm".to_owned(),
    ];
    args.extend(machine());
    let described =
        "--user ann:sudo --env A=b --drive data=16MiB:/srv/data --forward 127.0.0.1:0:80";
    args.extend(described.split(' ').map(str::to_owned));
    let look = "cat /note; id -un ann; echo $A; grep -c ' /srv/data ext4' /proc/mounts";
    args.extend(["--", "sh", "-c", look].map(str::to_owned));
    let copy = bed.command(&args).output().unwrap();
    let copy = object(&copy);
    assert_eq!(
        (copy["stdout"].as_str(), copy["snapshot"].is_null()),
        (Some("hi\nann\nb\n1\n"), true)
    );
    assert_eq!(bed.json(&["ls"])["sessions"].as_array().unwrap().len(), 1);

    bed.json(&["rm", "one"]);
    assert_eq!(bed.state("one"), None);
    assert_eq!(bed.run(&["rm", "one"]).status.code(), Some(1));
}

#[test]
fn the_status_is_the_commands_own() {
    let bed = Bed::new();
    let status = |args: &[&str]| bed.run(args).status.code();
    bed.session("s", "true");
    assert_eq!(
        status(&["resume", "s", "--", "sh", "-c", "exit 42"]),
        Some(42)
    );
    assert_eq!(
        status(&["resume", "s", "--", "sh", "-c", "kill -TERM $$"]),
        Some(143)
    );
    let missing = bed.run(&["resume", "s", "--", "no-such-program"]);
    assert_eq!(missing.status.code(), Some(1));
    let text = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(
        text.contains("no-such-program") && text.contains("shut down"),
        "{text}"
    );
    assert_eq!(bed.state("s").as_deref(), Some("stopped"));
    assert_eq!(bed.json(&["resume", "s"])["exit"], 0);
}

#[test]
fn input_is_passed_in_and_output_comes_while_the_command_runs() {
    let bed = Bed::new();
    bed.session("io", "true");
    let input: Vec<u8> = (0..400_000_u32).flat_map(u32::to_le_bytes).collect();
    let echo = bed.run_with_input(&["resume", "io", "--", "cat"], &input);
    assert!(
        echo.status.success() && echo.stdout == input,
        "{} bytes",
        echo.stdout.len()
    );

    let tty = ["resume", "io", "--tty", "--", "sh", "-c"];
    let script = "test -t 0 && test -t 1 && test -t 2 && stty -echo && stty size && cat";
    let typed = bed.run_with_input(&[&tty[..], &[script]].concat(), b"a line\n");
    // Nobody's terminal: it has the usual size.
    let text = String::from_utf8_lossy(&typed.stdout).into_owned();
    assert!(typed.status.success(), "{typed:?}");
    assert!(
        text.contains("24 80\r\n") && text.ends_with("a line\r\n"),
        "{text}"
    );

    let script = "echo first; sleep 3; echo second >&2; sleep 3; echo third";
    let mut slow = bed.command(&["resume", "io", "--", "sh", "-c", script]);
    let mut child = slow
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(stdout.next().unwrap().unwrap(), "first");
    let first = Instant::now();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    assert_eq!(stderr.next().unwrap().unwrap(), "second");
    assert!(
        first.elapsed().as_secs_f64() > 1.5,
        "the output was held back"
    );
    assert_eq!(stdout.next().unwrap().unwrap(), "third");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_shutdown_stores_what_changed_and_not_the_disk() {
    let bed = Bed::new();
    bed.session("grow", "true");
    let nothing = bed.resume("grow", "true");
    let little = bed.resume("grow", "head -c 1048576 /dev/urandom > /file; sync");
    let again = bed.resume("grow", "cat /file > /dev/null");
    println!("{nothing}\n{little}\n{again}");
    let stored = |run: &serde_json::Value| run["stored_bytes"].as_u64().unwrap();
    assert!(stored(&nothing) < MIB, "{nothing}");
    assert!((MIB..3 * MIB).contains(&stored(&little)), "{little}");
    assert!(stored(&again) < MIB, "{again}");
}

#[test]
fn an_image_is_imported_by_the_run_itself() {
    let bed = Bed::empty();
    let mut args = vec![
        "--json".to_owned(),
        "run".to_owned(),
        env("VM_TEST_BUSYBOX_IMAGE"),
    ];
    args.extend(machine());
    args.extend(["--session", "first", "--hostname", "lab", "--", "hostname"].map(str::to_owned));
    let run = bed.command(&args).output().unwrap();
    let run = object(&run);
    assert_eq!(
        (run["stdout"].as_str(), run["exit"].as_i64()),
        (Some("lab\n"), Some(0))
    );
    assert!(run["timings_ms"]["import"].is_f64(), "{run}");
    // The session's snapshot is one like any other.
    let inspected = bed.json(&["image", "inspect", "first"]);
    assert_eq!(inspected["snapshot"], run["snapshot"]);
}

#[test]
fn a_debian_guest_runs_systemd_and_comes_back() {
    let bed = Bed::empty();
    let image = env("VM_TEST_DEBIAN_IMAGE");
    bed.json(&["image", "import", &image, "--name", "box", "--size", "2GiB"]);
    let args = args_of_run(
        &machine(),
        "deb",
        "until [ $(cat /proc/1/comm) = systemd ]; do sleep 0.1; done; echo kept > /root/kept",
    );
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    assert_eq!(bed.json(&args)["exit"], 0);
    bed.check("deb");
    let key = make_key(&bed);
    let script = "cat /root/kept; mkdir -p -m 700 /root/.ssh; cat > /root/.ssh/authorized_keys; \
                  echo ready; sleep 876";
    let mut resume = bed.command(&["resume", "deb", "--", "sh", "-c", script]);
    let mut resumed = resume
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    resumed.stdin.take().unwrap().write_all(&key).unwrap();
    let mut stdout = BufReader::new(resumed.stdout.take().unwrap()).lines();
    assert_eq!(stdout.next().unwrap().unwrap(), "kept");
    assert_eq!(stdout.next().unwrap().unwrap(), "ready");
    // Another process reaches into the session that runs; what it does there ends the command.
    let over_ssh = ssh(&bed, "deb", "echo over ssh; pkill -f 'sleep [8]76'");
    let text = String::from_utf8_lossy(&over_ssh.stdout).into_owned();
    assert_eq!(text, "over ssh\n", "{over_ssh:?}");
    resumed.wait().unwrap();
    assert_eq!(bed.state("deb").as_deref(), Some("stopped"));
    bed.check("deb");
    let stopped = bed.run(&["ssh-proxy", "deb"]);
    assert_eq!(stopped.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&stopped.stderr).contains("not running"));
}

fn make_key(bed: &Bed) -> Vec<u8> {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(bed.path("key"))
        .status()
        .unwrap();
    assert!(made.success());
    std::fs::read(bed.path("key.pub")).unwrap()
}

/// Runs a command in a session by `ssh`, with `playground ssh-proxy` as its way there.
fn ssh(bed: &Bed, session: &str, command: &str) -> Output {
    let (store, program) = (bed.path("store"), env("VM_TEST_PLAYGROUND"));
    let proxy = format!("{program} --store {} ssh-proxy %h", store.display());
    let mut ssh = Command::new("ssh");
    ssh.arg("-i").arg(bed.path("key"));
    ssh.arg("-o").arg(format!("ProxyCommand={proxy}"));
    for option in [
        "BatchMode=yes",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
    ] {
        ssh.args(["-o", option]);
    }
    ssh.arg(format!("root@{session}")).arg(command);
    ssh.output().unwrap()
}
