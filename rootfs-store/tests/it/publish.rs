//! Images made of what guests left on their disks, unpacked by umoci and imported again.

mod corners;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use rootfs_store::image::Compression;
use rootfs_store::{
    ImageReference, ImportOptions, PublishOptions, PublishedImage, SnapshotDigest, Store,
};
use tempfile::TempDir;

use crate::ext4::noise;
use crate::import_umoci::{implied, layers, unpacked};
use crate::mount::{Found, as_root, assert_same_files, mount, run, unmount, walk};
use crate::oci_layout::write_layout;

const PIECE: usize = 64 << 10;

type Files = BTreeMap<Vec<u8>, Found>;

/// A store with an image.
struct World {
    dir: TempDir,
    store: Store,
    reference: ImageReference,
    base: SnapshotDigest,
}

impl World {
    fn new(layers: &[Vec<u8>]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        write_layout(&image, layers);
        let store = Store::open(dir.path().join("store")).unwrap();
        let reference = format!("oci:{}:t", image.display()).parse().unwrap();
        let base = store.import(&reference, &small(), &()).unwrap().snapshot;
        Self {
            dir,
            store,
            reference,
            base,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Changes the files of a snapshot as a guest does: the snapshot of that, and its files as the kernel sees them.
    fn change(&self, from: &SnapshotDigest, change: impl FnOnce(&Path)) -> (SnapshotDigest, Files) {
        let raw = self.path("changed");
        let _ = fs::remove_file(&raw);
        self.store.export(from, &raw, &()).unwrap();
        let at = self.path("mounted");
        mount(&raw, &at, "rw");
        change(&at);
        let files = published(walk(&at));
        unmount(&at);
        (self.commit(from, &raw), files)
    }

    /// The snapshot that a disk becomes when it gets the bytes of a file.
    fn commit(&self, from: &SnapshotDigest, raw: &Path) -> SnapshotDigest {
        let disk = self.store.create_disk("changed", from).unwrap();
        let file = File::open(raw).unwrap();
        let mut pieces = [vec![0; PIECE], vec![0; PIECE]];
        for start in (0..disk.size()).step_by(PIECE) {
            let [old, new] = &mut pieces;
            disk.read_at(old, start).unwrap();
            file.read_exact_at(new, start).unwrap();
            if old != new {
                disk.write_at(new, start).unwrap();
            }
        }
        let snapshot = self.store.commit(&disk, &()).unwrap().snapshot;
        drop(disk);
        self.store.remove_disk("changed").unwrap();
        snapshot
    }

    fn stacked(&self) -> PublishOptions {
        PublishOptions {
            base: Some(self.reference.clone()),
            ..PublishOptions::default()
        }
    }

    fn publish(
        &self,
        snapshot: &SnapshotDigest,
        to: &str,
        options: &PublishOptions,
    ) -> PublishedImage {
        let dir = self.path(to);
        let published = self
            .store
            .publish_to_layout(snapshot, &dir, "t", options, &());
        published.unwrap()
    }

    /// The files of a published image, as umoci unpacks them and as they are on a disk.
    fn check(&self, image: &str, expected: &Files) {
        let path = self.path(image);
        let mut unpacked = unpacked(&self.path(&format!("{image}-bundle")), &path);
        for (path, found) in expected {
            // As umoci gives such directories the time of the day.
            if implied(path) && found.mtime == (0, 0) {
                unpacked.get_mut(path).unwrap().mtime = (0, 0);
            }
        }
        assert_same_files(&unpacked, expected);
        let reference = format!("oci:{}:t", path.display()).parse().unwrap();
        let options = ImportOptions::default();
        let again = self.store.import(&reference, &options, &()).unwrap();
        let raw = self.path(&format!("{image}-raw"));
        self.store.export(&again.snapshot, &raw, &()).unwrap();
        let at = self.path(&format!("{image}-mounted"));
        mount(&raw, &at, "ro");
        assert_same_files(&published(walk(&at)), expected);
        unmount(&at);
    }
}

/// The default disk is so large that comparing it takes a while.
fn small() -> ImportOptions {
    ImportOptions {
        disk_bytes: Some(256 << 20),
        ..ImportOptions::default()
    }
}

/// What an image shows of a file system.
fn published(mut files: Files) -> Files {
    files.remove(&b"lost+found"[..]);
    files.retain(|_, found| found.mode & 0o170_000 != 0o140_000);
    // An attribute without a value can't be written down.
    for found in files.values_mut() {
        found.xattrs.retain(|_, value| !value.is_empty());
    }
    files
}

fn xattr(path: &Path, name: &str, value: &[u8]) {
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::lsetxattr(path, name, value, flags).unwrap();
}

/// Every way in which files change.
fn guest(at: &Path) {
    // Contents, attributes, and both; contents only.
    let time = fs::metadata(at.join("etc/one"))
        .unwrap()
        .modified()
        .unwrap();
    fs::write(at.join("etc/one"), b"NEW one").unwrap();
    let one = File::options().write(true).open(at.join("etc/one"));
    one.unwrap().set_modified(time).unwrap();
    fs::write(at.join("etc/two"), b"again").unwrap();
    fs::write(at.join("bin/wall"), b"new").unwrap();
    fs::set_permissions(at.join("etc/shadow"), fs::Permissions::from_mode(0o4711)).unwrap();
    std::os::unix::fs::chown(at.join("etc/sparse"), Some(4_000_000_000), Some(3)).unwrap();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    xattr(&at.join("bin/wall"), "security.capability", &capability);
    xattr(&at.join("etc/attributes"), "user.more", &[0; 300]);
    xattr(&at.join("tmp"), "user.directory", b"d");
    // What went.
    fs::remove_file(at.join("etc/hole")).unwrap();
    fs::remove_dir_all(at.join("private")).unwrap();
    fs::remove_dir_all(at.join("etc/d")).unwrap();
    // One kind of file in the place of another.
    fs::remove_dir_all(at.join("kept")).unwrap();
    fs::write(at.join("kept"), b"a file").unwrap();
    fs::remove_file(at.join("device-to-file")).unwrap();
    fs::create_dir(at.join("device-to-file")).unwrap();
    fs::write(at.join("device-to-file/inside"), b"i").unwrap();
    fs::remove_file(at.join("lib/b")).unwrap();
    std::os::unix::fs::symlink("../etc/one", at.join("lib/b")).unwrap();
    fs::remove_dir_all(at.join("opaque")).unwrap();
    std::os::unix::fs::symlink("etc", at.join("opaque")).unwrap();
    // A directory that lost everything and was made anew.
    fs::remove_dir_all(at.join("late")).unwrap();
    fs::create_dir(at.join("late")).unwrap();
    fs::write(at.join("late/other"), b"o").unwrap();
    // Names and links.
    fs::rename(at.join("etc/nobody"), at.join("etc/renamed")).unwrap();
    fs::hard_link(at.join("etc/uno"), at.join("usr/third")).unwrap();
    fs::remove_file(at.join("lib.too")).unwrap();
    std::os::unix::fs::symlink("usr/lib", at.join("lib.too")).unwrap();
    let long = at.join("new").join("l".repeat(200)).join("m".repeat(200));
    fs::create_dir_all(&long).unwrap();
    fs::write(long.join("n".repeat(255)), b"far").unwrap();
    let strange = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff\n=\xfe");
    fs::write(at.join("new").join(strange), b"any bytes").unwrap();
    fs::hard_link(at.join("new").join(strange), long.join("again")).unwrap();
    std::os::unix::fs::symlink("t".repeat(2000), at.join("new/far")).unwrap();
    // Everything else.
    for (name, kind) in [
        ("c", &["c", "4095", "1048575"][..]),
        ("b", &["b", "8", "17"]),
        ("p", &["p"]),
    ] {
        run(Command::new("mknod")
            .arg(at.join("new").join(name))
            .args(kind));
    }
    drop(std::os::unix::net::UnixListener::bind(at.join("new/socket")).unwrap());
    let holes = File::create(at.join("new/holes")).unwrap();
    holes.write_all_at(b"end", 50 << 20).unwrap();
    fs::write(at.join("new/large"), noise(3_000_000, 4)).unwrap();
    run(Command::new("touch")
        .args(["-d", "1950-01-01 00:00:00.25 UTC"])
        .arg(at.join("new/p")));
    run(Command::new("touch")
        .args(["-d", "2200-01-01 UTC"])
        .arg(at.join("new/b")));
}

#[test]
fn a_layer_on_the_base_makes_what_the_guest_left() {
    as_root(
        "publish::a_layer_on_the_base_makes_what_the_guest_left",
        || {
            let world = World::new(&layers());
            let (snapshot, files) = world.change(&world.base, guest);
            let image = world.publish(&snapshot, "stacked", &world.stacked());
            assert_eq!(image.layers, 5);
            let summary = image.layer.as_ref().unwrap().summary;
            assert!(summary.whiteouts > 3 && summary.entries < 60, "{summary:?}");
            world.check("stacked", &files);
            // The same bytes again, from a snapshot of the same files.
            assert_eq!(world.publish(&snapshot, "again", &world.stacked()), image);
        },
    );
}

#[test]
fn one_layer_holds_everything() {
    as_root("publish::one_layer_holds_everything", || {
        let world = World::new(&layers());
        let (snapshot, files) = world.change(&world.base, guest);
        for (to, compression) in [("gzip", Compression::Gzip), ("zstd", Compression::Zstd)] {
            let options = PublishOptions {
                compression,
                ..PublishOptions::default()
            };
            let image = world.publish(&snapshot, to, &options);
            assert_eq!(image.layers, 1);
            if compression == Compression::Gzip {
                world.check(to, &files);
            }
        }
    });
}

#[test]
fn published_images_can_be_built_upon() {
    as_root("publish::published_images_can_be_built_upon", || {
        let mut world = World::new(&layers());
        let (snapshot, _) = world.change(&world.base, guest);
        world.publish(&snapshot, "first", &world.stacked());
        world.reference = format!("oci:{}:t", world.path("first").display())
            .parse()
            .unwrap();
        let base = world.store.import(&world.reference, &small(), &());
        let base = base.unwrap().snapshot;
        let (snapshot, files) = world.change(&base, |at| {
            fs::remove_file(at.join("new/large")).unwrap();
            fs::write(at.join("etc/second"), b"2").unwrap();
        });
        let image = world.publish(&snapshot, "second", &world.stacked());
        let summary = image.layer.unwrap().summary;
        assert_eq!(
            (image.layers, summary.entries, summary.whiteouts),
            (6, 4, 1)
        );
        world.check("second", &files);
    });
}

#[test]
fn what_did_not_change_makes_no_layer() {
    let world = World::new(&layers());
    let image = world.publish(&world.base, "out", &world.stacked());
    assert_eq!((image.layers, image.layer), (4, None));
}
