use super::*;

#[test]
fn the_line_with_the_number_of_runs_is_found() {
    let log = "#12 pulse\nDone 12 runs in 15 second(s)\nstat::x: 1\n";
    assert_eq!(last_line(log), "Done 12 runs in 15 second(s)");
    assert_eq!(last_line(""), "ended");
}

#[test]
fn declared_targets_without_source_are_left_out() {
    let target = Target {
        package: "fuzz".to_owned(),
        name: "x".to_owned(),
        kind: "bin".to_owned(),
        source: "/no/such/file.rs".into(),
        folder: "/".into(),
    };
    assert!(!is_written(&target));
}
