use super::*;

/// Written by version 1; it must stay readable.
const GOLDEN_V1: &str = r#"{"format":"vm-sessions.session","version":1,"crc32c":3815829048,"record":{"id":"lab-7","state":"stopped","snapshot":"sha256:1111111111111111111111111111111111111111111111111111111111111111","origin":"sha256:2222222222222222222222222222222222222222222222222222222222222222","kernel":"/boot/vmlinuz-6.1","modules":"/lib/modules/6.1","vcpus":2,"memory_mib":256,"hostname":"lab","created":1764000000,"changed":1764000060}}"#;

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
        created: 1_764_000_000,
        changed: 1_764_000_060,
        drives: Vec::new(),
    }
}

#[test]
fn the_golden_record_of_version_1_is_still_read_and_written() {
    assert_eq!(
        parse(GOLDEN_V1.as_bytes(), Path::new("golden")).unwrap(),
        record()
    );
    assert_eq!(record().to_bytes(), GOLDEN_V1.as_bytes());
}

#[test]
fn a_written_record_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    record().write(folder.path()).unwrap();
    assert_eq!(Record::read(folder.path()).unwrap(), record());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn every_damaged_byte_is_noticed() {
    let golden = GOLDEN_V1.as_bytes();
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
    let newer = GOLDEN_V1.replacen("\"version\":1", "\"version\":9", 1);
    let message = parse(newer.as_bytes(), Path::new("newer"))
        .unwrap_err()
        .to_string();
    assert!(message.contains('9') && message.contains('1'), "{message}");
}
