//! An index page: what is accepted, writing it again gives the same bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rootfs_store::BlobDigest;
use rootfs_store::formats::{PackRef, Page};

fuzz_target!(|input: &[u8]| {
    // The fuzzer can't guess checksums, so most inputs get the right one.
    let mut bytes = input.to_vec();
    if input.first().is_some_and(|byte| *byte != 0)
        && let Some(body) = bytes.len().checked_sub(4)
    {
        let crc = crc32c::crc32c(&bytes[..body]);
        bytes[body..].copy_from_slice(&crc.to_le_bytes());
    }
    let own = BlobDigest::from_bytes([9; 32]);
    if let Ok(page) = Page::parse(&bytes, own) {
        assert!(page.entries.is_sorted_by_key(|(slot, _)| *slot));
        assert_eq!(page.to_bytes(PackRef::Complete(own), |_| None), bytes);
    }
});
