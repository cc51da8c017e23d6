//! Tar streams: as a guest sends them, unpacked on the host, and as a guest's agent gets them.
//!
//! Oracle: whatever bytes come, what lies outside of the folder stays as it is, links that lead there are not followed,
//! and in the folder appears nothing but files, folders and links, no more than the limits say, under the name that was
//! given. A stream that comes in frames is unpacked as it is without. Checksums of headers are put right first.
#![no_main]

#[path = "../folders.rs"]
mod folders;
#[path = "../tar_headers.rs"]
mod tar_headers;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use agent::archive::{Limits, Ownership, Unpacker};
use agent::protocol::{DataReader, DataWriter};
use folders::open_up;
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
    fn new(name: &str) -> Self {
        let name = format!("guest_tar.{}.{name}", std::process::id());
        let outer = std::env::temp_dir().join(name);
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

    fn open(&self) -> File {
        File::open(&self.inner).expect("the folder")
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

/// Bytes of what is in a folder, all of which has to be harmless. `special` are the bits beside permissions that modes
/// may have.
fn count(folder: &Path, special: u32) -> u64 {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).expect("a listing") {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("a kind");
        assert!(kind.is_file() || kind.is_dir() || kind.is_symlink());
        if kind.is_file() {
            let data = entry.metadata().expect("its data");
            assert_eq!(data.mode() & 0o7000 & !special, 0);
            bytes += data.len() / data.nlink().max(1);
        }
        if kind.is_dir() {
            bytes += count(&entry.path(), special);
        }
    }
    bytes
}

/// What is unpacked, and how.
struct Way {
    is_renamed: bool,
    is_framed: bool,
    /// On the host, which follows no link, and drops the bits that let others become the owner.
    is_strict: bool,
    is_root: bool,
}

impl Way {
    fn of(bits: u8) -> Self {
        Self {
            // Where links are followed, nobody gives copies another name.
            is_renamed: bits & 5 == 1,
            is_framed: bits & 2 != 0,
            is_strict: bits & 4 == 0,
            is_root: bits & 8 != 0,
        }
    }

    fn unpacker(&self, folder: File) -> Unpacker<'static> {
        let data = folder.metadata().expect("the folder");
        let (uid, gid) = (data.uid(), data.gid());
        let ownership = Ownership::Fixed { uid, gid };
        let unpacker = match (self.is_strict, self.is_root) {
            (true, _) => Unpacker::strict(folder.into()),
            (false, true) => Unpacker::as_root(folder.into(), ownership),
            (false, false) => Unpacker::beneath(folder.into(), ownership),
        };
        let unpacker = unpacker.limits(LIMITS);
        match self.is_renamed {
            true => unpacker.rename("name".into()),
            false => unpacker,
        }
    }
}

/// The stream in the frames that a connection carries.
fn framed(stream: &[u8]) -> Vec<u8> {
    let mut writer = DataWriter::new(Vec::new());
    writer.write_all(stream).expect("memory");
    writer.finish().expect("memory")
}

fuzz_target!(|input: (u8, &[u8])| {
    let (bits, bytes) = input;
    let way = Way::of(bits);
    let mut stream = bytes.to_vec();
    fix_checksums(&mut stream);
    let bed = Bed::new("plain");
    let made = way.unpacker(bed.open()).run(stream.as_slice());
    if way.is_framed {
        let other = Bed::new("framed");
        let framed = framed(&stream);
        let unpacker = way.unpacker(other.open());
        let again = unpacker.run(DataReader::new(framed.as_slice()));
        other.check_outside();
        assert_eq!(made.as_ref().ok(), again.as_ref().ok());
    }
    bed.check_outside();
    open_up(&bed.inner);
    if way.is_renamed {
        for entry in fs::read_dir(&bed.inner).expect("a listing").flatten() {
            let name = entry.file_name();
            assert!(
                ["name", "up", "out", "s"]
                    .iter()
                    .any(|known| name == *known)
            );
        }
    }
    let special = if way.is_strict { 0 } else { 0o7000 };
    assert!(count(&bed.inner, special) <= LIMITS.bytes);
    if let Ok(made) = made {
        let named = made.files + made.directories + made.symlinks + made.skipped;
        assert!(named <= LIMITS.entries && made.bytes <= LIMITS.bytes);
    }
});
