use super::*;

#[test]
fn what_can_be_no_name_of_an_interface_is_refused() {
    for name in [
        "",
        ".",
        "..",
        "sixteen-letters-",
        "a/b",
        "a b",
        "a:1",
        "tap%d",
        "täp",
        "a\0",
    ] {
        let error = Tap::open(name).unwrap_err();
        assert!(
            matches!(error, NetError::TapName { .. }),
            "{name:?}: {error}"
        );
    }
}

#[test]
fn an_interface_that_is_not_there_is_not_made() {
    let name = "no-such-if-0";
    let error = Tap::open(name).unwrap_err();
    assert!(matches!(error, NetError::NoInterface { .. }), "{error}");
    assert!(error.to_string().contains("ip tuntap add dev no-such-if-0"));
    assert!(!exists(name));
}

#[test]
fn a_descriptor_of_something_else_is_refused() {
    let file = File::open("/dev/null").unwrap();
    let error = Tap::from_descriptor(file.into()).unwrap_err();
    assert!(matches!(error, NetError::NotATap { .. }), "{error}");
}
