//! Trees made from layers: the rules of the OCI image specification, one by one.

mod blobs;
mod formats;
mod gnu_tar;
mod model;
mod umoci;

use std::collections::BTreeMap;

use rootfs_store::tree::{
    Content, EntryFault, InodeId, Kind, Limits, Tree, TreeError, build_from_plain_layers,
};

use crate::disk::tree;
use crate::layer::Layer;

/// What is at each path: a file's content, a link's target, or the kind of anything else.
pub(crate) fn listing(tree: &Tree) -> BTreeMap<String, String> {
    let mut listing = BTreeMap::new();
    list(tree, InodeId::ROOT, "", &mut listing);
    listing
}

fn list(tree: &Tree, id: InodeId, path: &str, listing: &mut BTreeMap<String, String>) {
    let what = match &tree.inode(id).kind {
        Kind::Directory(directory) => {
            for (name, child) in directory.iter() {
                let name = String::from_utf8_lossy(name);
                list(tree, child, &format!("{path}/{name}"), listing);
            }
            "/".to_owned()
        }
        Kind::File(content) => String::from_utf8_lossy(&read(tree, content)).into_owned(),
        Kind::Symlink(target) => format!("-> {}", String::from_utf8_lossy(target)),
        Kind::CharDevice(device) => format!("char {}:{}", device.major, device.minor),
        Kind::BlockDevice(device) => format!("block {}:{}", device.major, device.minor),
        Kind::Fifo => "fifo".to_owned(),
    };
    if !path.is_empty() {
        listing.insert(path.to_owned(), what);
    }
}

/// All bytes of a file.
pub(crate) fn read(tree: &Tree, content: &Content) -> Vec<u8> {
    let mut data = vec![0; usize::try_from(content.len).unwrap()];
    for run in &content.runs {
        let start = usize::try_from(run.file_offset).unwrap();
        let len = usize::try_from(run.len).unwrap();
        tree.read_spool(run.spool_offset, &mut data[start..start + len])
            .unwrap();
    }
    data
}

fn find(tree: &Tree, path: &str) -> InodeId {
    let names = path.split('/').filter(|n| !n.is_empty());
    names.fold(InodeId::ROOT, |id, wanted| {
        let Kind::Directory(directory) = &tree.inode(id).kind else {
            panic!("{path}: {wanted} is in no directory");
        };
        let found = directory.iter().find(|(n, _)| *n == wanted.as_bytes());
        found.unwrap_or_else(|| panic!("{path} is missing")).1
    })
}

#[track_caller]
fn assert_listing(layers: &[&mut Layer], expected: &[(&str, &str)]) {
    let layers: Vec<_> = layers.iter().map(|l| l.bytes()).collect();
    let layers: Vec<_> = layers.iter().map(Vec::as_slice).collect();
    let actual = listing(&tree(&layers));
    let actual: Vec<_> = actual.iter().map(|(p, w)| (&**p, &**w)).collect();
    assert_eq!(actual, expected);
}

fn fails(layers: &[&[u8]], limits: &Limits) -> TreeError {
    build_from_plain_layers(layers, &std::env::temp_dir(), limits).unwrap_err()
}

#[track_caller]
fn entry_fault(layers: &[&mut Layer]) -> EntryFault {
    let layers: Vec<_> = layers.iter().map(|l| l.bytes()).collect();
    let layers: Vec<_> = layers.iter().map(Vec::as_slice).collect();
    match fails(&layers, &Limits::default()) {
        TreeError::Entry { source, .. } => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_whiteout_removes_what_lower_layers_brought() {
    assert_listing(
        &[
            Layer::new()
                .file("a", b"1")
                .file("d/x", b"2")
                .file("d/y", b"3"),
            Layer::new().file(".wh.a", b"").file("d/.wh.x", b""),
        ],
        &[("/d", "/"), ("/d/y", "3")],
    );
    assert_listing(
        &[
            Layer::new().file("d/e/f", b"1"),
            Layer::new().file(".wh.d", b""),
        ],
        &[],
    );
}

#[test]
fn a_whiteout_spares_its_own_layer_whatever_comes_first() {
    for whiteout_first in [true, false] {
        let mut upper = Layer::new();
        if whiteout_first {
            upper.file(".wh.a", b"").file(".wh.d", b"");
        }
        upper.file("a", b"new").file("d/new", b"new");
        if !whiteout_first {
            upper.file(".wh.a", b"").file(".wh.d", b"");
        }
        assert_listing(
            &[
                Layer::new().file("a", b"old").file("d/old", b"old"),
                &mut upper,
            ],
            &[("/a", "new"), ("/d", "/"), ("/d/new", "new")],
        );
    }
}

#[test]
fn a_whiteout_of_nothing_makes_nothing() {
    assert_listing(&[Layer::new().file(".wh.a", b"").file("d/.wh.b", b"")], &[]);
}

#[test]
fn a_whiteout_below_a_file_that_was_a_directory_changes_nothing() {
    assert_listing(
        &[
            Layer::new().file("d/x", b"old"),
            Layer::new().file("d", b"new").file("d/.wh.x", b""),
        ],
        &[("/d", "new")],
    );
}

#[test]
fn an_opaque_directory_hides_lower_layers_whatever_comes_first() {
    for (before, after) in [(true, false), (false, true)] {
        let mut upper = Layer::new();
        if before {
            upper.file("d/.wh..wh..opq", b"");
        }
        upper.file("d/new", b"n").file("d/sub/new", b"n");
        if after {
            upper.file("d/.wh..wh..opq", b"");
        }
        assert_listing(
            &[
                Layer::new()
                    .file("d/old", b"o")
                    .file("d/sub/old", b"o")
                    .file("d/gone/x", b"o"),
                &mut upper,
            ],
            &[
                ("/d", "/"),
                ("/d/new", "n"),
                ("/d/sub", "/"),
                ("/d/sub/new", "n"),
            ],
        );
    }
    assert_listing(
        &[
            Layer::new().file("a", b"1"),
            Layer::new().file(".wh..wh..opq", b"").file("b", b"2"),
        ],
        &[("/b", "2")],
    );
}

#[test]
fn a_directory_under_a_whiteout_that_comes_back_has_no_old_attributes() {
    let lower = Layer::new().mode(0o700).owner(5, 6).directory("d").bytes();
    let upper = Layer::new().file("d/new", b"").file(".wh.d", b"").bytes();
    let tree = tree(&[&lower, &upper]);
    let attributes = &tree.inode(find(&tree, "d")).attributes;
    assert_eq!(
        (attributes.mode, attributes.uid, attributes.gid),
        (0o755, 0, 0)
    );
}

#[test]
fn a_bare_whiteout_is_an_error() {
    for name in [".wh.", "d/.wh.", ".wh..", ".wh..."] {
        let fault = entry_fault(&[Layer::new().file(name, b"")]);
        assert!(matches!(fault, EntryFault::BareWhiteout), "{name}: {fault}");
    }
}

#[test]
fn a_whiteout_is_no_directory() {
    for name in [".wh.d/x", "d/.wh..wh..opq/x"] {
        let fault = entry_fault(&[Layer::new().file(name, b"")]);
        assert!(
            matches!(fault, EntryFault::WhiteoutDirectory { .. }),
            "{name}: {fault}"
        );
    }
}

#[test]
fn what_aufs_left_behind_is_skipped() {
    assert_listing(
        &[Layer::new()
            .directory(".wh..wh.plnk")
            .file(".wh..wh.plnk/17.3", b"x")
            .file(".wh..wh.aufs", b"")
            .file("d/.wh..wh.orph", b"")
            .file("a", b"1")],
        &[("/a", "1")],
    );
}

#[test]
fn a_directory_over_a_directory_replaces_attributes_only() {
    let lower = Layer::new()
        .xattr("user.a", b"1")
        .directory("d")
        .file("d/kept", b"k")
        .bytes();
    let upper = Layer::new()
        .mode(0o700)
        .owner(7, 8)
        .xattr("user.b", b"2")
        .directory("d/")
        .bytes();
    let tree = tree(&[&lower, &upper]);
    let attributes = &tree.inode(find(&tree, "d")).attributes;
    assert_eq!(
        (attributes.mode, attributes.uid, attributes.gid),
        (0o700, 7, 8)
    );
    let names: Vec<_> = attributes.xattrs.keys().map(|n| &**n).collect();
    assert_eq!(names, [b"user.b"]);
    find(&tree, "d/kept");
}

#[test]
fn anything_else_over_something_replaces_it() {
    assert_listing(
        &[
            Layer::new()
                .file("a", b"file")
                .directory("b")
                .file("b/x", b"")
                .symlink("c", "b")
                .file("d", b"old"),
            Layer::new()
                .directory("a")
                .file("b", b"file")
                .directory("c")
                .file("d", b"new"),
        ],
        &[("/a", "/"), ("/b", "file"), ("/c", "/"), ("/d", "new")],
    );
}

#[test]
fn a_hard_link_may_name_a_file_of_a_lower_layer() {
    let lower = Layer::new().file("a", b"1").symlink("s", "a").bytes();
    let upper = Layer::new()
        .hard_link("d/b", "./a")
        .hard_link("t", "/s")
        .bytes();
    let tree = tree(&[&lower, &upper]);
    assert_eq!(find(&tree, "a"), find(&tree, "d/b"));
    assert_eq!(find(&tree, "s"), find(&tree, "t"));
}

#[test]
fn a_hard_link_keeps_its_file_when_the_first_name_goes() {
    assert_listing(
        &[
            Layer::new().file("a", b"1"),
            Layer::new().hard_link("b", "a"),
            Layer::new().file(".wh.a", b""),
            Layer::new().file("b.new", b"2").hard_link("b", "b.new"),
        ],
        &[("/b", "2"), ("/b.new", "2")],
    );
}

#[test]
fn hard_links_to_what_is_not_there_are_errors() {
    let later = Layer::new().hard_link("b", "a").file("a", b"").bytes();
    let error = fails(&[&later], &Limits::default());
    let TreeError::Entry { entry, source, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(entry, "b");
    assert!(matches!(source, EntryFault::MissingTarget { .. }));
    let fault = entry_fault(&[Layer::new().directory("d").hard_link("b", "d")]);
    assert!(matches!(fault, EntryFault::TargetIsDirectory { .. }));
    let fault = entry_fault(&[Layer::new().hard_link("b", "../a")]);
    assert!(matches!(fault, EntryFault::ParentComponent));
}

#[test]
fn missing_parents_are_made() {
    let tree = tree(&[&Layer::new()
        .mode(0o600)
        .owner(9, 9)
        .file("a/b/c", b"")
        .bytes()]);
    for path in ["a", "a/b"] {
        let attributes = &tree.inode(find(&tree, path)).attributes;
        assert_eq!(
            (attributes.mode, attributes.uid, attributes.gid),
            (0o755, 0, 0)
        );
    }
}

#[test]
fn entries_through_symbolic_links_stay_inside() {
    assert_listing(
        &[
            Layer::new()
                .symlink("up", "../../../..")
                .symlink("root", "/")
                .symlink("lib", "usr/lib")
                .symlink("etc", "/../private/etc"),
            Layer::new()
                .file("up/a", b"1")
                .file("root/b", b"2")
                .file("lib/c", b"3")
                .file("etc/d", b"4"),
            Layer::new().file("lib/.wh.c", b"").file("up/e", b"5"),
        ],
        &[
            ("/a", "1"),
            ("/b", "2"),
            ("/e", "5"),
            ("/etc", "-> /../private/etc"),
            ("/lib", "-> usr/lib"),
            ("/private", "/"),
            ("/private/etc", "/"),
            ("/private/etc/d", "4"),
            ("/root", "-> /"),
            ("/up", "-> ../../../.."),
            ("/usr", "/"),
            ("/usr/lib", "/"),
        ],
    );
}

#[test]
fn symbolic_links_that_go_round_are_errors() {
    let fault = entry_fault(&[Layer::new()
        .symlink("a", "b")
        .symlink("b", "a")
        .file("a/x", b"")]);
    assert!(matches!(fault, EntryFault::TooManySymlinks), "{fault}");
    let fault = entry_fault(&[Layer::new().file("a", b"").file("a/x", b"")]);
    assert!(matches!(fault, EntryFault::NotADirectory { .. }), "{fault}");
}

#[test]
fn names_that_lead_out_are_errors() {
    for name in ["../a", "a/../b", "a/..", "/.."] {
        let fault = entry_fault(&[Layer::new().file(name, b"")]);
        assert!(
            matches!(fault, EntryFault::ParentComponent),
            "{name}: {fault}"
        );
    }
    assert_listing(
        &[Layer::new().file("//./a//b", b"1")],
        &[("/a", "/"), ("/a/b", "1")],
    );
    let fault = entry_fault(&[Layer::new().file("./", b"").file(".", b"")]);
    assert!(matches!(fault, EntryFault::ReplacesRoot), "{fault}");
    let fault = entry_fault(&[Layer::new().record("path", b"a\0b").file("a", b"")]);
    assert!(matches!(fault, EntryFault::Nul), "{fault}");
}

#[test]
fn the_root_takes_attributes() {
    let tree = tree(&[&Layer::new().mode(0o711).owner(1, 2).directory("./").bytes()]);
    let attributes = &tree.inode(InodeId::ROOT).attributes;
    assert_eq!(
        (attributes.mode, attributes.uid, attributes.gid),
        (0o711, 1, 2)
    );
}

#[test]
fn names_and_paths_have_limits() {
    let long = "n".repeat(256);
    let fault = entry_fault(&[Layer::new().file(&long, b"")]);
    assert!(
        matches!(fault, EntryFault::NameTooLong { len: 256 }),
        "{fault}"
    );
    let fault = entry_fault(&[Layer::new().file(&"d/".repeat(2048), b"")]);
    assert!(
        matches!(fault, EntryFault::PathTooLong { len: 4096 }),
        "{fault}"
    );
    let fault = entry_fault(&[Layer::new().symlink("s", &"t".repeat(4096))]);
    assert!(
        matches!(fault, EntryFault::PathTooLong { len: 4096 }),
        "{fault}"
    );
    let fault = entry_fault(&[Layer::new().record("linkpath", b"").symlink("s", "")]);
    assert!(matches!(fault, EntryFault::EmptyLink), "{fault}");
    let deep = "d/".repeat(2000);
    let mut layer = Layer::new();
    layer
        .directory(&deep)
        .symlink("s", &deep)
        .directory(&format!("s/{}", "e/".repeat(100)));
    let fault = entry_fault(&[&mut layer]);
    assert!(matches!(fault, EntryFault::TooDeep), "{fault}");
}

#[test]
fn ids_and_devices_have_limits() {
    let fault = entry_fault(&[Layer::new().record("uid", b"4294967296").file("a", b"")]);
    assert!(
        matches!(fault, EntryFault::IdTooLarge { field: "uid", .. }),
        "{fault}"
    );
    let tree = tree(&[&Layer::new()
        .record("gid", b"4294967295")
        .file("a", b"")
        .bytes()]);
    assert_eq!(tree.inode(find(&tree, "a")).attributes.gid, u32::MAX);
    let fault = entry_fault(&[Layer::new().char_device("c", 4096, 0)]);
    assert!(matches!(fault, EntryFault::Device { .. }), "{fault}");
}

#[test]
fn what_an_image_may_cost_is_limited() {
    let mut layer = Layer::new();
    for n in 0..10 {
        layer.file(&format!("d{n}/f"), b"");
    }
    let layer = layer.bytes();
    let limits = |entries, metadata_bytes| Limits {
        entries,
        metadata_bytes,
        ..Limits::default()
    };
    build_from_plain_layers(&[&layer], &std::env::temp_dir(), &limits(20, 10_000)).unwrap();
    let error = fails(&[&layer], &limits(19, 10_000));
    let TreeError::Entry {
        source: EntryFault::TooManyEntries { limit: 19 },
        ..
    } = error
    else {
        panic!("{error:?}");
    };
    let error = fails(&[&layer], &limits(20, 100));
    let TreeError::Entry {
        source: EntryFault::TooMuchMetadata { limit: 100 },
        ..
    } = error
    else {
        panic!("{error:?}");
    };
}

#[test]
fn many_whiteouts_of_a_large_tree_take_no_longer_than_one() {
    let (mut lower, mut upper) = (Layer::new(), Layer::new());
    for n in 0..20_000 {
        lower.file(&format!("old/{n}"), b"");
        upper.file(&format!("new/{n}"), b"");
        upper.file(".wh..wh..opq", b"");
    }
    let begun = std::time::Instant::now();
    let listing = listing(&tree(&[&lower.bytes(), &upper.bytes()]));
    assert_eq!(listing.len(), 20_001);
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}

#[test]
fn the_deepest_tree_can_be_whited_out() {
    let path = vec!["d"; 2040].join("/");
    let mut lower = Layer::new();
    lower.file(&format!("{path}/file"), b"");
    let upper = Layer::new().file(".wh..wh..opq", b"").bytes();
    let listing = listing(&tree(&[&lower.bytes(), &upper]));
    assert!(listing.is_empty());
}
