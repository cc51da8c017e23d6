//! `WWW-Authenticate` headers of hostile registries.
//!
//! Oracle: what was understood, written out again, is understood as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rootfs_store::formats::{Challenge, parse_challenges};

/// Longest header that is fuzzed, in bytes: written out, it must not pass the limit of the parser.
const MAX_HEADER_BYTES: usize = 1024;

fn write(challenge: &Challenge) -> String {
    let quoted = |(name, value): &(String, String)| {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        format!("{name}=\"{value}\"")
    };
    let parameters: Vec<String> = challenge.parameters.iter().map(quoted).collect();
    format!("{} {}", challenge.scheme, parameters.join(", "))
}

fuzz_target!(|text: &str| {
    if text.len() > MAX_HEADER_BYTES {
        return;
    }
    let challenges = parse_challenges(text);
    let written: Vec<String> = challenges.iter().map(write).collect();
    assert_eq!(parse_challenges(&written.join(", ")), challenges);
});
