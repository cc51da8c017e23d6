use super::*;

fn target() -> Target {
    Target {
        package: "session".to_owned(),
        name: "nested".to_owned(),
        kind: "test".to_owned(),
        source: "/w/session/tests/nested/main.rs".into(),
        folder: "/w/session".into(),
    }
}

#[test]
fn every_test_is_dealt_to_one_batch() {
    let target = target();
    // This binary knows the options that the nested ones know.
    let program = std::env::current_exe().unwrap();
    let all = deal(&target, &program, usize::MAX).unwrap();
    assert_eq!(all.len(), 1);
    let mut expected = all[0].names.clone();
    assert!(expected.len() > 10, "{expected:?}");

    let few = deal(&target, &program, 4).unwrap();
    assert!(few.iter().all(|batch| (1..=4).contains(&batch.names.len())));
    let mut dealt: Vec<_> = few.into_iter().flat_map(|batch| batch.names).collect();
    dealt.sort();
    expected.sort();
    assert_eq!(dealt, expected);
}

#[test]
fn only_tests_that_did_not_pass_are_left() {
    let target = target();
    let mut batch = Batch {
        target: &target,
        program: Path::new("/t/nested"),
        names: ["a::one", "a::one_more", "two", "three"]
            .map(String::from)
            .to_vec(),
    };
    batch.forget_passed("running 4 tests\ntest a::one_more ... ok\ntest two ... FAILED\ntest three has been running\n");
    assert_eq!(
        batch.names(),
        ["session a::one", "session two", "session three"]
    );
    let command = batch.command();
    assert_eq!(command, ["/t/nested", "--exact", "a::one", "two", "three"]);
    assert_eq!(batch.to_string(), "3 tests of session that boot kernels");
}

#[test]
fn a_run_that_failed_though_all_passed_is_repeated_whole() {
    let target = target();
    let mut batch = Batch {
        target: &target,
        program: Path::new("/t/nested"),
        names: vec!["one".to_owned()],
    };
    batch.forget_passed("test one ... ok\n");
    assert_eq!(batch.names(), ["session one"]);
}
