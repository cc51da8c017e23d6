use super::*;

#[test]
fn a_kvm_with_all_that_is_needed_will_do_whatever_else_it_lacks() {
    let is_needed = |asked: Cap| {
        let mut all = NEEDED.iter();
        all.any(|(needed, ..)| *needed as u32 == asked as u32)
    };
    assert!(check(12, is_needed).is_ok());
    assert!(!is_needed(Cap::Xsave2));
}

#[test]
fn each_capability_that_is_missing_is_named_with_what_to_do() {
    for (missing, name, purpose) in NEEDED {
        let error = check(12, |asked| asked as u32 != missing as u32).unwrap_err();
        let text = error.to_string();
        for part in [name, purpose, "Linux 4.11"] {
            assert!(text.contains(part), "{part:?} in {text:?}");
        }
        let StartError::KvmCapability { name: named, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(named, name);
    }
}

#[test]
fn another_version_of_the_interface_is_refused_before_anything_is_asked() {
    for version in [-1, 0, 11, 13] {
        let error = check(version, |_| panic!("it can't be asked")).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("version {version}")), "{text}");
    }
}
