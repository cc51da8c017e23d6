//! Session records that somebody has tampered with.
//!
//! Oracle: what is read is written, and read again as the same. An input is a whole file, or the record alone, whose
//! envelope is then put around it as of each version.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rootfs_store::formats::seal_envelope;
use session::fuzzing::rewrite_record;

const FORMAT: &str = "vm-sessions.session";
const VERSIONS: [u32; 2] = [1, 2];

fn check(file: &[u8]) {
    if let Some(written) = rewrite_record(file) {
        assert_eq!(rewrite_record(&written).as_ref(), Some(&written));
    }
}

fuzz_target!(|input: &[u8]| {
    check(input);
    let Ok(record) = serde_json::from_slice::<serde_json::Value>(input) else {
        return;
    };
    for version in VERSIONS {
        let file = seal_envelope(&record, FORMAT, version).expect("it was JSON before");
        check(&file);
    }
});
