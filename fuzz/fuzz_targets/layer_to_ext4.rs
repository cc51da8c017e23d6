//! Layers, from the bytes of a tar stream to a disk.
//!
//! Oracles: e2fsck finds nothing to say about a disk that was planned, `ext4-view` reads the tree back from it, the
//! smallest size is enough, and the disk is the same however it is read. Checksums of tar headers are put right first,
//! or hardly any input would get far. e2fsck takes longer than all the rest, so it sees a share of the disks only.
#![no_main]

// The same comparison as in the tests of the store.
#[path = "../../rootfs-store/tests/it/ext4/compare.rs"]
mod compare;
#[path = "../tar_headers.rs"]
mod tar_headers;

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use compare::assert_same;
use ext4_view::{Ext4, Ext4Error};
use libfuzzer_sys::fuzz_target;
use rootfs_store::ext4::{Layout, LayoutError};
use rootfs_store::tree::{InodeId, Kind, Limits, Tree, build_from_plain_layers};
use tar_headers::{BLOCK, fix_checksums};

const CHUNK_BYTES: u32 = 16 << 10;
/// Larger disks are planned, but not written.
const MAX_WRITTEN_BYTES: u64 = 256 << 20;
/// One of so many disks is checked by e2fsck.
const CHECKED_SHARE: u64 = 8;

fn build(layers: &[&[u8]]) -> Option<Tree> {
    let limits = Limits {
        unpacked_bytes: 16 << 20,
        entries: 10_000,
        metadata_bytes: 16 << 20,
    };
    build_from_plain_layers(layers, &std::env::temp_dir(), &limits).ok()
}

fn read(layout: &Layout, start: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![1; len];
    layout
        .read_at(&mut bytes, start)
        .expect("the range is within the disk");
    bytes
}

/// Writes a disk to the file `path`.
fn write(layout: &Layout, path: &Path) {
    let file = File::create(path).expect("a file for the disk");
    file.set_len(layout.disk_bytes())
        .expect("room for the disk");
    for range in layout.occupied() {
        let len = usize::try_from(range.end - range.start).expect("the disk is small");
        let bytes = read(layout, range.start, len);
        file.write_all_at(&bytes, range.start)
            .expect("room for the disk");
        assert_eq!(
            bytes[len / 3..],
            read(layout, range.start + len as u64 / 3, len - len / 3)
        );
    }
}

/// Whether `ext4-view` knows all times of the tree: it takes those before 1970 and after 2038 for damage.
fn has_known_times(tree: &Tree, id: InodeId) -> bool {
    let inode = tree.inode(id);
    let known = i32::try_from(inode.attributes.mtime.seconds).is_ok_and(|seconds| seconds >= 0);
    known
        && match &inode.kind {
            Kind::Directory(directory) => directory
                .iter()
                .all(|(_, child)| has_known_times(tree, child)),
            _ => true,
        }
}

/// Fails unless the disk holds what `tree` does.
fn read_back(path: &Path, tree: &Tree) {
    if !has_known_times(tree, InodeId::ROOT) {
        return;
    }
    let file = File::open(path).expect("the disk was written");
    match Ext4::load(Box::new(file)) {
        Ok(disk) => assert_same(tree, &disk),
        // It does not know disks with values of attributes in inodes of their own.
        Err(Ext4Error::Incompatible(_)) => {}
        Err(error) => panic!("ext4-view objects to the disk: {error}"),
    }
}

/// Fails unless e2fsck is silent about the disk.
fn check(path: &Path) {
    let output = Command::new("e2fsck")
        .arg("-fn")
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .expect("e2fsck should be installed (Debian: e2fsprogs)");
    let text = String::from_utf8_lossy(&output.stdout);
    let quiet = text
        .lines()
        .all(|l| l.starts_with("Pass ") || l.ends_with(" blocks"));
    if !output.status.success() || !quiet {
        std::io::stderr().write_all(&output.stdout).expect("stderr");
        panic!("e2fsck objects to the disk");
    }
}

/// Whether e2fsck sees the disk of this input: always the same answer, so that a failure can be had again.
fn is_sampled(input: &[u8]) -> bool {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    hasher.finish().is_multiple_of(CHECKED_SHARE)
}

fuzz_target!(|input: &[u8]| {
    // The first byte says how many blocks the lower layer has; whiteouts of the upper one have something to meet.
    let Some((cut, stream)) = input.split_first() else {
        return;
    };
    let mut stream = stream.to_vec();
    let cut = (usize::from(*cut) * BLOCK).min(stream.len());
    let (lower, upper) = stream.split_at_mut(cut);
    fix_checksums(lower);
    fix_checksums(upper);
    let Some(tree) = build(&[lower, upper]) else {
        return;
    };
    let minimum = match Layout::minimum_bytes(&tree, CHUNK_BYTES) {
        Ok(minimum) => minimum,
        Err(LayoutError::DiskTooSmall { .. }) => panic!("no disk was asked for"),
        Err(_) => return,
    };
    let layout = Layout::plan(tree, minimum, CHUNK_BYTES).expect("the minimum is enough");
    if minimum <= MAX_WRITTEN_BYTES {
        let path = std::env::temp_dir().join(format!("layer_to_ext4.{}", std::process::id()));
        write(&layout, &path);
        let tree = build(&[lower, upper]).expect("the same layers again");
        read_back(&path, &tree);
        if is_sampled(input) {
            check(&path);
        }
        std::fs::remove_file(&path).expect("the disk can be removed");
    }
});
