use super::*;

#[test]
fn ids_that_could_leave_the_folder_are_refused() {
    for bad in [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "-x",
        ".x",
        "a b",
        "a\0",
        "ä",
        &"x".repeat(64),
    ] {
        assert!(check(bad).is_err(), "{bad:?}");
    }
    for good in ["a", "7", "lab-7", "a.b_c", &"x".repeat(63)] {
        check(good).unwrap();
    }
}

#[test]
fn hostnames_follow_rfc_1123() {
    for bad in ["", "-a", "a-", "a.b", "a_b", &"x".repeat(64)] {
        assert!(check_hostname(bad).is_err(), "{bad:?}");
    }
    check_hostname("lab-7").unwrap();
}

#[test]
fn random_ids_are_valid_and_differ() {
    let one = random().unwrap();
    check(&one).unwrap();
    assert_ne!(one, random().unwrap());
}
