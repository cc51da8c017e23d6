//! Versions of images, and images on the same base: what the second one costs.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rootfs_store::{
    BlobDigest, ImageReference, ImportError, ImportOptions, Imported, SnapshotDigest, Store,
};

use crate::oci_layout;

const FILES: usize = 1100;
const FILE_BYTES: usize = 32 << 10;

/// Bytes that compress to a half, different for each number.
fn content(number: usize) -> Vec<u8> {
    let mut state = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(FILE_BYTES);
    while bytes.len() < FILE_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
    }
    bytes
}

/// A layer of files, each given by its number and version.
fn layer(files: impl Iterator<Item = (usize, usize)>) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (number, version) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(FILE_BYTES as u64);
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000 + version as u64);
        let name = format!("usr/share/{:02}/{number:04}", number % 40);
        let content = content(number + version * 100_000);
        tar.append_data(&mut header, name, &*content).unwrap();
    }
    tar.into_inner().unwrap()
}

/// The numbers of 21 files, spread over all.
fn changed() -> impl Iterator<Item = usize> {
    (0..21).map(|n| n * 52 + 3)
}

fn base() -> Vec<u8> {
    layer((0..FILES).map(|number| (number, 0)))
}

fn image(dir: &Path, layers: &[Vec<u8>]) -> ImageReference {
    oci_layout::write_layout(dir, layers);
    format!("oci:{}:t", dir.display()).parse().unwrap()
}

fn options(parent: Option<SnapshotDigest>) -> ImportOptions {
    ImportOptions {
        disk_bytes: Some(256 << 20),
        parent,
        ..ImportOptions::default()
    }
}

fn stored(store: &Store, snapshot: &SnapshotDigest) -> u64 {
    let packs = store.snapshot(snapshot).unwrap().packs;
    packs.iter().map(|pack| pack.bytes).sum()
}

#[test]
fn layer_on_top_costs_little_and_the_snapshot_is_the_same_in_every_store() {
    let dir = tempfile::tempdir().unwrap();
    let first = image(&dir.path().join("first"), &[base()]);
    let second = image(
        &dir.path().join("second"),
        &[base(), layer(changed().map(|n| (n, 1)))],
    );
    let store = Store::open(dir.path().join("store")).unwrap();
    let one = store.import(&first, &options(None), &()).unwrap();
    let two = store.import(&second, &options(None), &()).unwrap();
    let whole = stored(&store, &one.snapshot);
    assert!(
        two.stored_bytes < whole * 4 / 100,
        "{} of {whole}",
        two.stored_bytes
    );
    let packs = store.snapshot(&two.snapshot).unwrap().packs;
    assert_eq!(packs.len(), 2);
    assert_eq!(packs[0], store.snapshot(&one.snapshot).unwrap().packs[0]);
    assert!(store.verify(&()).unwrap().faults.is_empty());
    // What the other store had before makes no difference.
    let fresh = Store::open(dir.path().join("fresh")).unwrap();
    let alone = fresh.import(&second, &options(None), &()).unwrap();
    assert_eq!(alone.snapshot, two.snapshot);
}

#[test]
fn layer_that_replaces_most_of_its_base_names_no_pack_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let most = (0..FILES * 3 / 4).map(|number| (number, 1));
    let layers = [base(), layer(most)];
    let first = image(&dir.path().join("first"), &layers[..1]);
    let both = image(&dir.path().join("both"), &layers);
    let store = Store::open(dir.path().join("store")).unwrap();
    let first = store.import(&first, &options(None), &()).unwrap();
    let imported = store.import(&both, &options(None), &()).unwrap();
    let packs = |imported: &Imported| store.snapshot(&imported.snapshot).unwrap().packs;
    let (theirs, ours) = (packs(&first), packs(&imported));
    assert!(!theirs.iter().any(|pack| ours.contains(pack)));
    let whole = stored(&store, &first.snapshot);
    assert!(stored(&store, &imported.snapshot) < whole * 105 / 100);
    assert!(store.verify(&()).unwrap().faults.is_empty());
}

#[test]
fn rebuilt_layer_costs_little_over_its_parent() {
    let dir = tempfile::tempdir().unwrap();
    let version = |number| usize::from(changed().any(|changed| changed == number));
    let rebuilt = layer((0..FILES).map(|number| (number, version(number))));
    let first = image(&dir.path().join("first"), &[base()]);
    let second = image(&dir.path().join("second"), &[rebuilt]);
    let store = Store::open(dir.path().join("store")).unwrap();
    let one = store.import(&first, &options(None), &()).unwrap();
    let two = store
        .import(&second, &options(Some(one.snapshot)), &())
        .unwrap();
    let whole = stored(&store, &one.snapshot);
    assert!(
        two.stored_bytes < whole * 4 / 100,
        "{} of {whole}",
        two.stored_bytes
    );
    let snapshot = store.snapshot(&two.snapshot).unwrap();
    assert_eq!(snapshot.parent, Some(one.snapshot));
    // The bytes are those of an import without a parent.
    let alone = store.import(&second, &options(None), &()).unwrap();
    assert_ne!(alone.snapshot, two.snapshot);
    let differences = store.diff(&alone.snapshot, &two.snapshot).unwrap();
    assert!(differences.ranges.is_empty(), "{differences:?}");
}

#[test]
fn parent_with_chunks_of_another_size_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let image = image(&dir.path().join("image"), &[layer((0..3).map(|n| (n, 0)))]);
    let store = Store::open(dir.path().join("store")).unwrap();
    let small = ImportOptions {
        chunk_bytes: 16 << 10,
        ..options(None)
    };
    let parent = store.import(&image, &small, &()).unwrap().snapshot;
    let refused = store.import(&image, &options(Some(parent)), &());
    assert!(
        matches!(refused, Err(ImportError::ParentChunkSize { .. })),
        "{refused:?}"
    );
}

/// Flips a bit in a pack where it is, as a failing disk does.
fn damage(store: &Store, pack: &BlobDigest) -> PathBuf {
    let name = pack.to_string().replace("sha256:", "");
    let path = store.dir().join("blobs/sha256").join(name);
    let mut permissions = fs::metadata(&path).unwrap().permissions();
    #[expect(
        clippy::permissions_set_readonly_false,
        reason = "the folder goes with the test"
    )]
    permissions.set_readonly(false);
    fs::set_permissions(&path, permissions).unwrap();
    let file = fs::File::options().read(true).write(true).open(&path);
    let file = file.unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 1000).unwrap();
    file.write_all_at(&[byte[0] ^ 4], 1000).unwrap();
    path
}

#[test]
fn import_again_puts_back_what_was_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let layers = [base(), layer(changed().map(|n| (n, 1)))];
    let image = image(&dir.path().join("image"), &layers);
    let store = Store::open(dir.path().join("store")).unwrap();
    let imported = store.import(&image, &options(None), &()).unwrap();
    store.set_name("web", &imported.snapshot).unwrap();
    let packs = store.snapshot(&imported.snapshot).unwrap().packs;
    assert_eq!(packs.len(), 2);
    for pack in &packs {
        damage(&store, &pack.digest);
    }
    let faults = store.verify(&()).unwrap().faults;
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].advice().contains("`again`"));
    // An import that finds the earlier one does not read it.
    store.import(&image, &options(None), &()).unwrap();
    assert_eq!(store.verify(&()).unwrap().faults.len(), 2);
    let again = ImportOptions {
        again: true,
        ..options(None)
    };
    let anew = store.import(&image, &again, &()).unwrap();
    assert_eq!(anew.snapshot, imported.snapshot);
    let faults = store.verify(&()).unwrap().faults;
    assert!(faults.is_empty(), "{faults:?}");
}

#[test]
fn parent_whose_packs_are_damaged_is_named_if_they_are_needed() {
    let dir = tempfile::tempdir().unwrap();
    let version = |number| usize::from(changed().any(|changed| changed == number));
    let rebuilt = layer((0..FILES).map(|number| (number, version(number))));
    let other = layer((0..3).map(|number| (number, 2)));
    let first = image(&dir.path().join("first"), &[base()]);
    let second = image(&dir.path().join("second"), &[rebuilt]);
    let third = image(&dir.path().join("third"), &[other]);
    let store = Store::open(dir.path().join("store")).unwrap();
    let parent = store.import(&first, &options(None), &()).unwrap().snapshot;
    let pack = store.snapshot(&parent).unwrap().packs[0].digest;
    damage(&store, &pack);
    match store.import(&second, &options(Some(parent)), &()) {
        Err(ImportError::ParentDamaged { pack: named, .. }) => assert_eq!(named, pack),
        other => panic!("{other:?}"),
    }
    // What shares nothing with it needs no pack of it.
    store.import(&third, &options(Some(parent)), &()).unwrap();
    let again = ImportOptions {
        again: true,
        ..options(None)
    };
    store.import(&first, &again, &()).unwrap();
    store.import(&second, &options(Some(parent)), &()).unwrap();
}

#[test]
fn parent_whose_packs_are_damaged_is_named_if_it_must_be_read() {
    let dir = tempfile::tempdir().unwrap();
    // Less than half of the parent's pack, so that what is shared is copied out of it.
    let third = layer((0..FILES / 3).map(|number| (number, 0)));
    let first = image(&dir.path().join("first"), &[base()]);
    let second = image(&dir.path().join("second"), &[third]);
    let store = Store::open(dir.path().join("store")).unwrap();
    let parent = store.import(&first, &options(None), &()).unwrap().snapshot;
    let pack = store.snapshot(&parent).unwrap().packs[0].digest;
    let import = || store.import(&second, &options(Some(parent)), &());
    assert!(
        !store
            .snapshot(&import().unwrap().snapshot)
            .unwrap()
            .packs
            .iter()
            .any(|it| it.digest == pack)
    );
    damage(&store, &pack);
    let again = ImportOptions {
        again: true,
        ..options(Some(parent))
    };
    match store.import(&second, &again, &()) {
        Err(ImportError::ParentDamaged { pack: named, .. }) => assert_eq!(named, pack),
        other => panic!("{other:?}"),
    }
    store.import(&second, &options(None), &()).unwrap();
}

#[test]
fn parent_whose_chunks_lie_in_too_many_packs_gives_its_chunks_but_no_packs() {
    const PACKS: usize = 92;
    const CHUNK_BYTES: usize = 64 << 10;
    let dir = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..PACKS * CHUNK_BYTES / FILE_BYTES)
        .flat_map(content)
        .collect();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "large", &*bytes).unwrap();
    let image = image(&dir.path().join("image"), &[tar.into_inner().unwrap()]);
    let store = Store::open(dir.path().join("store")).unwrap();
    let raw = dir.path().join("raw");
    fs::File::create(&raw).unwrap().set_len(16 << 20).unwrap();
    let empty = store.import_disk(&raw, &()).unwrap();
    let disk = store.create_disk("parent", &empty.snapshot).unwrap();
    let mut parent = empty.snapshot;
    for (number, chunk) in bytes.chunks(CHUNK_BYTES).enumerate() {
        disk.write_at(chunk, (number * CHUNK_BYTES) as u64).unwrap();
        let committed = store.commit_live(&disk, &()).unwrap();
        parent = committed.snapshot;
        store.set_name("parent", &parent).unwrap();
    }
    let theirs = store.snapshot(&parent).unwrap().packs;
    assert!(theirs.len() >= PACKS);
    let imported = store.import(&image, &options(Some(parent)), &()).unwrap();
    let ours = store.snapshot(&imported.snapshot).unwrap().packs;
    assert!(!ours.iter().any(|pack| theirs.contains(pack)));
    let alone = store.import(&image, &options(None), &()).unwrap();
    let differences = store.diff(&alone.snapshot, &imported.snapshot).unwrap();
    assert!(differences.ranges.is_empty());
    assert!(store.verify(&()).unwrap().faults.is_empty());
}
