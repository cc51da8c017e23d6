use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use super::*;
use crate::limits::{AtEnd, IdleLimit};

/// Written by version 1, and read as if it had the defaults of what came later.
const GOLDEN_V1: &str = r#"{"format":"vm-sessions.session","version":1,"crc32c":3815829048,"record":{"id":"lab-7","state":"stopped","snapshot":"sha256:1111111111111111111111111111111111111111111111111111111111111111","origin":"sha256:2222222222222222222222222222222222222222222222222222222222222222","kernel":"/boot/vmlinuz-6.1","modules":"/lib/modules/6.1","vcpus":2,"memory_mib":256,"hostname":"lab","created":1764000000,"changed":1764000060}}"#;

/// Written by version 2.
const GOLDEN_V2: &str = r#"{"format":"vm-sessions.session","version":2,"crc32c":786137432,"record":{"id":"lab-7","state":"shutting_down","snapshot":"sha256:1111111111111111111111111111111111111111111111111111111111111111","origin":"sha256:2222222222222222222222222222222222222222222222222222222222222222","kernel":"/boot/vmlinuz-6.1","modules":"/lib/modules/6.1","vcpus":2,"memory_mib":256,"hostname":"lab","created":1764000000,"changed":1764000060,"started":1764000050,"failure":"its kernel panicked","limits":{"max_uptime":{"secs":3600,"nanos":0},"idle":{"after":{"secs":900,"nanos":0},"cpu_percent":5,"network_bytes_per_minute":4096},"at_end":"terminate","at_power_off":"shutdown","warnings":[{"secs":600,"nanos":0},{"secs":60,"nanos":0}],"tell_guest":true},"about":{"title":"Ada's lab","labels":{"team":"a"},"pinned":true,"keep_for":{"secs":86400,"nanos":0}}}}"#;

fn record() -> Record {
    Record {
        id: "lab-7".into(),
        state: RecordState::Stopped,
        snapshot: SnapshotDigest::from_bytes([0x11; 32]),
        origin: SnapshotDigest::from_bytes([0x22; 32]),
        kernel: "/boot/vmlinuz-6.1".into(),
        modules: Some("/lib/modules/6.1".into()),
        vcpus: 2,
        memory_mib: 256,
        hostname: Some("lab".into()),
        identity: Identity::default(),
        created: 1_764_000_000,
        changed: 1_764_000_060,
        started: None,
        failure: None,
        limits: Limits::default(),
        about: About::default(),
        drives: Vec::new(),
    }
}

fn record_of_version_2() -> Record {
    Record {
        state: RecordState::ShuttingDown,
        started: Some(1_764_000_050),
        failure: Some("its kernel panicked".into()),
        limits: Limits {
            max_uptime: Some(Duration::from_secs(3600)),
            idle: Some(IdleLimit::after(Duration::from_secs(900))),
            at_end: AtEnd::Terminate,
            ..Limits::default()
        },
        about: About {
            title: Some("Ada's lab".into()),
            labels: BTreeMap::from([("team".into(), "a".into())]),
            pinned: true,
            keep_for: Some(Duration::from_secs(86_400)),
        },
        ..record()
    }
}

#[test]
fn the_golden_record_of_version_1_is_still_read() {
    let read = parse(GOLDEN_V1.as_bytes(), Path::new("golden")).unwrap();
    assert_eq!(read, record());
}

#[test]
fn the_golden_record_of_version_2_is_read_and_written() {
    let read = parse(GOLDEN_V2.as_bytes(), Path::new("golden")).unwrap();
    assert_eq!(read, record_of_version_2());
    let written = String::from_utf8(read.to_bytes()).unwrap();
    assert_eq!(written, GOLDEN_V2);
}

#[test]
fn a_record_is_for_its_user_alone() {
    let folder = tempfile::tempdir().unwrap();
    record().write(folder.path()).unwrap();
    let mode = fs::metadata(folder.path().join(FILE)).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_written_record_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    record().write(folder.path()).unwrap();
    assert_eq!(Record::read(folder.path()).unwrap(), record());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn nobody_else_may_read_a_record() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("record.json.new"), "left over").unwrap();
    record().write(folder.path()).unwrap();
    let data = fs::metadata(folder.path().join(FILE)).unwrap();
    assert_eq!(data.permissions().mode() & 0o777, 0o600);
}

#[test]
fn every_damaged_byte_is_noticed() {
    let golden = GOLDEN_V2.as_bytes();
    for place in 0..golden.len() {
        let mut bytes = golden.to_vec();
        bytes[place] ^= 1;
        if let Ok(text) = String::from_utf8(bytes) {
            assert!(
                parse(text.as_bytes(), Path::new("damaged")).is_err(),
                "byte {place} changed unnoticed"
            );
        }
    }
}

#[test]
fn a_newer_version_is_refused_with_both_versions() {
    let newer = GOLDEN_V2.replacen("\"version\":2", "\"version\":9", 1);
    let message = parse(newer.as_bytes(), Path::new("newer"))
        .unwrap_err()
        .to_string();
    assert!(message.contains('9') && message.contains('2'), "{message}");
}
