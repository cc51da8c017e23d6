//! What `playground` does around a command, and with sessions that don't run.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use testbed::Tap;

use super::playground::{Bed, machine};

#[test]
fn tasks_and_copies_surround_the_command_and_old_sessions_are_cleaned_away() {
    let bed = Bed::new();
    let tap = Tap::new("playtest0", "10.9.6.1/24").unwrap();
    let name = tap.name();
    let network = format!("tap:{name},10.9.6.2/24,via=10.9.6.1,dns=10.9.6.1");
    let (host, back) = (bed.path("host"), bed.path("back"));
    fs::create_dir(&host).unwrap();
    fs::write(host.join("word"), "copied").unwrap();
    let copy_in = format!("{}:/srv/in:12:34", host.display());
    let copy_out = format!("/srv/out:{}", back.display());
    let mut args = vec!["--json".to_owned(), "run".to_owned(), "box".to_owned()];
    args.extend(machine());
    let described = [
        ["--session", "one"],
        // In the order of what needs what.
        ["--task", "b:a=cat /srv/a > /srv/b"],
        ["--task", "a=echo task > /srv/a"],
        ["--network", &network],
        ["--copy-in", &copy_in],
        ["--copy-out", &copy_out],
        ["--label", "class=7b"],
        ["--keep-for", "1d"],
    ];
    args.extend(described.concat().into_iter().map(str::to_owned));
    let script = "cat /srv/b /srv/in/word > /srv/out; stat -c %u:%g /srv/in/word; \
                  ping -c 1 -w 60 10.9.6.1 > /dev/null && cat /etc/resolv.conf; exit 3";
    args.extend(["--", "sh", "-c", script].map(str::to_owned));
    let output = bed.command(&args).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    // What a command that failed has made is brought back, too.
    assert_eq!(output.status.code(), Some(3), "{complaint}");
    assert!(complaint.contains("copied /srv/out to"), "{complaint}");
    assert_eq!(fs::read_to_string(&back).unwrap(), "task\ncopied");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        printed.contains(r#""stdout":"12:34\nnameserver 10.9.6.1\n""#),
        "{printed}"
    );

    // A task that fails keeps the command from being run, and the session is shut down all the same.
    let failed = bed.run(&["resume", "one", "--task", "c=exit 9", "--", "touch", "/ran"]);
    let complaint = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert_eq!(failed.status.code(), Some(1));
    assert!(complaint.contains("task c"), "{complaint}");
    assert_eq!(bed.state("one").as_deref(), Some("stopped"));

    let printed = bed.json(&["console", "one"]);
    let printed = printed["console"].as_str().unwrap();
    assert!(printed.contains("the root is"), "{printed}");
    let described = bed.json(&["inspect", "one"]);
    let key = described["ssh_host_key"].as_str().unwrap();
    assert!(key.starts_with("ssh-ed25519 "), "{key}");

    let used = bed.json(&["du", "--sessions"]);
    let used = &used["sessions"][0];
    assert_eq!(
        (&used["session"], &used["disk_bytes"]),
        (&"one".into(), &0.into())
    );
    let labelled = bed.json(&["du", "--label", "class=7b"]);
    assert_eq!(labelled["bytes"], used["snapshot_bytes"]);
    assert!(labelled["bytes"].as_u64().unwrap() > 0);

    let pinned = bed.json(&[
        "describe",
        "one",
        "--pin",
        "--keep-for",
        "0",
        "--unlabel",
        "class",
    ]);
    assert_eq!(
        (&pinned["pinned"], &pinned["keep_for_s"]),
        (&true.into(), &0.into())
    );
    assert_eq!(pinned["labels"], serde_json::json!({}));
    let nothing = serde_json::json!([]);
    assert_eq!(bed.json(&["clean", "--grace", "0"])["expired"], nothing);
    bed.json(&["describe", "one", "--unpin"]);
    let cleaned = bed.json(&["clean", "--grace", "0"]);
    assert_eq!(cleaned["expired"], serde_json::json!(["one"]));
    assert!(cleaned["freed_bytes"].as_u64().unwrap() > 0, "{cleaned}");
    assert_eq!(bed.state("one"), None);
}

#[test]
fn a_session_that_is_held_lives_until_its_limit() {
    let bed = Bed::new();
    let mut args = vec!["run".to_owned(), "box".to_owned()];
    args.extend(machine());
    let described = [
        ["--session", "held"],
        ["--max-uptime", "25s"],
        ["--at-end", "terminate"],
    ];
    args.extend(described.concat().into_iter().map(str::to_owned));
    args.push("--hold".to_owned());
    let output = bed.command(&args).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{complaint}");
    for line in [
        "session held runs",
        "its time is over",
        "session held is thrown away",
    ] {
        assert!(complaint.contains(line), "{line}: {complaint}");
    }
    assert_eq!(bed.state("held"), None);
}

#[test]
fn ctrl_c_shuts_a_session_down_that_is_held() {
    let bed = Bed::new();
    let mut args = vec!["run".to_owned(), "box".to_owned()];
    args.extend(machine());
    args.extend(["--session", "held", "--hold"].map(str::to_owned));
    let mut command = bed.command(&args);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let runs = |line: &String| line.contains("session held runs");
    assert!(lines.by_ref().map(Result::unwrap).any(|line| runs(&line)));
    let pid = child.id().to_string();
    let interrupted = Command::new("kill").args(["-INT", &pid]).status();
    assert!(interrupted.unwrap().success());
    // Whoever is not read from waits.
    let rest: Vec<_> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest:?}");
    assert_eq!(bed.state("held").as_deref(), Some("stopped"));
}
