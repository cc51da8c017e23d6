use super::*;

/// Written by version 1; it must stay readable.
const GOLDEN: &[u8] = include_bytes!("../../../golden/remote-record-v1.json");

fn record() -> RemoteRecord {
    RemoteRecord {
        pack: BlobDigest::from_bytes([0x11; 32]),
        bytes: 1_234_567,
        origins: vec![
            "registry.example:5000/labs/disk".to_owned(),
            "mirror.example/labs/disk".to_owned(),
        ],
    }
}

#[test]
fn golden_record_of_version_1_is_read_and_written() {
    assert_eq!(RemoteRecord::parse(GOLDEN), Ok(record()));
    assert_eq!(record().to_bytes().unwrap(), GOLDEN);
}

#[test]
fn every_damaged_byte_is_noticed() {
    for place in 0..GOLDEN.len() {
        let mut bytes = GOLDEN.to_vec();
        bytes[place] ^= 1;
        assert!(RemoteRecord::parse(&bytes).is_err(), "byte {place}");
        RemoteRecord::parse(&bytes[..place]).unwrap_err();
    }
}

#[test]
fn newer_version_is_refused_with_both_versions() {
    let newer = String::from_utf8(GOLDEN.to_vec()).unwrap();
    let newer = newer.replacen("\"version\":1", "\"version\":9", 1);
    let message = RemoteRecord::parse(newer.as_bytes()).unwrap_err();
    let message = message.to_string();
    assert!(message.contains('9') && message.contains('1'), "{message}");
}

#[test]
fn records_out_of_bounds_are_refused() {
    let change = |change: &dyn Fn(&mut RemoteRecord)| {
        let mut record = record();
        change(&mut record);
        RemoteRecord::parse(&record.to_bytes().unwrap()).unwrap_err()
    };
    change(&|record| record.bytes = 0);
    change(&|record| record.bytes = u64::MAX);
    change(&|record| record.origins.clear());
    change(&|record| record.origins = vec!["x".to_owned(); MAX_ORIGINS + 1]);
    change(&|record| record.origins[0].clear());
    change(&|record| record.origins[0] = "x".repeat(MAX_ORIGIN_BYTES + 1));
    change(&|record| record.origins[0] = "a\nb".to_owned());
}

#[test]
fn latest_origin_comes_first_and_the_oldest_goes() {
    let mut record = record();
    assert!(!record.add_origin("registry.example:5000/labs/disk"));
    assert!(record.add_origin("mirror.example/labs/disk"));
    assert_eq!(record.origins[1], "registry.example:5000/labs/disk");
    for number in 0..MAX_ORIGINS {
        assert!(record.add_origin(&format!("r{number}.example/x")));
    }
    assert_eq!(record.origins.len(), MAX_ORIGINS);
    assert_eq!(record.origins[0], "r7.example/x");
    record.check().unwrap();
}
