//! A small disk, damaged: its blocks anywhere, and its journal; with checksums and without.
//!
//! Oracle: reading ends. Where checksums are on, damage that they always find leaves no other tree. What is read can be
//! written as a layer, and that layer can be imported.
#![no_main]

// The same as in the tests of the store.
#[path = "../../rootfs-store/tests/it/ext4/small_disk.rs"]
mod small_disk;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use small_disk::{Listing, SmallDisk};

static GOOD: LazyLock<(SmallDisk, Listing)> = LazyLock::new(|| {
    let disk = SmallDisk::new();
    let listing = small_disk::whole(&disk);
    (disk, listing)
});

fuzz_target!(|input: &[u8]| {
    let (good, listing) = &*GOOD;
    let mut disk = good.clone();
    disk.damage(input);
    disk.check(input, listing);
});
