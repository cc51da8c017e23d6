//! Images through the whole store, with e2fsck and skopeo as judges.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rootfs_store::image::ImageError;
use rootfs_store::tree::TreeError;
use rootfs_store::{
    ImageReference, ImportError, ImportOptions, Imported, SnapshotDigest, Store, StoreError,
};

use crate::sample_image::{self, Sample};

fn import(store: &Store, image: &ImageReference) -> Imported {
    store.import(image, &ImportOptions::default(), &()).unwrap()
}

fn e2fsck(disk: &Path) {
    let output = Command::new("e2fsck")
        .arg("-fn")
        .arg(disk)
        .output()
        .expect("install e2fsprogs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

fn exported(store: &Store, snapshot: &SnapshotDigest, dir: &Path) -> PathBuf {
    let file = dir.join("exported.raw");
    store.export(snapshot, &file, &()).unwrap();
    file
}

#[test]
fn same_image_gives_the_same_snapshot_in_every_store() {
    let dir = tempfile::tempdir().unwrap();
    let image = sample_image::write(&dir.path().join("image"), &Sample::default());
    let one = Store::open(dir.path().join("one")).unwrap();
    let two = Store::open(dir.path().join("two")).unwrap();
    let other = sample_image::write(
        &dir.path().join("other"),
        &Sample {
            note: "other",
            ..Sample::default()
        },
    );
    import(&two, &other);
    assert_eq!(import(&one, &image).snapshot, import(&two, &image).snapshot);
}

#[test]
fn imported_disk_is_clean_sparse_and_holds_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let image = sample_image::write(&dir.path().join("image"), &Sample::default());
    let store = Store::open(dir.path().join("store")).unwrap();
    let imported = import(&store, &image);
    assert_eq!(imported.disk_bytes, 8 << 30);
    assert!(
        imported.stored_bytes < 1 << 20,
        "{} bytes stored",
        imported.stored_bytes
    );
    let disk = exported(&store, &imported.snapshot, dir.path());
    e2fsck(&disk);
    let fs = ext4_view::Ext4::load(Box::new(fs::File::open(&disk).unwrap())).unwrap();
    assert_eq!(fs.read("/etc/note").unwrap(), b"note");
    assert!(!fs.exists("/etc/removed").unwrap());
    assert_eq!(fs.read("/etc/linked").unwrap(), b"note");
    assert_eq!(fs.read("/usr/lib/large").unwrap(), sample_image::large());
}

#[test]
fn second_import_is_found_and_stores_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let image = sample_image::write(&dir.path().join("image"), &Sample::default());
    let store = Store::open(dir.path().join("store")).unwrap();
    let first = import(&store, &image);
    let second = import(&store, &image);
    assert_eq!(second.snapshot, first.snapshot);
    assert_eq!(
        (second.new_chunks, second.new_bytes, second.stored_bytes),
        (0, 0, 0)
    );
    let options = ImportOptions {
        disk_bytes: Some(100 << 20),
        ..ImportOptions::default()
    };
    let smaller = store.import(&image, &options, &()).unwrap();
    assert_eq!(smaller.disk_bytes, 100 << 20);
    assert_ne!(smaller.snapshot, first.snapshot);
}

#[test]
fn store_is_a_layout_that_skopeo_reads() {
    let dir = tempfile::tempdir().unwrap();
    let image = sample_image::write(&dir.path().join("image"), &Sample::default());
    let store = Store::open(dir.path().join("store")).unwrap();
    let snapshot = import(&store, &image).snapshot;
    store.set_name("sample", &snapshot).unwrap();
    let from = format!("oci:{}:sample", dir.path().join("store").display());
    let to = format!("oci:{}:sample", dir.path().join("copy").display());
    let output = Command::new("skopeo")
        .args(["copy", &from, &to])
        .output()
        .expect("install skopeo");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // A copy of the blobs is a whole store.
    let copy = Store::open(dir.path().join("copy")).unwrap();
    e2fsck(&exported(&copy, &snapshot, dir.path()));
}

#[test]
fn all_compressions_give_the_same_files() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let mut disks = Vec::new();
    for compression in ["tar", "tar+gzip", "tar+zstd"] {
        let image = sample_image::write(
            &dir.path().join(compression),
            &Sample {
                compression,
                ..Sample::default()
            },
        );
        let snapshot = store.snapshot(&import(&store, &image).snapshot).unwrap();
        disks.push(snapshot.packs);
    }
    assert!(disks.iter().all(|packs| *packs == disks[0]));
}

/// What a failed import may leave: an empty store, nothing else.
fn assert_empty(store: &Store) {
    assert_eq!(store.names().unwrap(), []);
    for folder in ["blobs/sha256", "staging"] {
        let left: Vec<_> = fs::read_dir(store.dir().join(folder)).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn missing_and_truncated_images_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let nowhere: ImageReference = "oci:/nowhere:latest".parse().unwrap();
    let error = store
        .import(&nowhere, &ImportOptions::default(), &())
        .unwrap_err();
    assert!(
        matches!(
            error,
            ImportError::Image {
                source: ImageError::Io { .. },
                ..
            }
        ),
        "{error:?}"
    );

    let place = dir.path().join("image");
    let image = sample_image::write(&place, &Sample::default());
    let layer = sample_image::largest_blob(&place);
    let whole = fs::read(&layer).unwrap();
    fs::write(&layer, &whole[..whole.len() / 2]).unwrap();
    let error = store
        .import(&image, &ImportOptions::default(), &())
        .unwrap_err();
    let ImportError::Image {
        source: ImageError::SizeMismatch { .. },
        ..
    } = error
    else {
        panic!("{error:?}")
    };
    assert_empty(&store);
}

#[test]
fn blob_with_a_wrong_digest_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    for compression in ["tar", "tar+gzip", "tar+zstd"] {
        let place = dir.path().join(compression);
        let image = sample_image::write(
            &place,
            &Sample {
                compression,
                ..Sample::default()
            },
        );
        let layer = sample_image::largest_blob(&place);
        let mut bytes = fs::read(&layer).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&layer, bytes).unwrap();
        let error = store
            .import(&image, &ImportOptions::default(), &())
            .unwrap_err();
        let ImportError::Tree {
            source: TreeError::DigestMismatch { .. },
            ..
        } = error
        else {
            panic!("{error:?}")
        };
        assert_empty(&store);
    }
}

#[test]
fn disk_that_is_too_small_is_refused_and_says_what_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let image = sample_image::write(&dir.path().join("image"), &Sample::default());
    let store = Store::open(dir.path().join("store")).unwrap();
    let options = |bytes| ImportOptions {
        disk_bytes: Some(bytes),
        ..ImportOptions::default()
    };
    let error = store.import(&image, &options(1), &()).unwrap_err();
    assert!(matches!(error, ImportError::Layout { .. }), "{error:?}");
    for bytes in [0, u64::MAX, 1 << 60] {
        let error = store.import(&image, &options(bytes), &()).unwrap_err();
        assert!(matches!(error, ImportError::DiskSize { .. }), "{error:?}");
    }
    assert_empty(&store);
}

#[test]
fn export_over_a_file_that_exists_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let image = sample_image::write(&dir.path().join("image"), &Sample::default());
    let store = Store::open(dir.path().join("store")).unwrap();
    let snapshot = import(&store, &image).snapshot;
    let file = dir.path().join("precious");
    fs::write(&file, b"precious").unwrap();
    assert!(store.export(&snapshot, &file, &()).is_err());
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    let nothing = SnapshotDigest::from_bytes([1; 32]);
    let error = store
        .export(&nothing, &dir.path().join("new"), &())
        .unwrap_err();
    assert!(matches!(
        error,
        rootfs_store::ExportError::Store(StoreError::NotFound { .. })
    ));
    assert!(!dir.path().join("new").exists());
}

#[test]
fn image_for_another_machine_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let image = sample_image::write(&dir.path().join("image"), &Sample::default());
    let store = Store::open(dir.path().join("store")).unwrap();
    let options = ImportOptions {
        platform: "linux/arm64".parse().unwrap(),
        ..ImportOptions::default()
    };
    let error = store.import(&image, &options, &()).unwrap_err();
    let ImportError::Image {
        source: ImageError::OtherPlatform { .. },
        ..
    } = error
    else {
        panic!("{error:?}")
    };
    assert_empty(&store);
}

#[test]
fn pipe_in_the_place_of_a_file_is_refused_instead_of_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("image");
    let image = sample_image::write(&place, &Sample::default());
    let store = Store::open(dir.path().join("store")).unwrap();
    for file in [sample_image::largest_blob(&place), place.join("index.json")] {
        fs::remove_file(&file).unwrap();
        let made = Command::new("mkfifo").arg(&file).status().unwrap();
        assert!(made.success());
        store
            .import(&image, &ImportOptions::default(), &())
            .unwrap_err();
    }
}

#[test]
fn chunks_of_every_size_hold_the_same_files_and_others_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let image = sample_image::write(&dir.path().join("image"), &Sample::default());
    let store = Store::open(dir.path().join("store")).unwrap();
    let options = |chunk_bytes| ImportOptions {
        chunk_bytes,
        ..ImportOptions::default()
    };
    for chunk_bytes in [16 << 10, 512 << 10, 1 << 20] {
        let snapshot = store
            .import(&image, &options(chunk_bytes), &())
            .unwrap()
            .snapshot;
        assert_eq!(store.snapshot(&snapshot).unwrap().chunk_bytes, chunk_bytes);
        let disk = exported(&store, &snapshot, dir.path());
        e2fsck(&disk);
        std::fs::remove_file(disk).unwrap();
    }
    for chunk_bytes in [0, 8 << 10, 48 << 10, 2 << 20] {
        let refused = store.import(&image, &options(chunk_bytes), &());
        assert!(
            matches!(refused, Err(ImportError::ChunkSize { .. })),
            "{refused:?}"
        );
    }
}
