//! Disks in files, and the tools that judge them.

use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

use ext4_view::{Ext4, Ext4Read};
use rootfs_store::ext4::Layout;
use rootfs_store::tree::{Limits, Tree, build_from_plain_layers};
use tempfile::TempDir;

pub(crate) const CHUNK_BYTES: u32 = 64 << 10;

/// A disk in a sparse file.
pub(crate) struct Disk {
    pub(crate) path: PathBuf,
    /// Removes the file.
    _dir: TempDir,
}

pub(crate) fn tree(layers: &[&[u8]]) -> Tree {
    build_from_plain_layers(layers, &std::env::temp_dir(), &Limits::default()).unwrap()
}

impl Disk {
    /// Writes what is occupied of a layout, and leaves the rest a hole.
    pub(crate) fn write(layout: &Layout) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let file = File::create(&path).unwrap();
        file.set_len(layout.disk_bytes()).unwrap();
        let mut buf = vec![0; 1 << 20];
        let mut end = 0;
        for range in layout.occupied() {
            assert!(range.start > end || end == 0, "{range:?} touches {end}");
            assert!(range.start.is_multiple_of(4096) && range.end.is_multiple_of(4096));
            end = range.end;
            for start in range.clone().step_by(buf.len()) {
                let len = usize::try_from(range.end - start).unwrap().min(buf.len());
                layout.read_at(&mut buf[..len], start).unwrap();
                file.write_all_at(&buf[..len], start).unwrap();
            }
        }
        assert!(end <= layout.disk_bytes());
        Self { path, _dir: dir }
    }

    /// Fails unless e2fsck finds nothing to say.
    pub(crate) fn check(&self) {
        let output = Command::new("e2fsck")
            .arg("-fn")
            .arg(&self.path)
            .env("LC_ALL", "C")
            .output()
            .expect("e2fsck should be installed (Debian: e2fsprogs)");
        let text = String::from_utf8_lossy(&output.stdout);
        let quiet = text.lines().all(|line| {
            line.starts_with("Pass ") || (line.contains(" files (") && line.ends_with(" blocks"))
        });
        assert!(output.status.success() && quiet, "e2fsck says:\n{text}");
    }

    /// What debugfs prints for a request.
    pub(crate) fn debugfs(&self, request: &str) -> String {
        let output = Command::new("debugfs")
            .args(["-R", request])
            .arg(&self.path)
            .env("LC_ALL", "C")
            .env("DEBUGFS_PAGER", "cat")
            .output()
            .expect("debugfs should be installed (Debian: e2fsprogs)");
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The value of an extended attribute, as debugfs reads it.
    pub(crate) fn xattr(&self, path: &str, name: &str) -> Vec<u8> {
        let out = self.path.with_extension("xattr");
        self.debugfs(&format!("ea_get -f {} {path} {name}", out.display()));
        std::fs::read(&out).unwrap_or_else(|_| panic!("{path} has no {name}"))
    }

    pub(crate) fn open(&self) -> Ext4 {
        let file = File::open(&self.path).unwrap();
        Ext4::load(Box::new(Reader(file))).unwrap()
    }
}

struct Reader(File);

impl Ext4Read for Reader {
    fn read(&mut self, start: u64, buf: &mut [u8]) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(self.0.read_exact_at(buf, start)?)
    }
}
