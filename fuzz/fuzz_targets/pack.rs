//! A pack's table: what is accepted lies back to back in the pack, and writing it again gives the same bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rootfs_store::formats::Table;

fuzz_target!(|input: (u64, &[u8])| {
    let (frames_bytes, tail) = input;
    let frames_bytes = frames_bytes % (1 << 40);
    if let Ok(table) = Table::parse(tail, frames_bytes + tail.len() as u64) {
        let mut end = 0;
        for entry in &table.entries {
            assert_eq!(entry.offset, end);
            end += u64::from(entry.len);
        }
        assert_eq!(end, frames_bytes);
        assert_eq!(table.to_tail(), tail);
    }
});
