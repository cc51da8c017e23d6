use super::*;

#[test]
fn the_line_with_the_number_of_runs_is_found() {
    let log = "#12 pulse\nDone 12 runs in 15 second(s)\nstat::x: 1\n";
    assert_eq!(last_line(log), "Done 12 runs in 15 second(s)");
    assert_eq!(last_line(""), "ended");
}

#[test]
fn a_failure_is_shown_from_its_cause_on_and_without_the_bytes() {
    let bytes = "0, ".repeat(10_000);
    let trace = "at x\n".repeat(100);
    let log =
        format!("#1 pulse\nthread panicked at a.rs:1:2:\n{trace}{bytes}\nReproduce with: x\n");
    let shown = failure(&log);
    assert!(
        shown.starts_with("thread panicked at a.rs:1:2:\nat x\n"),
        "{shown}"
    );
    assert!(shown.ends_with("\nReproduce with: x"), "{shown}");
    assert_eq!(shown.lines().count(), 2 * SHOWN_LINES);
    assert!(shown.len() < 1_000, "{shown}");
    assert_eq!(failure("one\ntwo"), "one\ntwo");
}

fn target(source: &Path) -> Target {
    Target {
        package: "fuzz".to_owned(),
        name: "x".to_owned(),
        kind: "bin".to_owned(),
        source: source.to_owned(),
        folder: "/".into(),
    }
}

#[test]
fn every_target_needs_a_source_and_every_source_a_target() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.rs");
    let check =
        |targets: &[Target]| check(folder.path(), targets, &sources(folder.path()).unwrap());
    let declared = [target(&path)];
    assert!(matches!(check(&[]), Err(FuzzError::NoTargets { .. })));
    assert!(matches!(check(&declared), Err(FuzzError::NoSource { .. })));
    fs::write(&path, "").unwrap();
    fs::write(folder.path().join("notes.md"), "").unwrap();
    assert!(check(&declared).is_ok());
    let other = folder.path().join("y.rs");
    fs::write(&other, "").unwrap();
    assert!(matches!(check(&declared), Err(FuzzError::NotDeclared { path }) if path == other));
}

#[test]
fn the_targets_of_this_workspace_are_complete() {
    assert!(!names(&cargo::workspace().join("fuzz")).unwrap().is_empty());
}
