//! A pack's table: what is accepted lies back to back in the pack, and writing it again gives the same bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rootfs_store::formats::Table;

const FOOTER_BYTES: usize = 24;

/// Makes both checksums right, which the fuzzer can't guess.
fn with_checksums(tail: &[u8]) -> Vec<u8> {
    let mut tail = tail.to_vec();
    if let Some(footer) = tail.len().checked_sub(FOOTER_BYTES)
        && footer >= 8
    {
        let crc = crc32c::crc32c(&tail[8..footer]).to_le_bytes();
        tail[footer + 4..footer + 8].copy_from_slice(&crc);
        let crc = crc32c::crc32c(&tail[footer..footer + 12]).to_le_bytes();
        tail[footer + 12..footer + 16].copy_from_slice(&crc);
    }
    tail
}

fuzz_target!(|input: (u32, bool, &[u8])| {
    let (frames_bytes, fix, tail) = input;
    let tail = if fix {
        with_checksums(tail)
    } else {
        tail.to_vec()
    };
    let frames_bytes = u64::from(frames_bytes);
    if let Ok(table) = Table::parse(&tail, frames_bytes + tail.len() as u64) {
        let mut end = 0;
        for entry in &table.entries {
            assert_eq!(entry.offset, end);
            end += u64::from(entry.len);
        }
        assert_eq!(end, frames_bytes);
        assert_eq!(table.to_tail(), tail);
    }
});
