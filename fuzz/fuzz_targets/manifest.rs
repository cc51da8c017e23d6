//! A snapshot's documents: what is accepted is within the bounds that readers count on.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rootfs_store::formats::{parse_config, parse_manifest};
use rootfs_store::{Pack, SnapshotDigest};

fuzz_target!(|input: &[u8]| {
    let _ = parse_manifest(input);
    let packs = vec![Pack {
        digest: rootfs_store::BlobDigest::from_bytes([5; 32]),
        bytes: 3,
    }];
    if let Ok(snapshot) = parse_config(input, SnapshotDigest::from_bytes([0; 32]), packs) {
        assert!(snapshot.chunk_bytes.is_power_of_two() && snapshot.chunk_bytes <= 1 << 20);
        assert!(snapshot.disk_bytes > 0 && snapshot.disk_bytes <= 1 << 44);
        assert_eq!(snapshot.disk_bytes % u64::from(snapshot.chunk_bytes), 0);
    }
});
