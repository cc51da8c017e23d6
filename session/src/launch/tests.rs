use super::*;
use crate::ErrorKind;

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
