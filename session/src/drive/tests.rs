use super::*;
use crate::ErrorKind;
use crate::testing::store_with_image;

const MIB: u64 = 1 << 20;

fn refused(drives: &[ExtraDrive]) -> String {
    let error = check(drives).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    error.to_string()
}

fn mounted(path: &str) -> ExtraDrive {
    ExtraDrive::empty("data", MIB).mount(path)
}

#[test]
fn names_are_short_plain_and_not_the_roots() {
    for name in ["a", "0", "data-1", "fifteen-letters"] {
        check(&[ExtraDrive::empty(name, MIB)]).unwrap();
    }
    for name in [
        "",
        "-a",
        "Data",
        "a b",
        "a_b",
        "a.b",
        "ä",
        "a@b",
        "a/b",
        "sixteen-letters-",
        "session-root",
    ] {
        let message = refused(&[ExtraDrive::empty(name, MIB)]);
        assert!(message.contains(&format!("{name:?}")), "{message}");
    }
}

#[test]
fn names_and_mount_points_are_given_once() {
    let twice = [ExtraDrive::empty("a", MIB), ExtraDrive::empty("a", MIB)];
    assert!(refused(&twice).contains("\"a\""));
    let twice = [
        ExtraDrive::empty("a", MIB).mount("/d"),
        ExtraDrive::empty("b", MIB).mount("/d"),
    ];
    assert!(refused(&twice).contains("\"/d\""));
}

#[test]
fn as_many_drives_as_a_machine_has_besides_the_root() {
    let many = |count: usize| -> Vec<_> {
        let drive = |n: usize| ExtraDrive::empty(format!("d{n}"), MIB);
        (0..count).map(drive).collect()
    };
    check(&many(MOST)).unwrap();
    assert!(refused(&many(MOST + 1)).contains(&MOST.to_string()));
}

#[test]
fn mount_points_are_plain_paths_that_are_nobody_elses() {
    for path in ["/data", "/srv/a b/c", "/home/ä", "/device", "/runs/x"] {
        check(&[mounted(path)]).unwrap();
    }
    let long = format!("/{}", "a".repeat(MAX_PATH_BYTES));
    for path in [
        "",
        "data",
        "/",
        "//",
        "/data/",
        "/a//b",
        "/a/../b",
        "/..",
        "/./a",
        "/dev",
        "/dev/shm",
        "/proc/x",
        "/run/lock",
        "/sys",
        "/a\nb",
        "/a\0b",
        &long,
    ] {
        let message = refused(&[mounted(path)]);
        assert!(message.contains("\"data\""), "{message}");
    }
}

#[test]
fn only_known_options_are_passed_on() {
    let with = |option: &str| ExtraDrive::empty("data", MIB).mount_with("/d", [option]);
    for option in OPTIONS {
        check(&[with(option)]).unwrap();
    }
    for option in ["", "ro", "bind", "noatime,suid", "data=writeback", "x-a"] {
        let message = refused(&[with(option)]);
        assert!(message.contains("nosuid"), "{message}");
    }
}

#[test]
fn drives_begin_as_what_they_were_asked_to_be() {
    let (folder, store, image) = store_with_image();
    let reference = format!("oci:{}", folder.path().join("image").display());
    let drives = [
        ExtraDrive::empty("new", 32 * MIB).mount_with("/new", ["noatime"]),
        ExtraDrive::from_snapshot("old", image).read_only(),
        ExtraDrive::from_image("tools", reference),
    ];
    let (records, leases) = resolve(&store, &drives).unwrap();
    assert_eq!(leases.len(), 2);
    let [new, old, tools] = records.as_slice() else {
        panic!("{records:?}");
    };
    let bytes = |drive: &DriveRecord| store.snapshot(&drive.snapshot).unwrap().disk_bytes;
    assert_eq!((new.read_only, bytes(new)), (false, 32 * MIB));
    let mount = new.mount.clone().unwrap();
    assert_eq!(
        (mount.path.as_str(), mount.options),
        ("/new", vec!["noatime".to_owned()])
    );
    assert_eq!(
        (old.snapshot, old.read_only, &old.mount),
        (image, true, &None)
    );
    let machine = store.snapshot(&tools.snapshot).unwrap().machine;
    assert_eq!(machine, store.snapshot(&image).unwrap().machine);
    assert!(records.iter().all(|drive| drive.origin == drive.snapshot));
}

#[test]
fn drives_that_can_not_be_had_are_refused() {
    let (_folder, store, _) = store_with_image();
    let missing = SnapshotDigest::from_bytes([1; 32]);
    let kinds = [
        (ExtraDrive::empty("a", 0), ErrorKind::InvalidInput),
        (ExtraDrive::empty("a", 1), ErrorKind::InvalidInput),
        (ExtraDrive::empty("a", u64::MAX), ErrorKind::InvalidInput),
        (ExtraDrive::from_snapshot("a", missing), ErrorKind::NotFound),
        (
            ExtraDrive::from_image("a", "oci:/nowhere"),
            ErrorKind::Image,
        ),
        (
            ExtraDrive::from_image("a", "what?"),
            ErrorKind::InvalidInput,
        ),
    ];
    for (drive, kind) in kinds {
        let error = resolve(&store, std::slice::from_ref(&drive)).unwrap_err();
        assert_eq!(error.kind(), kind, "{drive:?}: {error}");
    }
}

#[test]
fn records_of_drives_are_read_back() {
    let record = DriveRecord {
        name: "data".into(),
        snapshot: SnapshotDigest::from_bytes([1; 32]),
        origin: SnapshotDigest::from_bytes([2; 32]),
        read_only: true,
        mount: Some(MountPoint {
            path: "/data".into(),
            options: vec!["noatime".into()],
        }),
    };
    let text = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<DriveRecord>(&text).unwrap(), record);
    let strange = text.replacen('{', "{\"x\":1,", 1);
    assert!(serde_json::from_str::<DriveRecord>(&strange).is_err());
}
