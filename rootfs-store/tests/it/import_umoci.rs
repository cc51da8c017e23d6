//! An image with every corner case, as umoci unpacks it and as the kernel sees the exported disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use rootfs_store::{ImportOptions, Store};

use crate::layer::Layer;
use crate::mount::{Found, as_root, mount, run, walk};
use crate::oci_layout::write_layout;

/// Whether a path is a directory that no layer describes: umoci gives such the time of the day.
pub(crate) fn implied(path: &[u8]) -> bool {
    let deep = path.starts_with(b"etc/d/") && path.ends_with(b"/d");
    deep || [&b"implied"[..], b"implied/deep", b"private/etc", b"etc/d"].contains(&path)
}

/// Every kind of file, and every way to write it down.
fn lower() -> Vec<u8> {
    let mut layer = Layer::new();
    layer
        .mode(0o711)
        .owner(1, 2)
        .xattr("user.root", b"r")
        .directory("./");
    for directory in [
        "bin", "dev", "etc", "private", "run", "tmp", "usr", "usr/lib",
    ] {
        layer.pax_mtime("1500000000.5").directory(directory);
    }
    layer.symlink("lib", "usr/lib").symlink("up", "../../..");
    layer.symlink("absolute", "/../private/etc");
    layer.file("lib/a", b"a").file("etc/one", b"1");
    layer.file("etc/two", b"2").file("etc/empty", b"");
    layer
        .hard_link("etc/uno", "etc/one")
        .hard_link("lib.too", "lib");
    layer
        .mode(0o4755)
        .owner(70_000, 80_000)
        .file("bin/su", b"su");
    layer.mode(0o2755).owner(0, 8).file("bin/wall", b"wall");
    layer.mode(0o1777).directory("tmp");
    layer.mode(0).file("etc/shadow", b"no bits at all");
    layer
        .record("uid", b"4294967294")
        .record("gid", b"4294967294")
        .file("etc/nobody", b"");
    layer.mode(0o600).fifo("run/pipe");
    layer
        .char_device("dev/null", 1, 3)
        .char_device("dev/big", 4095, 1_048_575);
    layer
        .block_device("dev/vda", 254, 0)
        .block_device("dev/high", 8, 256);
    layer.file("implied/deep/file", b"i");
    layer.bytes()
}

/// Attributes, times, names and sparse files. GNU's own sparse format is not among them: umoci can't read it.
fn metadata() -> Vec<u8> {
    let mut layer = Layer::new();
    let capability = [
        1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    layer
        .xattr("security.capability", &capability)
        .file("bin/ping", b"#!");
    layer
        .xattr("user.binary", b"\0\n17 path=evil\n\xff")
        .xattr("user.empty", b"")
        .xattr("user.long", &[b'x'; 1500])
        .file("etc/attributes", b"");
    layer
        .xattr("trusted.note", b"t")
        .directory("etc/attributes.d");
    layer
        .xattr("trusted.link", b"t")
        .symlink("etc/attributes.link", "one");
    for time in [
        "-1.5",
        "-2147483648",
        "0",
        "2147483648.000000001",
        "1.123456789",
    ] {
        layer.pax_mtime(time).file(&format!("etc/at{time}"), b"");
        layer
            .pax_mtime(time)
            .symlink(&format!("etc/link{time}"), "x");
    }
    layer
        .record("path", b"etc/\xff\n=\xfe")
        .file("x", b"any bytes");
    layer.file(&format!("etc/{}", "n".repeat(255)), b"long");
    layer.file(&format!("etc/{}", "d/".repeat(200) + "f"), b"deep");
    layer.symlink("etc/far", &"t/".repeat(1000));
    let (name, target) = (format!("etc/{}", "g".repeat(200)), "t".repeat(150));
    layer.gnu(b"././@LongLink", b'L', format!("{name}\0").as_bytes());
    layer.gnu(b"././@LongLink", b'K', format!("{target}\0").as_bytes());
    layer.gnu(b"short", b'2', b"");
    layer.sparse(
        "etc/sparse",
        50_000,
        &[(10_000, b"in the middle"), (49_999, b"!")],
    );
    layer.sparse("etc/hole", 1 << 20, &[]);
    layer
        .sparse_0_0("etc/sparse-0.0")
        .sparse_0_1("etc/sparse-0.1");
    layer.bytes()
}

/// What the last layer will remove or replace.
fn doomed() -> Vec<u8> {
    let mut layer = Layer::new();
    for name in [
        "opaque",
        "opaque/sub",
        "late",
        "gone",
        "dir-to-file",
        "kept",
        "back",
    ] {
        layer.directory(name);
    }
    layer.file("opaque/old", b"o").file("opaque/sub/old", b"o");
    layer.file("late/old", b"o").file("gone/file", b"g");
    layer.file("file-to-dir", b"f").file("dir-to-file/x", b"x");
    layer
        .symlink("link-to-dir", "etc")
        .symlink("link-to-file", "etc/one");
    layer
        .file("file-to-link", b"f")
        .char_device("device-to-file", 1, 3);
    layer.xattr("user.old", b"1").directory("kept");
    layer.file("kept/inside", b"k").file("back/old", b"b");
    layer
        .file("lib/doomed", b"d")
        .file("twice", b"first")
        .file("twice", b"second");
    layer.bytes()
}

/// Whiteouts of all kinds, replacements, and links to lower layers.
fn upper() -> Vec<u8> {
    let mut layer = Layer::new();
    layer
        .file("etc/.wh.two", b"")
        .file(".wh.gone", b"")
        .file(".wh.never", b"");
    layer
        .file("opaque/.wh..wh..opq", b"")
        .file("opaque/new", b"n");
    layer.file("late/new", b"n").file("late/.wh..wh..opq", b"");
    layer.file("lib/.wh.doomed", b"").file("lib/b", b"b");
    layer.directory("file-to-dir").file("file-to-dir/y", b"y");
    layer.file("dir-to-file", b"d").directory("link-to-dir");
    layer
        .file("link-to-file", b"l")
        .symlink("file-to-link", "etc/one");
    layer.file("device-to-file", b"d");
    layer
        .mode(0o700)
        .owner(7, 8)
        .xattr("user.new", b"2")
        .directory("kept");
    layer
        .file(".wh.back", b"")
        .directory("back")
        .file("back/new", b"b");
    layer
        .hard_link("etc/ein", "etc/uno")
        .file("etc/one", b"new one");
    layer
        .file("up/through-up", b"u")
        .file("absolute/file", b"p");
    // As image builders do; umoci gives the time of the day to a directory that loses a name or gets an implied one.
    for directory in ["./", "etc", "private"] {
        layer
            .mode(0o755)
            .pax_mtime("1600000000.25")
            .directory(directory);
    }
    layer.bytes()
}

/// The layers of the image, lowest first.
pub(crate) fn layers() -> [Vec<u8>; 4] {
    [lower(), metadata(), doomed(), upper()]
}

/// The image on a disk, exported and mounted.
fn mounted(dir: &Path, image: &Path) -> BTreeMap<Vec<u8>, Found> {
    let store = Store::open(dir.join("store")).unwrap();
    let reference = format!("oci:{}:t", image.display()).parse().unwrap();
    let snapshot = store
        .import(&reference, &ImportOptions::default(), &())
        .unwrap()
        .snapshot;
    let disk = dir.join("disk");
    store.export(&snapshot, &disk, &()).unwrap();
    let at = dir.join("mounted");
    mount(&disk, &at, "ro");
    let mut found = walk(&at);
    found.remove(&b"lost+found"[..]).unwrap();
    found
}

/// What umoci makes of the image tagged `t`, in the new folder `bundle`.
pub(crate) fn unpacked(bundle: &Path, image: &Path) -> BTreeMap<Vec<u8>, Found> {
    run(Command::new("umoci")
        .args(["unpack", "--image"])
        .arg(format!("{}:t", image.display()))
        .arg(bundle));
    walk(&bundle.join("rootfs"))
}

#[test]
fn the_exported_disk_is_what_umoci_unpacks_entry_by_entry() {
    as_root(
        "import_umoci::the_exported_disk_is_what_umoci_unpacks_entry_by_entry",
        || {
            let dir = tempfile::tempdir().unwrap();
            let image = dir.path().join("image");
            write_layout(&image, &layers());
            let actual = mounted(dir.path(), &image);
            let mut expected = unpacked(&dir.path().join("bundle"), &image);
            let paths = |found: &BTreeMap<Vec<u8>, Found>| -> Vec<String> {
                found.keys().map(|p| p.escape_ascii().to_string()).collect()
            };
            assert_eq!(paths(&actual), paths(&expected));
            let mut different = Vec::new();
            for (path, actual) in &actual {
                let expected = expected.get_mut(path).unwrap();
                if implied(path) {
                    expected.mtime = (0, 0);
                }
                if actual != expected {
                    let path = path.escape_ascii();
                    different.push(format!("{path}: {actual:?} is {expected:?} for umoci"));
                }
            }
            assert!(different.is_empty(), "{}", different.join("\n"));
            assert!(actual.len() > 80, "{} entries", actual.len());
        },
    );
}
