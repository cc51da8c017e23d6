use rootfs_store::SnapshotDigest;
use vmm_core::{MAX_VCPUS, MIN_MEMORY_MIB};

use super::checks::check_architecture;
use super::*;
use crate::ErrorKind;
use crate::builder::Settings;
use crate::identity::Description;
use crate::kernel::Kernel;
use crate::limits::AtEnd;
use crate::record::RecordState;
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

/// A record of a session that was cut off in a run that began at this time, and may last a minute.
fn cut_off(started: u64, at_end: AtEnd) -> Record {
    let mut record = record("a", SnapshotDigest::of(b"disk"));
    record.state = RecordState::Open;
    record.started = Some(started);
    record.limits.max_uptime = Some(Duration::from_secs(60));
    record.limits.at_end = at_end;
    record
}

#[test]
fn a_run_that_was_cut_off_goes_on_from_where_it_was_whatever_the_clock_says() {
    for (beat, now, used) in [
        (None, 1030, 30),
        (Some(1010), 1030, 30),
        // The clock was set back, and the last sign of life is later.
        (Some(1040), 1030, 40),
        (Some(1040), 500, 40),
        (None, 500, 0),
        // Its time was over, so it begins anew.
        (Some(1010), 1060, 0),
        (Some(1060), 900, 0),
    ] {
        let mut record = cut_off(1000, AtEnd::Shutdown);
        let begun = begin_run(&mut record, beat, now).unwrap();
        assert_eq!(begun, Duration::from_secs(used), "{beat:?} {now}");
        // Whoever looks at it later finds the same.
        assert_eq!(record.started, Some(now - used));
    }
    let mut stopped = cut_off(1000, AtEnd::Shutdown);
    stopped.state = RecordState::Stopped;
    stopped.failure = Some("a panic".into());
    assert_eq!(
        begin_run(&mut stopped, Some(1010), 1030).unwrap(),
        Duration::ZERO
    );
    assert_eq!((stopped.started, stopped.failure), (Some(1030), None));
}

#[test]
fn a_run_whose_session_was_to_be_thrown_away_by_now_does_not_go_on() {
    let mut record = cut_off(1000, AtEnd::Terminate);
    let begun = begin_run(&mut record, None, 1059).unwrap();
    assert_eq!(begun, Duration::from_secs(59));
    let mut record = cut_off(1000, AtEnd::Terminate);
    let before = record.clone();
    let error = begin_run(&mut record, None, 1060).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert_eq!(record, before);
    // With more time it does.
    record.limits.max_uptime = Some(Duration::from_secs(120));
    let begun = begin_run(&mut record, None, 1060).unwrap();
    assert_eq!(begun, Duration::from_secs(60));
}
