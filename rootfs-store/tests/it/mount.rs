//! Disks as the kernel that runs the tests sees them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use rootfs_store::BlobDigest;

/// Set in the process that has all rights.
const INSIDE: &str = "STORE_TEST_AS_ROOT";

/// Runs `body`, which may mount, as root and in a mount namespace of its own: in this test, run once more by another
/// process. Nothing stays mounted, however that process ends.
pub(crate) fn as_root(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let mut command = Command::new(if root { "env" } else { "sudo" });
    if !root {
        command.args(["-n", "env"]);
    }
    let output = command
        .arg(format!("{INSIDE}=1"))
        .args(["unshare", "--mount", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "as root (sudo has to work without a password):\n{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Mounts the disk in the file `disk` at the folder `at`, with `options`.
pub(crate) fn mount(disk: &Path, at: &Path, options: &str) {
    fs::create_dir_all(at).unwrap();
    run(Command::new("mount")
        .args(["-t", "ext4", "-o", &format!("loop,{options}")])
        .args([disk, at]));
}

pub(crate) fn unmount(at: &Path) {
    run(Command::new("umount").arg(at));
}

/// Runs a tool that has to succeed.
pub(crate) fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} says:\n{text}");
}

/// All that a file system says about one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Type and permissions, as `stat` has them.
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    /// Of files and links only: directories have sizes as their file systems like.
    pub(crate) size: Option<u64>,
    pub(crate) mtime: (i64, i64),
    pub(crate) target: Option<Vec<u8>>,
    pub(crate) device: u64,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) content: Option<BlobDigest>,
    /// The first path of the same inode.
    pub(crate) same_as: Vec<u8>,
}

/// Everything below `root`, and `root` itself, by its path from there.
pub(crate) fn walk(root: &Path) -> BTreeMap<Vec<u8>, Found> {
    let mut paths = Vec::new();
    gather(root, b"", &mut paths);
    paths.sort();
    let mut first = BTreeMap::new();
    let mut found = BTreeMap::new();
    for path in paths {
        let file = root.join(OsStr::from_bytes(&path));
        let metadata = fs::symlink_metadata(&file).unwrap();
        let inode = (metadata.dev(), metadata.ino());
        let same_as = first.entry(inode).or_insert_with(|| path.clone()).clone();
        found.insert(path, look(&file, &metadata, same_as));
    }
    found
}

/// Fails with all that differs between two file systems, if anything does.
pub(crate) fn assert_same_files(
    actual: &BTreeMap<Vec<u8>, Found>,
    expected: &BTreeMap<Vec<u8>, Found>,
) {
    let paths: BTreeSet<_> = actual.keys().chain(expected.keys()).collect();
    let mut different = Vec::new();
    for path in paths {
        let (actual, expected) = (actual.get(path), expected.get(path));
        if actual != expected {
            let path = path.escape_ascii();
            different.push(format!("{path}: {actual:?} should be {expected:?}"));
        }
    }
    different.truncate(20);
    assert!(different.is_empty(), "{}", different.join("\n"));
}

fn gather(root: &Path, path: &[u8], paths: &mut Vec<Vec<u8>>) {
    paths.push(path.to_vec());
    let folder = root.join(OsStr::from_bytes(path));
    if !fs::symlink_metadata(&folder).unwrap().is_dir() {
        return;
    }
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name();
        let below = match path {
            b"" => name.as_bytes().to_vec(),
            path => [path, b"/", name.as_bytes()].concat(),
        };
        gather(root, &below, paths);
    }
}

fn look(file: &Path, metadata: &fs::Metadata, same_as: Vec<u8>) -> Found {
    let kind = metadata.file_type();
    let size = (kind.is_file() || kind.is_symlink()).then(|| metadata.size());
    let target = kind.is_symlink().then(|| fs::read_link(file).unwrap());
    Found {
        mode: metadata.mode(),
        owner: (metadata.uid(), metadata.gid()),
        size,
        mtime: (metadata.mtime(), metadata.mtime_nsec()),
        target: target.map(|target| target.as_os_str().as_bytes().to_vec()),
        device: metadata.rdev(),
        xattrs: xattrs(file),
        content: kind.is_file().then(|| digest(file)),
        same_as,
    }
}

/// Content is compared by digest, so that large files fit in memory.
fn digest(file: &Path) -> BlobDigest {
    let mut bytes = Vec::new();
    File::open(file).unwrap().read_to_end(&mut bytes).unwrap();
    BlobDigest::of(&bytes)
}

fn xattrs(file: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let len = rustix::fs::llistxattr(file, &mut names).unwrap();
    let names = names[..len].split(|b| *b == 0).filter(|n| !n.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 64 << 10];
        let len = rustix::fs::lgetxattr(file, OsStr::from_bytes(name), &mut value).unwrap();
        value.truncate(len);
        value
    };
    names.map(|name| (name.to_vec(), value(name))).collect()
}
