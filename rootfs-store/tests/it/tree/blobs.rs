//! Layers as blobs: compressed in every way, and with every lie about them.

use rootfs_store::image::{BlobPlace, Compression, Image, ImageConfig, Layer as ImageLayer};
use rootfs_store::tree::{Limits, Tree, TreeError, build};
use tempfile::TempDir;

use super::listing;
use crate::layer::Layer;
use crate::oci_layout::{digest, gzip};

fn plain() -> Vec<u8> {
    Layer::new()
        .file("a", &[b'a'; 700_000])
        .file("b", b"bb")
        .bytes()
}

/// An image of one layer, whose blob is a file.
struct Blob {
    dir: TempDir,
    layer: ImageLayer,
}

impl Blob {
    fn new(blob: &[u8], plain: &[u8], compression: Compression) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blob");
        std::fs::write(&path, blob).unwrap();
        let layer = ImageLayer {
            digest: Some(digest(blob)),
            size: blob.len() as u64,
            diff_id: digest(plain),
            compression,
            place: BlobPlace::File(path),
        };
        Self { dir, layer }
    }

    fn build(&self, limits: &Limits) -> Result<Tree, TreeError> {
        let image = Image {
            manifest_digest: digest(b""),
            config: ImageConfig::default(),
            raw_config: Vec::new(),
            layers: vec![self.layer.clone()],
            layers_bytes: self.layer.size,
        };
        build(&image, self.dir.path(), limits, &())
    }

    fn fails(&self) -> TreeError {
        self.build(&Limits::default()).unwrap_err()
    }
}

#[track_caller]
fn assert_builds(blob: &[u8], compression: Compression) {
    let blob = Blob::new(blob, &plain(), compression);
    let tree = blob.build(&Limits::default()).unwrap();
    let names: Vec<_> = listing(&tree).into_keys().collect();
    assert_eq!(names, ["/a", "/b"]);
    // Nothing of the spool is left where it was made.
    assert_eq!(std::fs::read_dir(blob.dir.path()).unwrap().count(), 1);
}

#[test]
fn plain_layers_are_read() {
    assert_builds(&plain(), Compression::None);
}

#[test]
fn gzip_layers_may_have_several_members() {
    let plain = plain();
    let (one, two) = plain.split_at(100_001);
    assert_builds(&gzip(&plain), Compression::Gzip);
    assert_builds(
        &[gzip(one), gzip(b""), gzip(two)].concat(),
        Compression::Gzip,
    );
}

#[test]
fn zstd_layers_may_have_several_frames_and_skippable_ones() {
    let plain = plain();
    let (one, two) = plain.split_at(99_999);
    let frame = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 5, 0, 0, 0][..], b"12345"].concat();
    assert_builds(&frame(&plain), Compression::Zstd);
    let frames = [
        skippable.clone(),
        frame(one),
        skippable.clone(),
        frame(two),
        skippable,
    ];
    assert_builds(&frames.concat(), Compression::Zstd);
}

#[test]
fn bytes_after_the_end_of_the_archive_are_hashed_too() {
    let mut padded = plain();
    padded.resize(padded.len() + 1_000_000, 0);
    let blob = Blob::new(&gzip(&padded), &padded, Compression::Gzip);
    blob.build(&Limits::default()).unwrap();
}

#[test]
fn a_blob_with_another_digest_is_refused() {
    let mut blob = Blob::new(&gzip(&plain()), &plain(), Compression::Gzip);
    let mut bytes = std::fs::read(blob.layer.place.path()).unwrap();
    bytes[5] ^= 1;
    std::fs::write(blob.layer.place.path(), &bytes).unwrap();
    assert!(matches!(blob.fails(), TreeError::DigestMismatch { .. }));
    // Even where the fault breaks the stream first.
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0xff);
    std::fs::write(blob.layer.place.path(), &bytes).unwrap();
    assert!(matches!(blob.fails(), TreeError::DigestMismatch { .. }));
    blob.layer.compression = Compression::None;
    assert!(matches!(blob.fails(), TreeError::DigestMismatch { .. }));
}

#[test]
fn a_blob_of_another_size_is_refused() {
    let blob = Blob::new(&gzip(&plain()), &plain(), Compression::Gzip);
    let bytes = std::fs::read(blob.layer.place.path()).unwrap();
    std::fs::write(blob.layer.place.path(), &bytes[..bytes.len() - 9]).unwrap();
    assert!(matches!(blob.fails(), TreeError::SizeMismatch { .. }));
    std::fs::write(blob.layer.place.path(), [&bytes[..], b"more"].concat()).unwrap();
    assert!(matches!(blob.fails(), TreeError::SizeMismatch { .. }));
    std::fs::remove_file(blob.layer.place.path()).unwrap();
    assert!(matches!(blob.fails(), TreeError::ReadBlob { .. }));
}

#[test]
fn a_stream_with_another_diff_id_is_refused() {
    let blob = Blob::new(&gzip(&plain()), b"something else", Compression::Gzip);
    assert!(matches!(blob.fails(), TreeError::DiffIdMismatch { .. }));
}

#[test]
fn authentic_blobs_that_do_not_decompress_are_refused() {
    for compression in [Compression::Gzip, Compression::Zstd] {
        let blob = Blob::new(&plain(), &plain(), compression);
        assert!(matches!(blob.fails(), TreeError::Decompress { .. }));
    }
    let zipped = gzip(&plain());
    let blob = Blob::new(&zipped[..zipped.len() / 2], &plain(), Compression::Gzip);
    assert!(matches!(blob.fails(), TreeError::Decompress { .. }));
    let frame = zstd::encode_all(&plain()[..], 1).unwrap();
    let blob = Blob::new(&frame[..frame.len() / 2], &plain(), Compression::Zstd);
    assert!(matches!(blob.fails(), TreeError::Decompress { .. }));
}

#[test]
fn what_a_layer_unpacks_to_is_limited() {
    let blob = Blob::new(&gzip(&plain()), &plain(), Compression::Gzip);
    let unpacked_bytes = plain().len() as u64;
    let limits = |unpacked_bytes| Limits {
        unpacked_bytes,
        ..Limits::default()
    };
    blob.build(&limits(unpacked_bytes)).unwrap();
    let error = blob.build(&limits(unpacked_bytes - 1)).unwrap_err();
    assert!(matches!(error, TreeError::TooManyBytes { .. }), "{error}");
}
