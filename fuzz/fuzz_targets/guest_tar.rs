//! Tar streams as a guest sends them, unpacked on the host.
//!
//! Oracle: whatever bytes come, what lies outside of the folder stays as it is, links that lead there are not followed,
//! and in the folder appears nothing but files, folders and links, no more than the limits say, under the name that was
//! given. Checksums of headers are put right first.
#![no_main]

#[path = "../tar_headers.rs"]
mod tar_headers;

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use agent::archive::{Limits, Unpacker};
use libfuzzer_sys::fuzz_target;
use tar_headers::fix_checksums;

const LIMITS: Limits = Limits {
    entries: 50,
    bytes: 1 << 20,
    reserve: 0,
};

/// A folder with a way out of it, and what is at its end.
struct Bed {
    outer: PathBuf,
    inner: PathBuf,
}

impl Bed {
    fn new() -> Self {
        let outer = std::env::temp_dir().join(format!("guest_tar.{}", std::process::id()));
        // What a run that was cut off has left.
        let _old = fs::remove_dir_all(&outer);
        let inner = outer.join("inner");
        fs::create_dir_all(&inner).expect("a folder");
        fs::write(outer.join("secret"), "untouched").expect("a file");
        symlink("..", inner.join("up")).expect("a link");
        symlink(&outer, inner.join("out")).expect("a link");
        symlink("../secret", inner.join("s")).expect("a link");
        Self { outer, inner }
    }

    fn check_outside(&self) {
        let names = fs::read_dir(&self.outer).expect("a listing").count();
        assert_eq!(names, 2, "something is beside the folder");
        let secret = self.outer.join("secret");
        assert_eq!(fs::read(&secret).expect("the file"), b"untouched");
        let data = fs::metadata(&secret).expect("the file");
        assert_eq!(
            data.nlink(),
            1,
            "something in the folder is the file outside"
        );
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        open_up(&self.outer);
        fs::remove_dir_all(&self.outer).expect("the folder can be removed");
    }
}

/// Makes folders that can't be listed so that they can.
fn open_up(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).expect("permissions");
    for entry in fs::read_dir(folder).expect("a listing").flatten() {
        if entry.file_type().expect("a kind").is_dir() {
            open_up(&entry.path());
        }
    }
}

/// Counts what is in a folder, and sees that all of it is harmless.
fn count(folder: &Path) -> (u64, u64) {
    let (mut entries, mut bytes) = (0, 0);
    for entry in fs::read_dir(folder).expect("a listing") {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("a kind");
        assert!(kind.is_file() || kind.is_dir() || kind.is_symlink());
        entries += 1;
        if kind.is_file() {
            let data = entry.metadata().expect("its data");
            assert_eq!(data.mode() & 0o7000, 0);
            bytes += data.len() / data.nlink().max(1);
        }
        if kind.is_dir() {
            let (more_entries, more_bytes) = count(&entry.path());
            entries += more_entries;
            bytes += more_bytes;
        }
    }
    (entries, bytes)
}

fuzz_target!(|input: (bool, &[u8])| {
    let (is_renamed, bytes) = input;
    let mut stream = bytes.to_vec();
    fix_checksums(&mut stream);
    let bed = Bed::new();
    let folder = File::open(&bed.inner).expect("the folder");
    let mut unpacker = Unpacker::strict(folder.into()).limits(LIMITS);
    if is_renamed {
        unpacker = unpacker.rename("name".into());
    }
    let made = unpacker.run(stream.as_slice());
    bed.check_outside();
    open_up(&bed.inner);
    if is_renamed {
        for entry in fs::read_dir(&bed.inner).expect("a listing").flatten() {
            let name = entry.file_name();
            assert!(
                ["name", "up", "out", "s"]
                    .iter()
                    .any(|known| name == *known)
            );
        }
    }
    let (_, bytes) = count(&bed.inner);
    assert!(bytes <= LIMITS.bytes);
    if let Ok(made) = made {
        let named = made.files + made.directories + made.symlinks + made.skipped;
        assert!(named <= LIMITS.entries && made.bytes <= LIMITS.bytes);
    }
});
