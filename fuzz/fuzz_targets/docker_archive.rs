//! Docker archives, from the bytes of a file to the places of their layers.
//!
//! Oracle: whatever is accepted has all its layers within the archive, as many as the config says, and opens again as
//! the same image. Checksums of tar headers are put right first.
#![no_main]

#[path = "../tar_headers.rs"]
mod tar_headers;

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use rootfs_store::ImageReference;
use rootfs_store::image::{BlobPlace, Image, Platform, Scratch, open};
use tar_headers::fix_checksums;

/// Most bytes that a compressed archive may have.
const LIMIT_BYTES: u64 = 16 << 20;

fn open_archive(path: &Path) -> Option<Image> {
    let dir = std::env::temp_dir();
    let scratch = Scratch {
        dir: &dir,
        limit_bytes: LIMIT_BYTES,
        progress: &(),
    };
    let reference = ImageReference::DockerArchive {
        file: path.to_owned(),
        image: None,
    };
    open(&reference, &Platform::default(), &scratch).ok()
}

fn check(image: &Image) {
    for layer in &image.layers {
        let BlobPlace::Archive {
            archive, offset, ..
        } = &layer.place
        else {
            panic!("a layer of an archive is in the archive");
        };
        let len = archive.metadata().expect("the archive is open").len();
        assert!(offset.checked_add(layer.size).is_some_and(|end| end <= len));
        assert!(layer.digest.is_none() && layer.diff_id.starts_with("sha256:"));
    }
    let sum: u64 = image.layers.iter().map(|layer| layer.size).sum();
    assert_eq!(image.layers_bytes, sum);
}

fuzz_target!(|input: &[u8]| {
    let mut archive = input.to_vec();
    // Compressed ones stay as they are.
    if !matches!(input, [0x1f, 0x8b, ..] | [0x28, 0xb5, ..]) {
        fix_checksums(&mut archive);
    }
    let path = std::env::temp_dir().join(format!("docker_archive.{}", std::process::id()));
    std::fs::write(&path, &archive).expect("a file for the archive");
    if let Some(image) = open_archive(&path) {
        check(&image);
        let again = open_archive(&path).expect("the same archive again");
        assert_eq!(again.manifest_digest, image.manifest_digest);
        assert_eq!(again.layers.len(), image.layers.len());
    }
    std::fs::remove_file(&path).expect("the archive can be removed");
});
