//! A snapshot's documents, and records of where its packs are: what is accepted is within the bounds that readers count
//! on, and a record is written as it was read.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rootfs_store::formats::{RemoteRecord, parse_config, parse_manifest};
use rootfs_store::{BootProfile, SnapshotDigest};

const MANIFEST: &[u8] = include_bytes!("../../rootfs-store/golden/manifest-v1.json");

fuzz_target!(|input: &[u8]| {
    let _ = parse_manifest(input);
    if let Ok(profile) = BootProfile::parse(input) {
        assert_eq!(profile.to_bytes(), input);
    }
    if let Ok(record) = RemoteRecord::parse(input) {
        assert!(record.bytes > 0 && (1..=8).contains(&record.origins.len()));
        let written = record.to_bytes().expect("a record is text and numbers");
        assert_eq!(RemoteRecord::parse(&written).as_ref(), Ok(&record));
    }
    let Ok(manifest) = parse_manifest(MANIFEST) else {
        panic!("the golden manifest can't be read");
    };
    if let Ok(snapshot) = parse_config(input, SnapshotDigest::from_bytes([0; 32]), manifest) {
        assert!(snapshot.chunk_bytes.is_power_of_two() && snapshot.chunk_bytes <= 1 << 20);
        assert!(snapshot.disk_bytes > 0 && snapshot.disk_bytes <= 1 << 44);
        assert_eq!(snapshot.disk_bytes % u64::from(snapshot.chunk_bytes), 0);
    }
});
