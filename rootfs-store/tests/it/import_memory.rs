//! What an import holds in memory, measured in a process of its own.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;
use std::process::Command;

use rootfs_store::{ImportOptions, Store};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::oci_layout::write_documents;

/// Names the image in the process that imports it.
const IMAGE: &str = "STORE_TEST_IMPORT";
const MIB: u64 = 1 << 20;

/// Imports `image` in another process, which is this test again, and returns how much memory that process ever held
/// at once, in bytes.
fn peak_of_import(test: &str, image: &Path) -> u64 {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(IMAGE, image)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let (_, peak) = text.split_once("VmHWM:").expect(&text);
    let kib: u64 = peak.split_whitespace().next().unwrap().parse().unwrap();
    kib << 10
}

/// What the other process does.
fn import_and_tell(image: &Path) {
    let dir = tempfile::tempdir_in(image).unwrap();
    let store = Store::open(dir.path()).unwrap();
    let reference = format!("oci:{}", image.display()).parse().unwrap();
    store
        .import(&reference, &ImportOptions::default(), &())
        .unwrap();
    println!("{}", fs::read_to_string("/proc/self/status").unwrap());
}

/// Writes, and hashes what it wrote.
struct Hashing<W> {
    to: W,
    hasher: Sha256,
    len: u64,
}

impl<W: Write> Hashing<W> {
    fn new(to: W) -> Self {
        let hasher = Sha256::new();
        Self { to, hasher, len: 0 }
    }

    /// What was written to, and the digest and size of what was written.
    fn finish(self) -> (W, String, u64) {
        let hash = self.hasher.finalize();
        let hex: String = hash.iter().map(|b| format!("{b:02x}")).collect();
        (self.to, format!("sha256:{hex}"), self.len)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.to.write(bytes)?;
        self.hasher.update(&bytes[..len]);
        self.len += len as u64;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

type Blob = Hashing<BufWriter<File>>;
type Tar = tar::Builder<Hashing<zstd::Encoder<'static, Blob>>>;

/// Writes an image of one zstd layer, made of the entries that `add` appends, without ever holding it.
fn write_image(dir: &Path, add: impl FnOnce(&mut Tar)) {
    fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    let file = BufWriter::new(File::create(dir.join("layer")).unwrap());
    let encoder = zstd::Encoder::new(Hashing::new(file), 1).unwrap();
    let mut tar = Tar::new(Hashing::new(encoder));
    add(&mut tar);
    let (encoder, diff_id, _) = tar.into_inner().unwrap().finish();
    let (mut file, digest, size) = encoder.finish().unwrap().finish();
    file.flush().unwrap();
    let blobs = dir.join("blobs/sha256");
    fs::rename(dir.join("layer"), blobs.join(&digest[7..])).unwrap();
    let media_type = "application/vnd.oci.image.layer.v1.tar+zstd";
    let layer = json!({ "mediaType": media_type, "digest": digest, "size": size });
    write_documents(dir, &[layer], &[&diff_id]);
}

/// Half noise, half text, block by block.
struct Half(u64);

impl Read for Half {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        for word in buf.chunks_mut(8) {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let noise = self.0 ^ (self.0 >> 33);
            let bytes = if (self.0 >> 60) & 1 == 0 {
                noise
            } else {
                0x2020_2020_2020_2020
            };
            word.copy_from_slice(&bytes.to_le_bytes()[..word.len()]);
        }
        Ok(buf.len())
    }
}

/// Appends a file that compresses to about half its size.
fn append(tar: &mut Tar, name: &str, len: u64) {
    let mut header = tar::Header::new_ustar();
    header.set_size(len);
    header.set_mode(0o644);
    let seed = name
        .bytes()
        .fold(1u64, |seed, b| seed.wrapping_mul(31) + u64::from(b));
    tar.append_data(&mut header, name, Half(seed).take(len))
        .unwrap();
}

/// Writes and imports an image, and fails if the import ever holds more than `limit_mib`.
#[track_caller]
fn assert_peak(test: &str, limit_mib: u64, add: impl FnOnce(&mut Tar)) {
    if let Some(image) = std::env::var_os(IMAGE) {
        return import_and_tell(Path::new(&image));
    }
    let dir = tempfile::tempdir().unwrap();
    write_image(dir.path(), add);
    let peak = peak_of_import(test, dir.path());
    let limit = limit_mib * MIB;
    assert!(peak <= limit, "{peak} bytes are more than {limit}");
}

#[test]
fn an_image_that_is_larger_than_the_bound_takes_no_more_than_the_bound() {
    let test = "import_memory::an_image_that_is_larger_than_the_bound_takes_no_more_than_the_bound";
    assert_peak(test, 64, |tar| {
        append(tar, "one", 200 * MIB);
        for n in 0..200 {
            append(tar, &format!("many/{n}"), MIB);
        }
    });
}

#[test]
fn an_entry_takes_no_more_than_a_kibibyte() {
    const DIRECTORIES: u64 = 50_000;
    let test = "import_memory::an_entry_takes_no_more_than_a_kibibyte";
    let limit_mib = 64 + 2 * DIRECTORIES / 1024;
    assert_peak(test, limit_mib, |tar| {
        for n in 0..DIRECTORIES {
            append(tar, &format!("{}/directory{n}/file", n / 1000), 1);
        }
    });
}
