//! Disks as the kernel mounts them: what is too large or too new for the other readers, and writing.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use super::{GIB, MIB, noise, plan};
use crate::disk::Disk;
use crate::layer::Layer;
use crate::mount::{as_root, mount, unmount, walk};

const VALUES: [(&str, usize); 4] = [
    ("user.small", 70),
    ("user.block", 3500),
    ("user.own", 9000),
    ("user.most", 65_536),
];

fn large() -> Vec<u8> {
    let mut layer = Layer::new();
    for n in 0..100_000 {
        layer.file(&format!("many/a-name-that-takes-some-room-{n}"), b"");
    }
    for n in 0..1000 {
        layer.hard_link(&format!("links/{n}"), "many/a-name-that-takes-some-room-7");
    }
    for (name, len) in VALUES {
        layer.xattr(name, &noise(len, 3));
    }
    layer.file("attributes", b"");
    layer.sparse("sparse", 5 * GIB, &[(0, b"start"), (5 * GIB - 3, b"end")]);
    layer.file(&format!("{}bottom", "d/".repeat(1900)), b"deep");
    layer.finish()
}

#[test]
fn the_kernel_finds_everything_in_large_trees() {
    as_root(
        "ext4::mounted::the_kernel_finds_everything_in_large_trees",
        || {
            let disk = Disk::write(&plan(&[&large()], 8 * GIB));
            disk.check();
            let dir = tempfile::tempdir().unwrap();
            let at = dir.path().join("mounted");
            mount(&disk.path, &at, "ro");
            assert_eq!(fs::read_dir(at.join("many")).unwrap().count(), 100_000);
            for n in (0..100_000).step_by(997) {
                let file = at.join(format!("many/a-name-that-takes-some-room-{n}"));
                assert_eq!(file.metadata().unwrap().len(), 0);
            }
            let linked = at.join("links/999").metadata().unwrap();
            let first = at.join("many/a-name-that-takes-some-room-7");
            assert_eq!(linked.nlink(), 1001);
            assert_eq!(linked.ino(), first.metadata().unwrap().ino());
            for (name, len) in VALUES {
                let mut value = vec![0; len + 1];
                let read = rustix::fs::lgetxattr(at.join("attributes"), name, &mut value).unwrap();
                assert_eq!(value[..read], noise(len, 3), "{name}");
            }
            check_sparse(&at.join("sparse"));
            let bottom = at.join("d/".repeat(1900)).join("bottom");
            assert_eq!(fs::read(bottom).unwrap(), b"deep");
        },
    );
}

fn check_sparse(path: &Path) {
    let file = File::open(path).unwrap();
    let metadata = file.metadata().unwrap();
    assert_eq!((metadata.len(), metadata.blocks()), (5 * GIB, 16));
    for (offset, expected) in [(0, &b"start"[..]), (GIB, &[0; 5]), (5 * GIB - 3, b"end")] {
        let mut buf = vec![1; expected.len()];
        file.read_exact_at(&mut buf, offset).unwrap();
        assert_eq!(buf, expected, "at {offset}");
    }
}

#[test]
fn a_disk_that_the_kernel_wrote_to_stays_clean() {
    as_root(
        "ext4::mounted::a_disk_that_the_kernel_wrote_to_stays_clean",
        || {
            let disk = Disk::write(&plan(&[&super::corner_cases(), &many()], 256 * MIB));
            let dir = tempfile::tempdir().unwrap();
            let at = dir.path().join("mounted");
            mount(&disk.path, &at, "rw");
            change(&at);
            let before = walk(&at);
            unmount(&at);
            disk.check();
            mount(&disk.path, &at, "ro");
            assert!(walk(&at) == before, "what was written is not what is there");
        },
    );
}

/// A directory with an index, and an inode whose attributes fill a block.
pub(super) fn many() -> Vec<u8> {
    let mut layer = Layer::new();
    for n in 0..5000 {
        layer.file(&format!("many/{n:0>60}"), b"");
    }
    layer
        .xattr("user.block", &noise(3500, 1))
        .file("etc/attributes", b"");
    layer.finish()
}

/// Splits leaves, frees and takes blocks, and grows what is there.
pub(super) fn change(at: &Path) {
    for n in 0..5000 {
        let file = at.join(format!("many/{n:0>60}"));
        if n % 3 == 0 {
            fs::remove_file(&file).unwrap();
        }
        fs::write(file.with_extension("new"), b"new").unwrap();
    }
    fs::remove_dir_all(at.join("sizes")).unwrap();
    fs::write(at.join("large"), noise(20 << 20, 5)).unwrap();
    for file in ["etc/hostname", "sparse/holes", "bin/su"] {
        let mut file = File::options().append(true).open(at.join(file)).unwrap();
        file.write_all(&noise(100_000, 6)).unwrap();
    }
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(at.join("etc/attributes"), "user.more", &[7; 60], flags).unwrap();
    fs::rename(at.join("etc/empty"), at.join("renamed")).unwrap();
    fs::hard_link(at.join("renamed"), at.join("tmp/again")).unwrap();
}
