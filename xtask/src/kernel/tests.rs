use super::*;

#[test]
fn dependency_is_the_versioned_package_of_the_series() {
    let answer = |version: &str| {
        format!(
            "linux-image-cloud-amd64\n  Depends: linux-base\n  Depends: linux-image-{version}-cloud-amd64\n"
        )
    };
    let series = Series::value_variants();
    for (of, version) in series.iter().zip(["5.10.0-32", "6.1.0-9", "6.12.95+deb12"]) {
        let answer = answer(version);
        for series in series {
            let found = dependency(*series, &answer);
            assert_eq!(found.is_some(), series == of, "{version} as {series:?}");
            assert!(found.is_none_or(|it| it == format!("linux-image-{version}-cloud-amd64")));
        }
    }
}

#[test]
fn each_series_has_a_folder_of_its_own() {
    let entries = Series::value_variants().iter().map(|it| it.entry());
    let entries: std::collections::BTreeSet<_> = entries.collect();
    assert_eq!(entries.len(), Series::value_variants().len());
    assert!(entries.contains("kernel-6.1.x-v1"), "{entries:?}");
}

#[test]
fn folder_without_modules_is_incomplete() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("boot")).unwrap();
    fs::write(root.path().join("boot/vmlinuz-6.1.0"), "").unwrap();
    assert!(matches!(
        find(Series::V6_1, root.path()),
        Err(KernelError::Incomplete { .. })
    ));
    fs::create_dir_all(root.path().join("lib/modules/6.1.0")).unwrap();
    assert!(find(Series::V6_1, root.path()).is_ok());
}

#[test]
fn modules_are_found_below_the_folder() {
    let root = tempfile::tempdir().unwrap();
    let deep = root.path().join("kernel/drivers");
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("tun.ko"), "").unwrap();
    assert_eq!(module(root.path(), "tun"), Some(deep.join("tun.ko")));
    assert_eq!(module(root.path(), "tap"), None);
}
