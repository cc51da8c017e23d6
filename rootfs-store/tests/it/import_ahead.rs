//! Large files, whose chunks are written before the disk that they belong to is known.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rootfs_store::ext4::Layout;
use rootfs_store::{ImageReference, ImportOptions, Imported, Store};

use crate::disk::tree;
use crate::ext4::noise;
use crate::layer::Layer;
use crate::oci_layout;

const KIB: usize = 1 << 10;
const MIB: u64 = 1 << 20;
/// Largest piece of a disk that is compared at once.
const STEP: usize = 1 << 20;

fn image(dir: &Path, layers: &[Vec<u8>]) -> ImageReference {
    oci_layout::write_layout(dir, layers);
    format!("oci:{}:t", dir.display()).parse().unwrap()
}

fn import(store: &Store, image: &ImageReference, mib: u64, chunk_bytes: usize) -> Imported {
    let options = ImportOptions {
        disk_bytes: Some(mib * MIB),
        chunk_bytes: u32::try_from(chunk_bytes).unwrap(),
        ..ImportOptions::default()
    };
    store.import(image, &options, &()).unwrap()
}

/// Demands that the disk of an image is the one that is computed from its layers with no chunk written ahead.
fn assert_same_disk(layers: &[Vec<u8>], mib: u64, chunk_bytes: usize) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let image = image(&dir.path().join("image"), layers);
    let imported = import(&store, &image, mib, chunk_bytes);
    let exported = dir.path().join("disk");
    store.export(&imported.snapshot, &exported, &()).unwrap();
    let disk = fs::File::open(exported).unwrap();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    let chunk_bytes = u32::try_from(chunk_bytes).unwrap();
    let layout = Layout::plan(tree(&layers), mib * MIB, chunk_bytes).unwrap();
    let (mut expected, mut actual) = (vec![0; STEP], vec![0; STEP]);
    for offset in (0..mib * MIB).step_by(STEP) {
        layout.read_at(&mut expected, offset).unwrap();
        disk.read_exact_at(&mut actual, offset).unwrap();
        assert!(expected == actual, "the {STEP} bytes at {offset} differ");
    }
    assert!(store.verify(&()).unwrap().faults.is_empty());
}

/// Files of lengths around all that matters to chunks of this size.
fn files(chunk_bytes: usize) -> Layer {
    let mut layer = Layer::new();
    let lengths = [
        0,
        1,
        4096,
        chunk_bytes / 2 - 4096,
        chunk_bytes / 2,
        chunk_bytes,
    ];
    for (number, length) in (0u32..).zip(lengths) {
        for (name, length) in [
            ("a", length),
            ("b", length + 1),
            ("c", length.saturating_sub(1)),
        ] {
            layer.file(&format!("{number}{name}"), &noise(length, number * 3));
        }
    }
    let mut patched = vec![0; chunk_bytes * 5 + 5000];
    patched[chunk_bytes * 2 + 17] = 1;
    patched[chunk_bytes * 5] = 1;
    layer
        .file("zeros", &vec![0; chunk_bytes * 3 + 1])
        .file("zeros and more", &patched)
        .file("twice", &noise(chunk_bytes * 2 + 100, 7))
        .file("once more", &noise(chunk_bytes * 2 + 100, 7))
        .sparse(
            "sparse",
            (chunk_bytes * 4) as u64,
            &[(8192, &noise(chunk_bytes, 9)[..])],
        );
    layer
}

#[test]
fn the_disk_is_the_same_at_every_size_of_chunks() {
    for chunk_bytes in [16 * KIB, 64 * KIB, 1024 * KIB] {
        assert_same_disk(&[files(chunk_bytes).finish()], 64, chunk_bytes);
    }
}

#[test]
fn a_file_longer_than_a_group_is_the_same() {
    let mut layer = Layer::new();
    let len = 300 * MIB;
    let numbers = (0..len / 512).flat_map(|sector| [sector.to_le_bytes(); 64].concat());
    let mut bytes: Vec<u8> = numbers.collect();
    bytes[5000] = 1;
    layer.file("huge", &bytes).file("small", b"small");
    assert_same_disk(&[layer.finish()], 512, 64 * KIB);
}

/// Layers that end steps, each of which replaces what some before it brought.
#[test]
fn later_layers_replace_and_remove() {
    let layer = |files: &[(u32, u32)], gone: &[u32]| {
        let mut layer = Layer::new();
        for (number, version) in files {
            let bytes = noise(3 << 20, number + version * 1000);
            layer.file(&format!("large/{number}"), &bytes);
        }
        for number in gone {
            layer.file(&format!("large/.wh.{number}"), b"");
        }
        layer.finish()
    };
    let first: Vec<_> = (0..8).map(|number| (number, 0)).collect();
    let second: Vec<_> = (0..6).map(|number| (number, 1)).collect();
    assert_same_disk(
        &[
            layer(&first, &[]),
            layer(&[(7, 2)], &[3]),
            layer(&second, &[]),
            layer(&[(1, 3)], &[0]),
            layer(&first, &[4]),
        ],
        128,
        64 * KIB,
    );
}

#[test]
fn replaced_files_take_no_space() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let mut layer = Layer::new();
    layer.file("kept", &noise(1 << 20, 1));
    for version in 0..20 {
        layer.file("replaced", &noise(1 << 20, 2 + version));
    }
    let image = image(&dir.path().join("image"), &[layer.finish()]);
    let imported = import(&store, &image, 64, 64 * KIB);
    assert!(imported.stored_bytes < 3 << 20, "{}", imported.stored_bytes);
    assert!(store.verify(&()).unwrap().faults.is_empty());
}

#[test]
fn a_large_file_that_is_cut_off_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let mut layer = Layer::new();
    layer.file_from("cut", 4 << 20, io::repeat(7).take(4 << 20));
    let mut cut = layer.finish();
    cut.truncate(2 << 20);
    let image = image(&dir.path().join("image"), &[cut]);
    let error = store
        .import(&image, &ImportOptions::default(), &())
        .unwrap_err();
    let error = format!("{:?}", error);
    assert!(
        error.contains("Truncated") && error.contains("cut"),
        "{error}"
    );
    assert!(
        fs::read_dir(store.dir().join("blobs/sha256"))
            .unwrap()
            .next()
            .is_none()
    );
}

/// What is left of an import that failed.
fn left(store: &Store) -> usize {
    let count = |folder: &str| fs::read_dir(store.dir().join(folder)).unwrap().count();
    count("blobs/sha256") + count("staging")
}

#[test]
fn steps_before_one_that_fails_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let good = |number: u32| {
        let mut layer = Layer::new();
        layer.file(&format!("{number}"), &noise(17 << 20, number));
        layer.finish()
    };
    let mut bad = good(3);
    bad.truncate(5 << 20);
    let image = image(&dir.path().join("image"), &[good(1), good(2), bad]);
    store
        .import(&image, &ImportOptions::default(), &())
        .unwrap_err();
    assert_eq!(left(&store), 0);
}

#[test]
fn a_layer_that_is_too_large_for_the_disk_is_fine_if_a_later_one_makes_room() {
    let large = |name: &str, mib: u32| {
        let mut layer = Layer::new();
        layer
            .file(name, &noise((mib as usize) << 20, mib))
            .file("small", b"small");
        layer
    };
    let mut removal = large("b", 17);
    removal.file(".wh.a", b"");
    let layers = [
        large("a", 70).finish(),
        removal.finish(),
        large("c", 18).finish(),
    ];
    assert_same_disk(&layers, 64, 64 * KIB);
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let image = image(&dir.path().join("image"), &layers);
    let imported = import(&store, &image, 64, 64 * KIB);
    assert!(
        imported.stored_bytes < 37 << 20,
        "{}",
        imported.stored_bytes
    );
    assert!(imported.new_bytes < 37 << 20, "{}", imported.new_bytes);
}
