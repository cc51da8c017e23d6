//! Snapshots whose packs are in a registry.

mod fill;
mod keeping;
pub(crate) mod origin;
mod panics;
mod reading;
mod slow;
mod trouble;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rootfs_store::{DEFAULT_CHUNK_BYTES, Lease, Pack, SnapshotDigest, Store};
use tempfile::TempDir;

use origin::{Memory, options, pull_lazily};

const CHUNK: usize = DEFAULT_CHUNK_BYTES as usize;
const DISK_BYTES: usize = 16 << 20;

/// A snapshot that was pulled lazily: its bytes, where its packs are, and the store that lacks them.
struct Lazy {
    dir: TempDir,
    bytes: Vec<u8>,
    origin: Arc<Memory>,
    snapshot: SnapshotDigest,
    packs: Vec<Pack>,
    _lease: Lease,
    store: Store,
}

impl Lazy {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bytes = noise(DISK_BYTES);
        let raw = dir.path().join("raw");
        fs::write(&raw, &bytes).unwrap();
        let from = Store::open(dir.path().join("from")).unwrap();
        let snapshot = from.import_disk(&raw, &()).unwrap().snapshot;
        from.set_name("disk", &snapshot).unwrap();
        let origin = Arc::new(Memory::default());
        let store = Store::open_with(dir.path().join("store"), options(&origin)).unwrap();
        let lease = pull_lazily(&from, &store, &snapshot, &origin).unwrap();
        store.set_name("disk", &snapshot).unwrap();
        let packs = from.snapshot(&snapshot).unwrap().packs;
        Self {
            dir,
            bytes,
            origin,
            snapshot,
            packs,
            _lease: lease,
            store,
        }
    }

    /// The store as another process opens it.
    fn reopened(&self) -> Store {
        Store::open_with(self.store.dir(), options(&self.origin)).unwrap()
    }

    fn file(&self, folder: &str, suffix: &str) -> PathBuf {
        let digits = &self.packs[0].digest.to_string()[7..];
        self.store
            .dir()
            .join(folder)
            .join(format!("{digits}{suffix}"))
    }

    fn blob(&self) -> PathBuf {
        self.file("blobs/sha256", "")
    }

    fn cache(&self) -> PathBuf {
        self.file("cache", "")
    }

    fn record(&self) -> PathBuf {
        self.file("remote", ".json")
    }

    /// Reads a chunk through a disk of `store`, and compares it.
    fn check_chunk(&self, store: &Store, chunk: usize) {
        let read = self.read(store, chunk * CHUNK, CHUNK).unwrap();
        assert!(read == self.bytes[chunk * CHUNK..(chunk + 1) * CHUNK]);
    }

    fn read(
        &self,
        store: &Store,
        at: usize,
        len: usize,
    ) -> Result<Vec<u8>, rootfs_store::DiskError> {
        let id = format!("reader-{:?}", std::thread::current().id());
        let id: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
        let disk = store.create_disk(&id, &self.snapshot)?;
        let mut bytes = vec![0; len];
        let read = disk.read_at(&mut bytes, at as u64);
        drop(disk);
        store.remove_disk(&id)?;
        read.map(|()| bytes)
    }

    /// Compares the whole disk.
    fn check_all(&self, store: &Store) {
        let path = self.dir.path().join("exported");
        store.export(&self.snapshot, &path, &()).unwrap();
        assert!(fs::read(&path).unwrap() == self.bytes);
        fs::remove_file(path).unwrap();
    }
}

/// Bytes that can't be compressed.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        // Xorshift (Marsaglia 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..len / 8).flat_map(|_| next()).collect()
}
