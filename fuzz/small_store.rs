//! A store of a few hundred kilobytes, made anew in each process, always of the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rootfs_store::{SnapshotDigest, Store};
use tempfile::TempDir;

/// Where blobs are.
pub const BLOBS: &str = "blobs/sha256/";
const CHUNK_BYTES: usize = rootfs_store::DEFAULT_CHUNK_BYTES as usize;
const DISK_BYTES: usize = 4 * CHUNK_BYTES;
const FOOTER_BYTES: usize = 24;
const ENTRY_BYTES: usize = 44;

/// All that a store holds: two named snapshots, one of which changes the other, and a disk with something written.
pub struct SmallStore {
    /// Files by their paths.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What the snapshots hold.
    pub disks: BTreeMap<SnapshotDigest, Vec<u8>>,
}

impl SmallStore {
    pub fn new() -> Self {
        let dir = scratch();
        let root = dir.path().join("store");
        let disks = fill(&root, &dir.path().join("raw"));
        let mut files = BTreeMap::new();
        read_into(&mut files, &root, String::new());
        Self { files, disks }
    }
}

fn fill(root: &Path, raw: &Path) -> BTreeMap<SnapshotDigest, Vec<u8>> {
    let store = Store::open(root).expect("a new store");
    let mut bytes = vec![0; DISK_BYTES];
    // The third chunk stays empty.
    for chunk in [0, 1, 3] {
        let start = chunk * CHUNK_BYTES;
        for (at, byte) in bytes[start..start + 1024].iter_mut().enumerate() {
            *byte = (at * at * (chunk + 3) % 251) as u8;
        }
    }
    fs::write(raw, &bytes).expect("a raw disk");
    let imported = store.import_disk(raw, &()).expect("an import");
    store.set_name("first", &imported.snapshot).expect("a name");
    let mut disks = BTreeMap::from([(imported.snapshot, bytes.clone())]);
    let disk = store.create_disk("d", &imported.snapshot).expect("a disk");
    let at = CHUNK_BYTES + 100;
    bytes[at..at + 700].fill(7);
    disk.write_at(&[7; 700], at as u64).expect("a write");
    let committed = store.commit(&disk, &()).expect("a commit");
    store
        .set_name("second", &committed.snapshot)
        .expect("a name");
    disks.insert(committed.snapshot, bytes);
    disks
}

fn read_into(files: &mut BTreeMap<String, Vec<u8>>, dir: &Path, path: String) {
    for entry in fs::read_dir(dir).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = entry.file_name();
        let path = format!("{path}{}", name.to_str().expect("a plain name"));
        if entry.path().is_dir() {
            read_into(files, &entry.path(), path + "/");
        } else {
            files.insert(path, fs::read(entry.path()).expect("a file"));
        }
    }
}

/// Writes files to a folder that is not there yet.
pub fn write(files: &BTreeMap<String, Vec<u8>>, root: &Path) {
    for (path, bytes) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a new folder");
        fs::write(path, bytes).expect("a new file");
    }
}

/// A new folder, in memory where that can be.
pub fn scratch() -> TempDir {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    dir.expect("a folder for temporary files")
}

/// Puts the checksums of a pack's table and footer right.
pub fn fix_pack(bytes: &mut [u8]) {
    let Some(footer) = bytes.len().checked_sub(FOOTER_BYTES) else {
        return;
    };
    if !bytes.ends_with(b"VMS-PACK") {
        return;
    }
    let mut entries = [0; 4];
    entries.copy_from_slice(&bytes[footer..footer + 4]);
    let table_bytes = (u32::from_le_bytes(entries) as usize).saturating_mul(ENTRY_BYTES);
    if let Some(table) = footer.checked_sub(table_bytes) {
        let crc = crc32c::crc32c(&bytes[table..footer]).to_le_bytes();
        bytes[footer + 4..footer + 8].copy_from_slice(&crc);
    }
    let crc = crc32c::crc32c(&bytes[footer..footer + 12]).to_le_bytes();
    bytes[footer + 12..footer + 16].copy_from_slice(&crc);
}
