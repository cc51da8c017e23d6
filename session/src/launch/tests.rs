use vmm_core::{MAX_VCPUS, MIN_MEMORY_MIB};

use super::checks::check_architecture;
use super::*;
use crate::ErrorKind;
use crate::builder::Settings;
use crate::identity::Description;
use crate::kernel::Kernel;
use crate::testing::{image, record};

fn settings() -> Settings {
    Settings {
        id: None,
        kernel: None,
        vcpus: None,
        memory_mib: None,
        hostname: None,
        description: Description::default(),
        waits_for_tasks: false,
        switches: Vec::new(),
        disk_bytes: None,
        fill: None,
        limits: None,
        about: None,
        drives: Vec::new(),
        boot_timeout: std::time::Duration::from_secs(1),
        shutdown_timeout: std::time::Duration::from_secs(1),
    }
}

#[test]
fn what_is_not_acceptable_is_said_before_anything_is_made() {
    check(&settings()).unwrap();
    let bad: [Settings; 5] = [
        Settings {
            id: Some("../x".into()),
            ..settings()
        },
        Settings {
            hostname: Some("a_b".into()),
            ..settings()
        },
        Settings {
            vcpus: Some(0),
            ..settings()
        },
        Settings {
            vcpus: Some(MAX_VCPUS + 1),
            ..settings()
        },
        Settings {
            memory_mib: Some(MIN_MEMORY_MIB - 1),
            ..settings()
        },
    ];
    for settings in bad {
        let error = check(&settings).unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::InvalidInput,
            "{settings:?}: {error}"
        );
    }
}

#[test]
fn a_host_without_kvm_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let error = check_kvm(&folder.path().join("kvm")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Kvm);
    assert!(error.to_string().contains("there is no KVM"), "{error}");
}

#[test]
fn a_disk_for_another_machine_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("image");
    image::write_for("arm64", &layout);
    let store = Store::open(folder.path().join("store")).unwrap();
    let reference = format!("oci:{}", layout.display());
    let import = || {
        store
            .import(&reference)
            .disk_bytes(64 << 20)
            .platform("linux/arm64")
    };
    let snapshot = import().start().wait().unwrap().snapshot;
    drop(Holding::create(&store, record("old", snapshot)).unwrap());

    let kernel = Kernel::recorded("/dev/null".into(), None);
    let settings = Settings {
        kernel: Some(kernel),
        ..settings()
    };
    let new = |source| make(&store, source, &settings, &mut Timings::default());
    let like = Box::new(record("like", snapshot));
    for failed in [
        new(Source::Snapshot(snapshot)),
        new(Source::Like(like, Vec::new())),
        new(Source::Image(Box::new(import()))),
        resume(&store, "old", &settings),
    ] {
        let error = failed.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains("arm64"), "{error}");
    }
    assert_eq!(store.sessions().unwrap().len(), 1);
    check_architecture("386").unwrap();
}
