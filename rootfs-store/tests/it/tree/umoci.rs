//! The same image, unpacked by the store and by umoci.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;

use rootfs_store::ImageReference;
use rootfs_store::image::{Platform, Scratch, open};
use rootfs_store::tree::{Limits, build};

use super::listing;
use crate::layer::Layer;
use crate::oci_layout::write_layout;

/// What is at each path below a folder, as [`listing`] says it.
fn list_folder(folder: &Path, path: &str, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{path}/{}", entry.file_name().to_str().unwrap());
        let kind = entry.file_type().unwrap();
        let what = if kind.is_symlink() {
            format!("-> {}", fs::read_link(entry.path()).unwrap().display())
        } else if kind.is_dir() {
            list_folder(&entry.path(), &path, found);
            "/".to_owned()
        } else if kind.is_file() {
            String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned()
        } else {
            "fifo".to_owned()
        };
        found.insert(path, what);
    }
}

fn layers() -> Vec<Vec<u8>> {
    let mut lower = Layer::new();
    lower.directory("usr/lib").symlink("lib", "usr/lib");
    lower
        .file("lib/a", b"a")
        .file("etc/one", b"1")
        .file("etc/two", b"2");
    lower.hard_link("etc/uno", "etc/one").fifo("run/pipe");
    lower.file("opaque/old", b"o").file("opaque/sub/old", b"o");
    lower
        .file("file-to-dir", b"f")
        .directory("dir-to-file")
        .file("dir-to-file/x", b"x");
    lower.sparse("holes", 50_000, &[(10_000, b"in the middle")]);
    let mut middle = Layer::new();
    middle.file("etc/.wh.two", b"").file("etc/three", b"3");
    middle
        .file("opaque/.wh..wh..opq", b"")
        .file("opaque/new", b"n");
    middle
        .directory("file-to-dir")
        .file("file-to-dir/y", b"y")
        .file("dir-to-file", b"d");
    middle.file("lib/.wh.a", b"").file("lib/b", b"b");
    let mut upper = Layer::new();
    upper
        .hard_link("etc/ein", "etc/uno")
        .file(".wh.run", b"")
        .file(&"n".repeat(255), b"long");
    upper
        .file("etc/one", b"new one")
        .symlink("etc/three", "one");
    vec![lower.bytes(), middle.bytes(), upper.bytes()]
}

#[test]
fn an_image_unpacks_as_with_umoci() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, bundle) = (dir.path().join("layout"), dir.path().join("bundle"));
    write_layout(&layout, &layers());
    let output = Command::new("umoci")
        .args(["unpack", "--rootless", "--image"])
        .arg(format!("{}:t", layout.display()))
        .arg(&bundle)
        .output()
        .expect("umoci should be installed (Debian: umoci)");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "umoci says:\n{text}");
    let mut expected = BTreeMap::new();
    list_folder(&bundle.join("rootfs"), "", &mut expected);

    let reference = ImageReference::from_str(&format!("oci:{}:t", layout.display())).unwrap();
    let scratch = Scratch {
        dir: dir.path(),
        limit_bytes: 0,
        progress: &(),
    };
    let image = open(&reference, &Platform::default(), &scratch).unwrap();
    let tree = build(&image, dir.path(), &Limits::default(), &()).unwrap();
    assert_eq!(listing(&tree), expected);
}
