use std::process::Command;

use super::*;

fn run_script(programs: &[&str]) -> std::process::Output {
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT, "sh"]);
    for program in programs {
        command.args(["/", program]);
    }
    command.output().unwrap()
}

#[test]
fn script_runs_every_program_and_fails_after_all_if_one_did() {
    assert!(run_script(&["/bin/pwd", "/bin/true"]).status.success());
    let output = run_script(&["/bin/false", "/bin/pwd"]);
    assert!(!output.status.success());
    assert_eq!(output.stdout, b"/\n");
}

#[test]
fn tests_without_a_binary_are_an_error() {
    let test = Target {
        package: "session".to_owned(),
        name: TARGET.to_owned(),
        kind: "test".to_owned(),
        source: "/w/session/tests/nested/main.rs".into(),
        folder: "/w/session".into(),
    };
    let built = Built {
        source: test.source.clone(),
        executable: "/t/nested-1".into(),
    };
    let args = script_args(&[&test], std::slice::from_ref(&built)).unwrap();
    assert_eq!(args, ["/w/session", "/t/nested-1"]);
    assert!(matches!(
        script_args(&[&test], &[]),
        Err(TestError::NotBuilt { .. })
    ));
}
