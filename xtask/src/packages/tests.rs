use super::*;

#[test]
fn half_installed_packages_count_as_missing() {
    let set = installed("cpio installed\nattr config-files\nzstd half-configured\ngcc installed\n");
    assert_eq!(set.into_iter().collect::<Vec<_>>(), ["cpio", "gcc"]);
}

#[test]
fn unknown_names_are_missing_and_known_ones_are_not() {
    let names = ["dpkg", "no-such-package-at-all"];
    assert_eq!(missing(&names).unwrap(), ["no-such-package-at-all"]);
}

#[test]
fn error_names_the_packages_and_the_command() {
    let error = PackageError::NotAllowed {
        names: "a b".to_owned(),
    };
    assert!(
        error
            .to_string()
            .contains("install -y --no-install-recommends a b")
    );
}
