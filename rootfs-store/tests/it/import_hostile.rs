//! Layers that mean harm: each is an error that names the layer and the entry, and leaves the store as it was.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rootfs_store::tree::{EntryFault, Limits, TarFault, TreeError};
use rootfs_store::{ImportError, ImportOptions, Store};
use tempfile::TempDir;

use crate::disk::tree;
use crate::layer::Layer;
use crate::oci_layout::{digest, gzip, write_gzip_layout, write_layout};
use crate::tree::listing;

/// Far more than any of these takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn limits() -> Limits {
    Limits {
        unpacked_bytes: 64 << 20,
        entries: 10_000,
        metadata_bytes: 8 << 20,
    }
}

/// Imports an image into a new store, which has to fail and to leave nothing behind.
fn refused(image: &Path) -> TreeError {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let options = ImportOptions {
        limits: limits(),
        ..ImportOptions::default()
    };
    let reference = format!("oci:{}:t", image.display()).parse().unwrap();
    let begun = Instant::now();
    let error = store.import(&reference, &options, &()).unwrap_err();
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    assert_eq!(store.names().unwrap(), []);
    for folder in ["blobs/sha256", "staging"] {
        let left: Vec<_> = fs::read_dir(dir.path().join(folder)).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
    match error {
        ImportError::Tree { source, .. } => source,
        other => panic!("{other:?}"),
    }
}

fn image(layers: &[Vec<u8>]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_layout(dir.path(), layers);
    dir
}

/// The image's last layer is refused because of its entry `entry`.
#[track_caller]
fn refused_entry(layers: &[&mut Layer], entry: &str) -> EntryFault {
    let layers: Vec<_> = layers.iter().map(|layer| layer.bytes()).collect();
    let error = refused(image(&layers).path());
    let TreeError::Entry {
        layer,
        entry: named,
        source,
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(layer, digest(&gzip(layers.last().unwrap())));
    assert_eq!(named, entry);
    source
}

/// The stream is refused in or after its entry `entry`.
#[track_caller]
fn refused_stream(stream: Vec<u8>, entry: &str) -> TarFault {
    let name = digest(&gzip(&stream));
    let error = refused(image(&[stream]).path());
    let message = error.to_string();
    let TreeError::Tar {
        layer,
        entry: named,
        source,
        ..
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!((layer, &*named), (name.clone(), entry));
    assert!(
        message.contains(&name) && message.contains(entry),
        "{message}"
    );
    source
}

#[test]
fn a_layer_that_unpacks_to_a_thousand_times_its_size_is_stopped_at_the_limit() {
    // A layer of 16 GiB, in an authentic blob of some MiB.
    let blob = gzip(&vec![0; 16 << 20]).repeat(1024);
    let dir = tempfile::tempdir().unwrap();
    write_gzip_layout(dir.path(), &[(blob.clone(), digest(b""))]);
    let error = refused(dir.path());
    let TreeError::TooManyBytes { layer, limit } = error else {
        panic!("{error:?}");
    };
    assert_eq!((layer, limit), (digest(&blob), 64 << 20));
}

#[test]
fn bombs_of_entries_and_names_are_stopped_at_the_limit() {
    let mut layer = Layer::new();
    for n in 0..10_001 {
        layer.file(&format!("{n}"), b"");
    }
    let fault = refused_entry(&[&mut layer], "10000");
    assert!(
        matches!(fault, EntryFault::TooManyEntries { .. }),
        "{fault}"
    );
    // The same name again and again is an entry each time.
    let mut layer = Layer::new();
    for _ in 0..10_001 {
        layer.file("same", b"");
    }
    let fault = refused_entry(&[&mut layer], "same");
    assert!(
        matches!(fault, EntryFault::TooManyEntries { .. }),
        "{fault}"
    );
    // Few entries that imply many directories.
    let mut layer = Layer::new();
    for n in 0..6 {
        layer.file(&format!("{n}/{}f", "d/".repeat(1900)), b"");
    }
    let last = format!("5/{}f", "d/".repeat(1900));
    let fault = refused_entry(&[&mut layer], &last);
    assert!(
        matches!(fault, EntryFault::TooManyEntries { .. }),
        "{fault}"
    );
    let mut layer = Layer::new();
    for n in 0..9 {
        layer.xattr("user.bomb", &vec![b'x'; 64 << 10]);
        for part in 0..14 {
            layer.xattr(&format!("user.{part}"), &vec![b'x'; 64 << 10]);
        }
        layer.file(&format!("{n}"), b"");
    }
    let fault = refused_entry(&[&mut layer], "8");
    assert!(
        matches!(fault, EntryFault::TooMuchMetadata { .. }),
        "{fault}"
    );
}

#[test]
fn nesting_and_names_beyond_linux_are_refused() {
    let deep = "d/".repeat(2000);
    let below = format!("s/{}", "e/".repeat(100));
    let mut layer = Layer::new();
    layer.directory(&deep).symlink("s", &deep).directory(&below);
    let fault = refused_entry(&[&mut layer], &below);
    assert!(matches!(fault, EntryFault::TooDeep), "{fault}");
    let long = "n".repeat(256);
    let fault = refused_entry(&[Layer::new().file(&long, b"")], &long);
    assert!(matches!(fault, EntryFault::NameTooLong { .. }), "{fault}");
    let long = "d/".repeat(2048) + "f";
    let fault = refused_entry(&[Layer::new().file(&long, b"")], &long);
    assert!(matches!(fault, EntryFault::PathTooLong { .. }), "{fault}");
}

#[test]
fn links_that_go_round_are_refused() {
    let mut lower = Layer::new();
    lower.symlink("a", "b").symlink("b", "a/../a");
    let fault = refused_entry(&[&mut lower, Layer::new().file("a/x", b"")], "a/x");
    assert!(matches!(fault, EntryFault::TooManySymlinks), "{fault}");
    let fault = refused_entry(&[Layer::new().hard_link("self", "self")], "self");
    assert!(matches!(fault, EntryFault::MissingTarget { .. }), "{fault}");
    let mut layer = Layer::new();
    layer.hard_link("one", "two").hard_link("two", "one");
    let fault = refused_entry(&[&mut layer], "one");
    assert!(matches!(fault, EntryFault::MissingTarget { .. }), "{fault}");
    let fault = refused_entry(
        &[Layer::new().directory("d").hard_link("d/round", "d")],
        "d/round",
    );
    assert!(
        matches!(fault, EntryFault::TargetIsDirectory { .. }),
        "{fault}"
    );
}

/// A chain of links, each of which leads over the one before it twice, so that following it takes a time that doubles
/// with every link.
#[test]
fn links_that_multiply_are_refused() {
    let mut layer = Layer::new();
    layer.directory("d").symlink("l0", "d");
    for n in 1..60 {
        let before = n - 1;
        layer.symlink(&format!("l{n}"), &format!("l{before}/../l{before}"));
    }
    layer.file("l59/x", b"");
    let fault = refused_entry(&[&mut layer], "l59/x");
    assert!(matches!(fault, EntryFault::TooManySymlinks), "{fault}");
}

#[test]
fn sizes_that_lie_are_refused() {
    let mut whole = Layer::new();
    whole.file("first", b"fine").file("last", &[b'x'; 5000]);
    let whole = whole.bytes();
    let fault = refused_stream(whole[..4096].to_vec(), "last");
    assert!(matches!(fault, TarFault::Truncated), "{fault}");
    for size in [
        "9223372036854775807",
        "18446744073709551615",
        "99999999999999999999",
    ] {
        let mut layer = Layer::new();
        layer
            .record("size", size.as_bytes())
            .file("large", b"small");
        let stream = layer.bytes();
        let error = refused(image(&[stream]).path());
        let message = format!("{error}: {}", error.source().unwrap());
        assert!(
            matches!(error, TreeError::Tar { .. } | TreeError::Entry { .. }),
            "{message}"
        );
    }
    let mut layer = Layer::new();
    layer.sparse("holes", 1 << 62, &[(0, b"x")]);
    let error = refused(image(&[layer.bytes()]).path());
    let TreeError::Entry {
        source: EntryFault::FileTooLarge { .. },
        ..
    } = error
    else {
        panic!("{error:?}");
    };
}

#[test]
fn a_stream_that_is_not_what_the_config_says_is_refused() {
    let other = gzip(&Layer::new().file("etc/note", b"2").bytes());
    let promised = digest(&Layer::new().file("etc/note", b"1").bytes());
    let dir = tempfile::tempdir().unwrap();
    write_gzip_layout(dir.path(), &[(other.clone(), promised)]);
    let error = refused(dir.path());
    let TreeError::DiffIdMismatch { layer, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(layer, digest(&other));
}

/// CVE-2021-29136: the root itself became a symbolic link, and what followed it was written outside.
#[test]
fn cve_2021_29136_a_root_that_is_a_link_is_refused() {
    for name in [".", "./", "/", "./."] {
        let mut layer = Layer::new();
        layer.symlink(name, "/tmp").file("evil", b"");
        let fault = refused_entry(&[&mut layer], name);
        assert!(matches!(fault, EntryFault::ReplacesRoot), "{name}: {fault}");
    }
}

/// CVE-2026-46703: names and targets lead over a link to the outside that a lower layer made.
#[test]
fn cve_2026_46703_nothing_outside_is_reached_over_links() {
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    fs::write(&secret, b"secret").unwrap();
    let folder = outside.path().to_str().unwrap();
    let mut lower = Layer::new();
    lower.symlink("out", folder);
    lower.symlink("up", &format!("../../../../../../../..{folder}"));
    for link in ["out", "up"] {
        let name = format!("{link}/stolen");
        let target = format!("{link}/secret");
        let fault = refused_entry(&[&mut lower, Layer::new().hard_link(&name, &target)], &name);
        assert!(matches!(fault, EntryFault::MissingTarget { .. }), "{fault}");
    }
    // Whiteouts and files go to a folder of the image that has the same name.
    let mut upper = Layer::new();
    upper
        .file("out/.wh.secret", b"")
        .file("up/.wh..wh..opq", b"")
        .file("out/new", b"");
    let image = image(&[lower.bytes(), upper.bytes()]);
    let store = Store::open(image.path().join("store")).unwrap();
    let reference = format!("oci:{}:t", image.path().display()).parse().unwrap();
    store
        .import(&reference, &ImportOptions::default(), &())
        .unwrap();
    assert_eq!(fs::read(&secret).unwrap(), b"secret");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

/// A header of type `kind` that says 0 bytes, after a record that says how long its data is; an archive in the data
/// must not be taken for entries of this one.
fn nested(kind: u8, size_record: bool) -> Vec<u8> {
    let inner = Layer::new().file("smuggled", b"evil").bytes();
    let mut stream = Vec::new();
    if size_record {
        let record = format!("13 size={}\n", inner.len());
        assert_eq!(record.len(), 13, "a record says its own length");
        stream.extend(entry(b"pax", b'x', record.len(), record.as_bytes()));
    }
    let declared = if size_record { 0 } else { inner.len() };
    stream.extend(entry(b"outer", kind, declared, &inner));
    stream.extend(entry(b"after", b'0', 0, b""));
    stream
}

/// A header that says `size`, and data that is as long as it is.
fn entry(name: &[u8], kind: u8, size: usize, data: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size as u64);
    header.set_cksum();
    let mut stream = [header.as_bytes(), data].concat();
    stream.resize(stream.len().next_multiple_of(512), 0);
    stream
}

/// CVE-2025-62518 and CVE-2026-33056: where a record and a header disagree about a size, the record counts, as in the
/// readers that other tools use. What is inside of a file stays there.
#[test]
fn cve_2025_62518_the_size_record_counts_and_nothing_is_smuggled() {
    for size_record in [true, false] {
        let stream = nested(b'0', size_record);
        let names: Vec<_> = listing(&tree(&[&stream])).into_keys().collect();
        assert_eq!(names, ["/after", "/outer"], "{size_record}");
    }
}
