use std::time::Instant;

use super::*;

fn args(script: &str, timeout_s: u64) -> Args {
    Args {
        rw: Vec::new(),
        memory_mib: None,
        cpus: None,
        timeout_s,
        icount: false,
        root: false,
        command: ["sh", "-c", script].map(Into::into).to_vec(),
    }
}

/// Whether the process whose number is in `file` still runs.
fn runs(file: &Path) -> bool {
    let number = std::fs::read_to_string(file).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", number.trim()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn status_is_passed_on() {
    assert_eq!(run(&args("exit 3", 60)).unwrap(), 3);
    assert_eq!(run(&args("kill -9 $$", 60)).unwrap(), 137);
}

#[test]
fn children_end_with_a_command_that_takes_too_long() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("child");
    for stubborn in ["", "trap '' TERM;"] {
        let script = format!("{stubborn} sleep 1000 & echo $! > {}; wait", file.display());
        let begun = Instant::now();
        let result = run_within(&args(&script, 1), Duration::from_secs(1));
        assert!(matches!(result, Err(NestedError::TimeoutHere { .. })));
        assert!(begun.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(100));
        assert!(!runs(&file));
    }
}

#[test]
fn children_end_with_a_command_that_leaves_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("child");
    let script = format!("sleep 1000 & echo $! > {}", file.display());
    assert_eq!(run(&args(&script, 60)).unwrap(), 0);
    std::thread::sleep(Duration::from_millis(100));
    assert!(!runs(&file));
}
