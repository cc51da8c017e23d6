//! A disk's map: what is accepted, writing it again gives the same bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rootfs_store::formats::{MapHeader, open_sector, seal_sector};

fuzz_target!(|input: (u64, bool, [u8; 512])| {
    let (number, fix, mut sector) = input;
    let number = number % (1 << 32);
    for file_bytes in [number, 33_792] {
        // The fuzzer can't guess checksums.
        if fix {
            let crc = crc32c::crc32c(&sector[..508]);
            sector[508..].copy_from_slice(&crc.to_le_bytes());
        }
        if let Ok(header) = MapHeader::parse(&sector, file_bytes) {
            let again = header.to_bytes();
            // All but the version, which is the newest then, and what no version uses yet.
            assert_eq!(again[..8], sector[..8]);
            assert_eq!(again[12..60], sector[12..60]);
            assert_eq!(MapHeader::parse(&again, file_bytes).unwrap(), header);
        }
    }
    if fix && let Some(bits) = sector.first_chunk() {
        sector = seal_sector(number, bits);
    }
    if let Ok(bits) = open_sector(number, &sector) {
        let again = seal_sector(number, &bits);
        assert!(again == sector || sector == [0; 512]);
    }
});
