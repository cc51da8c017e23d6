use super::*;

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
    let found = executable(&test, std::slice::from_ref(&built)).unwrap();
    assert_eq!(found, Path::new("/t/nested-1"));
    assert!(matches!(
        executable(&test, &[]),
        Err(TestError::NotBuilt { .. })
    ));
}
