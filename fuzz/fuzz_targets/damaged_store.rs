//! A small store that is good, with files of it changed, cut off or removed; checksums and digests may be put right
//! again, as who means harm would.
//!
//! Oracle: a verification ends; it finds nothing if nothing was changed. If it finds nothing, each named snapshot can
//! be read, and holds what it held when its digest is the same.
#![no_main]

#[path = "../small_store.rs"]
mod small_store;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::thread;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rootfs_store::{BlobDigest, Store};
use small_store::{BLOBS, SmallStore, fix_pack, scratch};

/// Most places that are damaged.
const MAX_DAMAGES: usize = 4;
/// Largest disk that is read: a hostile config may claim a huge one.
const MAX_READ_BYTES: u64 = 16 << 20;

#[derive(Arbitrary, Debug)]
struct Input {
    damages: Vec<Damage>,
    /// Digests and checksums are put right, in all that name what was changed.
    fix: bool,
}

#[derive(Arbitrary, Debug)]
struct Damage {
    file: u8,
    at: u16,
    kind: Kind,
}

#[derive(Arbitrary, Debug)]
enum Kind {
    Flip(u8),
    /// Counts from the end of the file, where packs have their tables.
    FlipFromEnd(u8),
    Cut,
    Append(u8),
    Remove,
}

type Files = BTreeMap<String, Vec<u8>>;

static GOOD: LazyLock<SmallStore> = LazyLock::new(SmallStore::new);

impl Damage {
    fn apply(&self, files: &mut Files) {
        let Some(name) = files
            .keys()
            .nth(usize::from(self.file) % files.len().max(1))
        else {
            return;
        };
        let name = name.clone();
        let Some(bytes) = files.get_mut(&name).filter(|bytes| !bytes.is_empty()) else {
            return;
        };
        let at = usize::from(self.at) % bytes.len();
        match self.kind {
            Kind::Flip(mask) => bytes[at] ^= mask,
            Kind::FlipFromEnd(mask) => {
                let at = bytes.len() - 1 - at;
                bytes[at] ^= mask;
            }
            Kind::Cut => bytes.truncate(at),
            Kind::Append(byte) => bytes.push(byte),
            Kind::Remove => drop(files.remove(&name)),
        }
    }
}

/// Gives each blob the name that its bytes have, in the documents that name it, too.
fn rename_blobs(files: &mut Files) {
    // A manifest names configs and packs, and `index.json` names manifests.
    for _ in 0..4 * GOOD.files.len() {
        let digits = |bytes: &[u8]| BlobDigest::of(bytes).to_string()[7..].to_owned();
        let wrong = files.iter().find_map(|(path, bytes)| {
            let old = path.strip_prefix(BLOBS)?;
            let new = digits(bytes);
            (old != new).then(|| (old.to_owned(), new))
        });
        let Some((old, new)) = wrong else {
            return;
        };
        let bytes = files
            .remove(&format!("{BLOBS}{old}"))
            .expect("it was found");
        files.insert(format!("{BLOBS}{new}"), bytes);
        for document in files.values_mut().filter(|bytes| bytes.starts_with(b"{")) {
            if let Ok(text) = std::str::from_utf8(document) {
                *document = text.replace(&old, &new).into_bytes();
            }
        }
    }
}

/// Reads all that has a name, after a verification that found nothing.
fn read_all(store: &Store, dir: &Path) {
    for named in store.names().expect("it was verified") {
        let snapshot = store.snapshot(&named.digest).expect("it was verified");
        if snapshot.disk_bytes > MAX_READ_BYTES {
            continue;
        }
        let file = dir.join("exported");
        let exported = store.export(&named.digest, &file, &());
        exported.expect("it was verified");
        if let Some(original) = GOOD.disks.get(&named.digest) {
            assert!(fs::read(&file).expect("it was exported") == *original);
        }
        fs::remove_file(file).expect("it was exported");
    }
}

/// Threads of this process.
fn threads() -> usize {
    fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

fn run(input: &Input) {
    let mut files = GOOD.files.clone();
    if input.fix {
        // The disk's map has its base's digest where no text is.
        files.retain(|path, _| !path.starts_with("disks/"));
    }
    for damage in input.damages.iter().take(MAX_DAMAGES) {
        damage.apply(&mut files);
    }
    let is_changed = files.iter().ne(GOOD
        .files
        .iter()
        .filter(|(path, _)| !input.fix || !path.starts_with("disks/")));
    if input.fix {
        files.values_mut().for_each(|bytes| fix_pack(bytes));
        rename_blobs(&mut files);
    }
    let dir = scratch();
    small_store::write(&files, &dir.path().join("store"));
    let Ok(store) = Store::open(dir.path().join("store")) else {
        assert!(is_changed);
        return;
    };
    let verified = store.verify(&()).expect("the folder can be worked with");
    assert!(is_changed || verified.faults.is_empty(), "{verified:?}");
    if verified.faults.is_empty() && !verified.more_faults {
        read_all(&store, dir.path());
    }
}

fuzz_target!(|input: Input| {
    let before = threads();
    run(&input);
    // What threads have that are done, but not gone yet, would be taken for a leak.
    while threads() > before {
        thread::yield_now();
    }
});
