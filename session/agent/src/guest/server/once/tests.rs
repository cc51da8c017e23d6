use super::*;

fn once(task: &str, machine: &str) -> Once {
    Once {
        task: task.to_owned(),
        machine: machine.to_owned(),
    }
}

#[test]
fn what_is_marked_is_done_for_its_machine_alone() {
    let folder = tempfile::tempdir().unwrap();
    let root = Root::open(folder.path()).unwrap();
    check(&root, &once("a", "1")).unwrap();
    mark(&root, &once("a", "1")).unwrap();
    let failure = check(&root, &once("a", "1")).unwrap_err();
    assert_eq!(failure.kind, FailureKind::DoneBefore);
    check(&root, &once("a", "2")).unwrap();
    check(&root, &once("b", "1")).unwrap();
    mark(&root, &once("a", "2")).unwrap();
    check(&root, &once("a", "1")).unwrap();
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = Root::open(folder.path()).unwrap();
    for task in ["", "..", "a/b", "a\0"] {
        assert_eq!(
            mark(&root, &once(task, "1")).unwrap_err().kind,
            FailureKind::System,
            "{task:?}"
        );
        assert!(check(&root, &once(task, "1")).is_err());
    }
}
