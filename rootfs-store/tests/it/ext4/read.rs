//! What guests wrote, read by us and by the kernel.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rootfs_store::ext4::{FileId, FileKind, FileSystem, FileTree, ReadAt, ReadError};
use rootfs_store::tree::Limits;
use rootfs_store::{BlobDigest, StoreError};

use super::small_disk::{self, SmallDisk};
use super::{MIB, noise, plan};
use crate::disk::Disk;
use crate::mount::{Found, as_root, assert_same_files, mount, run, unmount, walk};

/// A disk in a file.
struct RawDisk(File, PathBuf);

impl RawDisk {
    fn open(path: &Path) -> Self {
        Self(File::open(path).unwrap(), path.to_owned())
    }
}

impl ReadAt for RawDisk {
    fn size(&self) -> u64 {
        self.0.metadata().unwrap().len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        let read = self.0.read_exact_at(buf, offset);
        read.map_err(|source| StoreError::Io {
            action: "read",
            path: self.1.clone(),
            source,
        })
    }
}

fn read(path: &Path) -> Result<BTreeMap<Vec<u8>, Found>, ReadError> {
    let system = FileSystem::open(RawDisk::open(path))?;
    let tree = system.tree(&Limits::default())?;
    let mut paths = Vec::new();
    gather(&tree, FileId::ROOT, b"", &mut paths);
    paths.sort();
    let mut first = BTreeMap::new();
    let mut found = BTreeMap::new();
    for (path, id) in paths {
        let same_as = first.entry(id).or_insert_with(|| path.clone()).clone();
        found.insert(path, look(&system, &tree, id, same_as)?);
    }
    Ok(found)
}

fn gather(tree: &FileTree, id: FileId, path: &[u8], paths: &mut Vec<(Vec<u8>, FileId)>) {
    paths.push((path.to_vec(), id));
    if let FileKind::Directory(entries) = &tree.file(id).kind {
        for (name, id) in entries {
            let below = match path {
                b"" => name.to_vec(),
                path => [path, b"/", name].concat(),
            };
            gather(tree, *id, &below, paths);
        }
    }
}

fn look(
    system: &FileSystem<RawDisk>,
    tree: &FileTree,
    id: FileId,
    same_as: Vec<u8>,
) -> Result<Found, ReadError> {
    let file = tree.file(id);
    let attributes = &file.attributes;
    let mut found = Found {
        mode: u32::from(attributes.mode),
        owner: (attributes.uid, attributes.gid),
        size: None,
        mtime: (attributes.mtime.seconds, attributes.mtime.nanos.into()),
        target: None,
        device: 0,
        xattrs: BTreeMap::new(),
        content: None,
        same_as,
    };
    for (name, value) in &attributes.xattrs {
        found.xattrs.insert(name.to_vec(), value.to_vec());
    }
    found.mode |= match &file.kind {
        FileKind::Directory(_) => 0o040_000,
        FileKind::Regular(content) => {
            let mut bytes = vec![1; usize::try_from(content.len).unwrap()];
            system.read(content, 0, &mut bytes)?;
            found.size = Some(content.len);
            found.content = Some(BlobDigest::of(&bytes));
            0o100_000
        }
        FileKind::Symlink(target) => {
            found.size = Some(target.len() as u64);
            found.target = Some(target.to_vec());
            0o120_000
        }
        FileKind::CharDevice(device) | FileKind::BlockDevice(device) => {
            found.device = rustix::fs::makedev(device.major, device.minor);
            match file.kind {
                FileKind::CharDevice(_) => 0o020_000,
                _ => 0o060_000,
            }
        }
        FileKind::Fifo => 0o010_000,
        FileKind::Socket => 0o140_000,
    };
    Ok(found)
}

/// Leaves something of every kind behind, and traces of what was there before.
fn change(at: &Path) {
    super::mounted::change(at);
    let etc = at.join("etc");
    run(Command::new("mknod")
        .arg(etc.join("big"))
        .args(["c", "4095", "1048575"]));
    run(Command::new("mknod")
        .arg(etc.join("small"))
        .args(["b", "8", "1"]));
    drop(std::os::unix::net::UnixListener::bind(etc.join("socket")).unwrap());
    for len in [1, 59, 60, 1000] {
        std::os::unix::fs::symlink("t".repeat(len), etc.join(format!("link{len}"))).unwrap();
    }
    // Blocks that were never written, extents in blocks, and a file that ends in a hole.
    run(Command::new("fallocate")
        .args(["-l", "100000"])
        .arg(etc.join("allocated")));
    let pieces = File::create(etc.join("pieces")).unwrap();
    for n in 0..2000 {
        pieces
            .write_all_at(&noise(4096, n), u64::from(n) * 8192)
            .unwrap();
    }
    pieces.set_len(40 << 20).unwrap();
    let mut grows = File::create(etc.join("grows")).unwrap();
    grows.write_all(&noise(5000, 9)).unwrap();
    grows.set_len(100).unwrap();
    grows.set_len(5000).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    for (name, value) in [
        ("user.large", noise(9000, 2)),
        ("trusted.small", b"t".to_vec()),
    ] {
        // Without the feature for values of their own, a large one does not fit.
        let set = rustix::fs::setxattr(etc.join("grows"), name, &value, flags);
        assert!(set.is_ok() || value.len() > 4000, "{name}");
    }
    let acl = super::acl(u32::MAX);
    rustix::fs::setxattr(etc.join("grows"), "system.posix_acl_access", &acl, flags).unwrap();
}

fn disk() -> Disk {
    Disk::write(&plan(
        &[&super::corner_cases(), &super::mounted::many()],
        256 * MIB,
    ))
}

#[test]
fn everything_that_a_kernel_wrote_is_read() {
    as_root("ext4::read::everything_that_a_kernel_wrote_is_read", || {
        let disk = disk();
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("mounted");
        mount(&disk.path, &at, "rw");
        change(&at);
        let expected = walk(&at);
        unmount(&at);
        assert_same_files(&read(&disk.path).unwrap(), &expected);
        assert!(expected.len() > 8000);
    });
}

/// What happens on a disk before it is cut off: removed directories are revoked, and their blocks used anew.
fn change_and_sync(at: &Path) {
    let sync = || rustix::fs::syncfs(File::open(at).unwrap()).unwrap();
    change(at);
    sync();
    for n in 0..40 {
        let folder = at.join(format!("folder{n}"));
        fs::create_dir(&folder).unwrap();
        (0..100).for_each(|n| fs::write(folder.join(format!("{n:0>200}")), b"").unwrap());
        if n % 10 == 0 {
            sync();
        }
        if n % 2 == 0 {
            fs::remove_dir_all(&folder).unwrap();
            fs::write(at.join(format!("file{n}")), noise(50_000, n)).unwrap();
        }
    }
    // A block that begins as those of journals do.
    let magic = [&0xc03b_3998u32.to_be_bytes()[..], &noise(4092, 8)].concat();
    fs::write(at.join("magic"), magic).unwrap();
    sync();
    fs::write(at.join("not-synced"), b"lost").unwrap();
}

/// Compares what is read of a disk that is cut off in the middle with what the kernel recovers.
fn check_cut_off(disk: &Path, options: &str) {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("mounted");
    mount(disk, &at, &format!("rw,commit=1000{options}"));
    if !at.join("many").exists() {
        prepare(&at);
    }
    change_and_sync(&at);
    let cut = dir.path().join("cut");
    run(Command::new("cp")
        .arg("--sparse=always")
        .arg(disk)
        .arg(&cut));
    unmount(&at);
    let actual = read(&cut).unwrap();
    let flags = disk_flags(&cut);
    assert!(flags.contains("needs_recovery"), "{flags}");
    let recovered = dir.path().join("recovered");
    mount(&cut, &recovered, "rw");
    assert_same_files(&actual, &walk(&recovered));
    unmount(&recovered);
    assert!(actual.contains_key(&b"folder39"[..]));
}

#[test]
fn a_disk_that_was_cut_off_is_read_as_the_kernel_recovers_it() {
    as_root(
        "ext4::read::a_disk_that_was_cut_off_is_read_as_the_kernel_recovers_it",
        || {
            check_cut_off(&disk().path, "");
            // Contents in the journal, too.
            check_cut_off(&disk().path, ",data=journal");
            let dir = tempfile::tempdir().unwrap();
            for options in ["^metadata_csum,^64bit", "^metadata_csum,64bit"] {
                let path = dir.path().join(options);
                make(&path, &["-b", "1024", "-O", options]);
                check_cut_off(&path, ",data=journal");
            }
        },
    );
}

fn disk_flags(path: &Path) -> String {
    let output = Command::new("dumpe2fs")
        .arg("-h")
        .arg(path)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Makes a file system with these options of mke2fs.
fn make(path: &Path, options: &[&str]) {
    File::create(path).unwrap().set_len(300 * MIB).unwrap();
    run(Command::new("mke2fs")
        .args(["-q", "-t", "ext4"])
        .args(options)
        .arg(path));
}

/// Makes the files that [`change`] changes.
fn prepare(at: &Path) {
    for folder in ["etc", "many", "sizes", "sparse", "bin", "tmp"] {
        fs::create_dir(at.join(folder)).unwrap();
    }
    (0..5000).for_each(|n| fs::write(at.join(format!("many/{n:0>60}")), b"").unwrap());
    for file in [
        "etc/hostname",
        "sparse/holes",
        "bin/su",
        "etc/attributes",
        "etc/empty",
    ] {
        fs::write(at.join(file), b"x").unwrap();
    }
}

/// Other kernels' and other tools' file systems, as `mke2fs` makes them.
#[test]
fn file_systems_of_others_are_read() {
    as_root("ext4::read::file_systems_of_others_are_read", || {
        let dir = tempfile::tempdir().unwrap();
        for (n, options) in [
            &["-b", "1024"][..],
            &["-b", "2048", "-I", "128"],
            &["-O", "^metadata_csum,^64bit"],
            &["-O", "meta_bg,^resize_inode,metadata_csum_seed"],
            &["-O", "ea_inode,^has_journal"],
        ]
        .iter()
        .enumerate()
        {
            let path = dir.path().join(format!("disk{n}"));
            make(&path, options);
            let at = dir.path().join("mounted");
            mount(&path, &at, "rw");
            prepare(&at);
            change(&at);
            let expected = walk(&at);
            unmount(&at);
            let actual = read(&path);
            assert_same_files(
                &actual.unwrap_or_else(|e| panic!("{options:?}: {e}")),
                &expected,
            );
        }
    });
}

/// The fuzzer goes on where this ends.
#[test]
fn damage_is_an_error_or_leaves_a_tree_that_can_be_published() {
    let disk = SmallDisk::new();
    let whole = small_disk::whole(&disk);
    disk.check(&[], &whole);
    for seed in 1..4000 {
        let len = 1 + seed as usize % 300;
        let input = noise(len, seed);
        let mut damaged = disk.clone();
        damaged.damage(&input);
        damaged.check(&input, &whole);
    }
    // Two bytes or less, which every checksum finds.
    for seed in 1..4000 {
        let mut input = noise(9, seed);
        input[0] = 1;
        input[4] &= !2;
        let mut damaged = disk.clone();
        damaged.damage(&input);
        damaged.check(&input, &whole);
    }
}
