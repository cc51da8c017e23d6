//! Processes that are killed, and people who press Ctrl-C.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::playground::{Bed, args_of_run, machine};

/// Counts up, and says each number once it is synced.
const COUNTER: &str = "n=$(cat /count 2>/dev/null || echo 0); while :; do n=$((n+1)); echo $n > /count.new; \
     mv /count.new /count; sync; echo $n; done";

fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
}

#[test]
fn killed_at_any_moment_a_session_resumes_with_all_that_was_synced() {
    let bed = Bed::new();
    let mut args = args_of_run(&machine(), "cut", COUNTER);
    let mut last = 0;
    for pause_ms in [0, 700, 1900] {
        let mut child = bed.command(&args).stdout(Stdio::piped()).spawn().unwrap();
        let mut numbers = lines(&mut child);
        last = numbers.next().unwrap().parse::<u64>().unwrap().max(last);
        assert_eq!(bed.state("cut").as_deref(), Some("running"));
        std::thread::sleep(Duration::from_millis(pause_ms));
        child.kill().unwrap();
        child.wait().unwrap();
        last = numbers
            .filter_map(|line| line.parse().ok())
            .fold(last, u64::max);

        assert_eq!(bed.state("cut").as_deref(), Some("interrupted"));
        args = ["resume", "cut", "--", "sh", "-c", COUNTER]
            .map(str::to_owned)
            .to_vec();
    }
    let resumed = bed.resume("cut", "cat /count");
    let found: u64 = resumed["stdout"].as_str().unwrap().trim().parse().unwrap();
    // The number after the last may be synced and not yet said.
    assert!(
        found >= last && last > 2,
        "{found} is there, {last} was synced"
    );
    assert_eq!(bed.state("cut").as_deref(), Some("stopped"));
    bed.check("cut");
}

#[test]
fn a_session_that_is_killed_at_its_start_is_whole_or_not_there() {
    let bed = Bed::new();
    for (number, pause_ms) in [20, 100, 300, 800, 1500].into_iter().enumerate() {
        let id = format!("early-{number}");
        let args = args_of_run(&machine(), &id, "sleep 1000");
        let mut child = bed.command(&args).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(pause_ms));
        child.kill().unwrap();
        child.wait().unwrap();
        match bed.state(&id).as_deref() {
            None => assert!(!bed.path("store/disks").join(&id).exists()),
            Some("created" | "interrupted") => {
                assert_eq!(bed.resume(&id, "echo on")["stdout"], "on\n");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn ctrl_c_shuts_down_and_a_second_one_leaves_it_to_be_resumed() {
    let bed = Bed::new();
    let interrupt = |child: &Child| {
        // The shell's own `kill`: the program is in a package that small systems lack.
        let kill = format!("kill -INT {}", child.id());
        assert!(
            Command::new("sh")
                .args(["-c", &kill])
                .status()
                .unwrap()
                .success()
        );
    };
    let script = "echo synced > /synced; sync; echo ready; sleep 1000";
    let args = args_of_run(&machine(), "stop", script);
    let start = |args: &[String]| {
        let mut command = bed.command(args);
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut child = start(&args);
    assert_eq!(lines(&mut child).next().unwrap(), "ready");
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(text.contains("session stop is shut down"), "{text}");
    assert_eq!(bed.state("stop").as_deref(), Some("stopped"));

    // A guest that ignores the first one.
    let stubborn = "echo ready; sleep 1; kill -STOP $(pidof vm-agent); sleep 1000";
    let args = ["resume", "stop", "--", "sh", "-c", stubborn].map(str::to_owned);
    let mut child = start(&args);
    assert_eq!(lines(&mut child).next().unwrap(), "ready");
    std::thread::sleep(Duration::from_secs(3));
    interrupt(&child);
    std::thread::sleep(Duration::from_secs(1));
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(text.contains("resume"), "{text}");
    assert_eq!(bed.state("stop").as_deref(), Some("interrupted"));
    assert_eq!(bed.resume("stop", "cat /synced")["stdout"], "synced\n");
}
