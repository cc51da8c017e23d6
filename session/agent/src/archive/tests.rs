use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use tar::{EntryType, Header};
use tempfile::TempDir;

use super::*;
use crate::protocol::Copied;

fn open(folder: &Path) -> OwnedFd {
    File::open(folder).unwrap().into()
}

/// A folder to unpack into, inside of one that must stay empty otherwise.
struct Bed {
    outer: TempDir,
}

impl Bed {
    fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir(outer.path().join("inner")).unwrap();
        fs::write(outer.path().join("secret"), "untouched").unwrap();
        Self { outer }
    }

    fn inner(&self) -> std::path::PathBuf {
        self.outer.path().join("inner")
    }

    fn strict(&self) -> Unpacker<'static> {
        Unpacker::strict(open(&self.inner()))
    }

    /// What is outside is as it was.
    fn check(&self) {
        let names: Vec<_> = fs::read_dir(self.outer.path()).unwrap().collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert_eq!(
            fs::read(self.outer.path().join("secret")).unwrap(),
            b"untouched"
        );
    }
}

/// One entry, whose name is written as it is.
fn raw(kind: EntryType, name: &[u8], link: &[u8], mode: u32, data: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
    header.set_mode(mode);
    header.set_uid(12);
    header.set_gid(34);
    header.set_mtime(1_000_000);
    header.set_size(data.len() as u64);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn file(name: &str, text: &str) -> Vec<u8> {
    raw(
        EntryType::Regular,
        name.as_bytes(),
        b"",
        0o644,
        text.as_bytes(),
    )
}

fn link(name: &str, target: &str) -> Vec<u8> {
    raw(
        EntryType::Symlink,
        name.as_bytes(),
        target.as_bytes(),
        0o777,
        b"",
    )
}

fn hard(name: &str, target: &str) -> Vec<u8> {
    raw(
        EntryType::Link,
        name.as_bytes(),
        target.as_bytes(),
        0o644,
        b"",
    )
}

fn ended(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn tree(at: &Path) {
    fs::create_dir_all(at.join("folder/empty")).unwrap();
    fs::write(at.join("folder/file"), "text").unwrap();
    fs::set_permissions(at.join("folder/file"), PermissionsExt::from_mode(0o640)).unwrap();
    fs::hard_link(at.join("folder/file"), at.join("again")).unwrap();
    symlink("../elsewhere//./x", at.join("folder/link")).unwrap();
    let long = "long".repeat(50);
    fs::create_dir(at.join(&long)).unwrap();
    fs::write(at.join(&long).join(&long), vec![7; 200_000]).unwrap();
    symlink(long.repeat(3), at.join("long-link")).unwrap();
    let odd = OsStr::from_bytes(b"no\xfftext\n");
    fs::write(at.join(odd), "odd").unwrap();
    fs::set_permissions(at.join("folder/empty"), PermissionsExt::from_mode(0o500)).unwrap();
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_234_567_890);
    File::open(at.join("folder"))
        .unwrap()
        .set_modified(then)
        .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at.join("socket")).unwrap();
}

fn packed(path: &Path, name: &str) -> (Vec<u8>, Copied) {
    let mut stream = Vec::new();
    let copied = pack(path, OsStr::new(name), &mut stream, &mut |_| ()).unwrap();
    (stream, copied)
}

#[test]
fn a_tree_comes_out_as_it_went_in() {
    let source = tempfile::tempdir().unwrap();
    tree(source.path());
    let (stream, sent) = packed(source.path(), "x");
    assert_eq!((sent.files, sent.directories, sent.symlinks), (4, 4, 2));
    assert_eq!((sent.skipped, sent.bytes), (1, 4 + 200_000 + 3));
    let bed = Bed::new();
    let mut last = Copied::default();
    let unpacker = bed.strict().rename(OsString::from("copy"));
    let made = unpacker
        .report(|copied| last = *copied)
        .run(stream.as_slice())
        .unwrap();
    assert_eq!(made, Copied { skipped: 0, ..sent });
    assert_eq!(last, made);
    let copy = bed.inner().join("copy");
    assert_eq!(fs::read(copy.join("folder/file")).unwrap(), b"text");
    let (one, other) = (
        fs::metadata(copy.join("folder/file")).unwrap(),
        fs::metadata(copy.join("again")).unwrap(),
    );
    assert_eq!((one.ino(), one.mode() & 0o7777), (other.ino(), 0o640));
    let target = fs::read_link(copy.join("folder/link")).unwrap();
    assert_eq!(target.as_os_str(), "../elsewhere//./x");
    let long = "long".repeat(50);
    assert_eq!(
        fs::read(copy.join(&long).join(&long)).unwrap(),
        vec![7; 200_000]
    );
    assert_eq!(
        fs::read_link(copy.join("long-link")).unwrap().as_os_str(),
        long.repeat(3).as_str()
    );
    assert_eq!(
        fs::read(copy.join(OsStr::from_bytes(b"no\xfftext\n"))).unwrap(),
        b"odd"
    );
    let empty = fs::metadata(copy.join("folder/empty")).unwrap();
    assert_eq!(empty.mode() & 0o7777, 0o500);
    assert_eq!(
        fs::metadata(copy.join("folder")).unwrap().mtime(),
        1_234_567_890
    );
    bed.check();
}

#[test]
fn a_single_file_gets_the_name_that_was_asked_for() {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("a"), "1").unwrap();
    let (stream, _) = packed(&source.path().join("a"), "some/where/a");
    let bed = Bed::new();
    bed.strict().run(stream.as_slice()).unwrap();
    assert_eq!(fs::read(bed.inner().join("some/where/a")).unwrap(), b"1");
}

#[test]
fn a_file_that_the_kernel_makes_up_is_read_to_its_end() {
    let (stream, sent) = packed(Path::new("/proc/version"), "x");
    let bed = Bed::new();
    let made = bed.strict().run(stream.as_slice()).unwrap();
    let found = fs::read(bed.inner().join("x")).unwrap();
    assert_eq!(found, fs::read("/proc/version").unwrap());
    assert_eq!((sent, made.bytes), (made, found.len() as u64));
}

#[test]
fn what_is_there_is_replaced_and_never_followed() {
    let bed = Bed::new();
    let inner = bed.inner();
    symlink(bed.outer.path().join("secret"), inner.join("a")).unwrap();
    fs::write(inner.join("b"), "old").unwrap();
    fs::hard_link(inner.join("b"), inner.join("b2")).unwrap();
    let stream = ended(&[file("a", "new"), file("b", "new")]);
    bed.strict().run(stream.as_slice()).unwrap();
    assert!(fs::symlink_metadata(inner.join("a")).unwrap().is_file());
    assert_eq!(fs::read(inner.join("b")).unwrap(), b"new");
    assert_eq!(fs::read(inner.join("b2")).unwrap(), b"old");
    bed.check();
}

fn error_of(bed: &Bed, entries: &[Vec<u8>]) -> String {
    let error = bed.strict().run(ended(entries).as_slice()).unwrap_err();
    bed.check();
    error.to_string()
}

#[test]
fn nothing_leads_out_of_the_folder() {
    let outside = |bed: &Bed| bed.outer.path().join("secret").display().to_string();
    let bed = Bed::new();
    for name in ["/etc/x", "../x", "a/../../x", "a/.."] {
        let error = error_of(&bed, &[file(name, "x")]);
        assert!(error.contains(&format!("{name:?}")), "{error}");
    }
    for target in ["..", "/", "/tmp"] {
        // A link of the stream's own on the way, to be written, filled or linked through.
        for next in [
            file("l/x", "x"),
            raw(EntryType::Directory, b"l/x", b"", 0o755, b""),
            link("l/x", "y"),
        ] {
            let error = error_of(&bed, &[link("l", target), next]);
            assert!(error.contains("\"l/x\""), "{error}");
        }
        let error = error_of(
            &bed,
            &[
                link("l", target),
                raw(EntryType::Directory, b"l", b"", 0o700, b""),
            ],
        );
        assert!(error.contains("could not"), "{error}");
        let error = error_of(&bed, &[link("l", target), hard("h", "l/secret")]);
        assert!(error.contains("\"h\""), "{error}");
    }
    for target in [outside(&bed), "../secret".to_owned(), String::new()] {
        let error = error_of(&bed, &[hard("h", &target)]);
        assert!(
            error.contains("\"h\"") || error.contains("secret"),
            "{error}"
        );
    }
    // A link that is written over stays harmless.
    let stream = ended(&[link("l", &outside(&bed)), file("l", "mine")]);
    bed.strict().run(stream.as_slice()).unwrap();
    bed.check();
}

#[test]
fn hard_links_are_only_to_what_the_stream_made() {
    let bed = Bed::new();
    fs::write(bed.inner().join("there"), "before").unwrap();
    symlink(bed.outer.path().join("secret"), bed.inner().join("link")).unwrap();
    for target in ["there", "link", "missing"] {
        let error = error_of(&bed, &[hard("h", target)]);
        assert!(error.contains("\"h\""), "{error}");
    }
    assert!(!bed.inner().join("h").exists());
}

#[test]
fn neither_devices_nor_owners_nor_special_permissions_reach_the_host() {
    let bed = Bed::new();
    let special = [
        raw(EntryType::Char, b"null", b"", 0o666, b""),
        raw(EntryType::Block, b"disk", b"", 0o666, b""),
        raw(EntryType::Fifo, b"pipe", b"", 0o666, b""),
        raw(EntryType::Regular, b"su", b"", 0o6755, b"x"),
        raw(EntryType::Directory, b"sticky", b"", 0o3777, b""),
    ];
    let made = bed.strict().run(ended(&special).as_slice()).unwrap();
    assert_eq!((made.skipped, made.files, made.directories), (3, 1, 1));
    let mode = |name: &str| fs::metadata(bed.inner().join(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode("su"), mode("sticky")), (0o755, 0o777));
    let uid = fs::metadata(bed.inner().join("su")).unwrap().uid();
    assert_eq!(uid, nix::unistd::getuid().as_raw());
    for entry in fs::read_dir(bed.inner()).unwrap() {
        let kind = entry.unwrap().file_type().unwrap();
        assert!(!kind.is_fifo() && !kind.is_char_device() && !kind.is_block_device());
    }
}

#[test]
fn limits_hold_before_anything_is_made() {
    let bed = Bed::new();
    let limits = Limits {
        entries: 2,
        bytes: 10,
        reserve: 0,
    };
    let run = |entries: &[Vec<u8>]| {
        let result = bed.strict().limits(limits).run(ended(entries).as_slice());
        result.unwrap_err().to_string()
    };
    let error = run(&[file("a", "1"), file("b", "2"), file("c", "3")]);
    assert!(
        error.contains("\"c\"") && error.contains("2 entries"),
        "{error}"
    );
    let error = run(&[file("a", "12345"), file("d", "123456")]);
    assert!(
        error.contains("\"d\"") && error.contains("10 bytes"),
        "{error}"
    );
    assert!(!bed.inner().join("c").exists() && !bed.inner().join("d").exists());
    // Headers that are about nothing count, or they could come for ever.
    let empty = raw(EntryType::XGlobalHeader, b"pax", b"", 0, b"");
    let error = run(&[empty.clone(), empty.clone(), empty]);
    assert!(error.contains("2 entries"), "{error}");
}

#[test]
fn what_is_no_content_of_a_file_can_not_come_for_ever() {
    let bed = Bed::new();
    for kind in *b"123456" {
        let entry = raw(EntryType::new(kind), b"x", b"y", 0o644, b"bytes");
        let error = error_of(&bed, &[entry]);
        assert!(error.contains("is no file, and has bytes"), "{error}");
    }
    let mut comment =
        Header::from_byte_slice(&raw(EntryType::XGlobalHeader, b"x", b"", 0, b"")).clone();
    comment.set_size(1 << 40);
    comment.set_cksum();
    let error = error_of(&bed, &[comment.as_bytes().to_vec()]);
    assert!(error.contains("too great a length"), "{error}");
    let attribute = format!("60000 comment={}\n", "x".repeat(60_000 - 15));
    let described = [
        raw(EntryType::XHeader, b"pax", b"", 0, attribute.as_bytes()),
        file("x", "1"),
    ];
    let limits = Limits {
        entries: 100,
        ..Limits::default()
    };
    let limits = Limits {
        bytes: 100,
        ..limits
    };
    let stream = ended(&[described.concat().repeat(30)]);
    let error = bed.strict().limits(limits).run(stream.as_slice());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("bytes of the stream"), "{error}");
}

#[test]
fn a_reserve_of_the_disk_stays_free() {
    let bed = Bed::new();
    let limits = Limits {
        reserve: u64::MAX,
        ..Limits::default()
    };
    let stream = ended(&[file("a", "1")]);
    let error = bed.strict().limits(limits).run(stream.as_slice());
    assert!(
        matches!(error, Err(ArchiveError::NoRoom { .. })),
        "{error:?}"
    );
    assert_eq!(fs::read_dir(bed.inner()).unwrap().count(), 0);
}

#[test]
fn zeros_that_come_make_holes() {
    let bed = Bed::new();
    let sparse = bed.outer.path().join("inner/sparse");
    File::create(&sparse).unwrap().set_len(8 << 20).unwrap();
    let (stream, _) = packed(&sparse, "copy");
    let made = bed.strict().run(stream.as_slice()).unwrap();
    assert_eq!(made.bytes, 8 << 20);
    let copy = fs::metadata(bed.inner().join("copy")).unwrap();
    assert_eq!(copy.len(), 8 << 20);
    assert!(copy.blocks() * 512 < 1 << 20, "{}", copy.blocks());
}

#[test]
fn a_file_is_replaced_once_its_successor_is_complete() {
    let bed = Bed::new();
    fs::write(bed.inner().join("a"), "old").unwrap();
    symlink("old", bed.inner().join("l")).unwrap();
    let names = || {
        let entries = fs::read_dir(bed.inner()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let stream = ended(&[file("a", &"2".repeat(5000))]);
    let error = bed.strict().run(&stream[..3000]);
    assert!(
        matches!(error, Err(ArchiveError::Stream { .. })),
        "{error:?}"
    );
    assert_eq!(fs::read(bed.inner().join("a")).unwrap(), b"old");
    assert_eq!(names(), ["a", "l"]);
    // A name that the stream's own file has already is left as it is.
    let stream = ended(&[
        file("a", "new"),
        hard("l", "a"),
        hard("l", "a"),
        link("a", "new"),
    ]);
    bed.strict().run(stream.as_slice()).unwrap();
    assert_eq!(fs::read(bed.inner().join("l")).unwrap(), b"new");
    assert_eq!(
        fs::read_link(bed.inner().join("a")).unwrap().as_os_str(),
        "new"
    );
    assert_eq!(names(), ["a", "l"]);
}

#[test]
fn names_and_attributes_have_a_greatest_length() {
    let bed = Bed::new();
    let long = |kind, len| raw(kind, b"././@LongLink", b"", 0, &vec![b'a'; len]);
    let error = error_of(
        &bed,
        &[long(EntryType::GNULongName, 100_000), file("x", "")],
    );
    assert!(error.contains("too great a length"), "{error}");
    let error = error_of(&bed, &[long(EntryType::GNULongName, 5000), file("x", "")]);
    assert!(error.contains("longer than any path"), "{error}");
    let error = error_of(&bed, &[long(EntryType::GNULongName, 300), file("x", "")]);
    assert!(error.contains("longer than any name"), "{error}");
    let error = error_of(&bed, &[long(EntryType::GNULongLink, 5000), link("x", "")]);
    assert!(error.contains("link to nothing"), "{error}");
    let twice = long(EntryType::GNULongName, 10);
    let error = error_of(&bed, &[twice.clone(), twice, file("x", "")]);
    assert!(error.contains("twice"), "{error}");
    // A size that is claimed and never sent takes no memory.
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(1 << 40);
    header.set_cksum();
    let error = error_of(&bed, &[header.as_bytes().to_vec()]);
    assert!(error.contains("too great a length"), "{error}");
}

#[test]
fn a_stream_that_is_cut_off_is_an_error_and_leaves_no_part_of_a_file() {
    let bed = Bed::new();
    let stream = ended(&[file("a", "1"), file("b", &"2".repeat(5000))]);
    for cut in [600, 1024 + 100, 1024 + 512 + 3000] {
        let error = bed.strict().run(&stream[..cut]).unwrap_err();
        assert!(matches!(error, ArchiveError::Stream { .. }), "{error:?}");
        assert!(!bed.inner().join("b").exists());
    }
}

#[test]
fn bytes_without_end_behind_the_archive_are_an_error() {
    let bed = Bed::new();
    let stream = ended(&[file("a", "1")]);
    let endless = std::io::Read::chain(stream.as_slice(), std::io::repeat(0));
    let error = bed.strict().run(endless).unwrap_err();
    assert!(
        error.to_string().contains("goes on behind its end"),
        "{error}"
    );
}

#[test]
fn pax_names_links_and_owners_are_understood_and_other_sizes_refused() {
    let bed = Bed::new();
    let record = |text: &str| {
        let mut len = text.len() + 2;
        while format!("{len} {text}\n").len() != len {
            len += 1;
        }
        raw(
            EntryType::XHeader,
            b"pax",
            b"",
            0,
            format!("{len} {text}\n").as_bytes(),
        )
    };
    let stream = ended(&[record("path=deep/name"), file("short", "1")]);
    bed.strict().run(stream.as_slice()).unwrap();
    assert_eq!(fs::read(bed.inner().join("deep/name")).unwrap(), b"1");
    let error = error_of(&bed, &[record("path=../x"), file("short", "1")]);
    assert!(error.contains("upwards"), "{error}");
    let error = error_of(&bed, &[record("size=7"), file("short", "1")]);
    assert!(error.contains("two sizes"), "{error}");
    let error = error_of(&bed, &[record("GNU.sparse.major=1"), file("short", "1")]);
    assert!(error.contains("sparse"), "{error}");
    let error = error_of(&bed, &[record("uid=x"), file("short", "1")]);
    assert!(error.contains("number"), "{error}");
}

/// Keeps what the stream says, as far as this process may.
fn ownership() -> Ownership {
    match nix::unistd::geteuid().is_root() {
        true => Ownership::Stream,
        false => Ownership::Fixed {
            uid: nix::unistd::getuid().as_raw(),
            gid: nix::unistd::getgid().as_raw(),
        },
    }
}

#[test]
fn a_root_is_one_for_links_that_are_there_and_keeps_owners_and_permissions() {
    let bed = Bed::new();
    let inner = bed.inner();
    fs::create_dir_all(inner.join("usr/lib")).unwrap();
    symlink("/usr/lib", inner.join("lib")).unwrap();
    symlink("../../..", inner.join("up")).unwrap();
    let stream = ended(&[
        raw(EntryType::Directory, b"lib", b"", 0o700, b""),
        file("lib/x", "1"),
        file("lib/new/z", "3"),
        file("up/y", "2"),
        raw(EntryType::Regular, b"su", b"", 0o4755, b"x"),
    ]);
    let unpacker = Unpacker::as_root(open(&inner), ownership());
    unpacker.run(stream.as_slice()).unwrap();
    assert_eq!(fs::read(inner.join("usr/lib/x")).unwrap(), b"1");
    assert_eq!(fs::read(inner.join("usr/lib/new/z")).unwrap(), b"3");
    assert_eq!(fs::read(inner.join("y")).unwrap(), b"2");
    let data = fs::metadata(inner.join("su")).unwrap();
    assert_eq!(data.mode() & 0o7777, 0o4755);
    if ownership() == Ownership::Stream {
        assert_eq!((data.uid(), data.gid()), (12, 34));
    }
    assert!(
        fs::symlink_metadata(inner.join("lib"))
            .unwrap()
            .is_symlink()
    );
    bed.check();
}

#[test]
fn links_that_are_there_are_followed_inside_and_never_out() {
    let bed = Bed::new();
    let inner = bed.inner();
    fs::create_dir_all(inner.join("a/b")).unwrap();
    fs::create_dir(inner.join("c")).unwrap();
    for (target, name) in [
        ("../c", "a/in"),
        ("in", "a/twice"),
        ("b/../..", "a/top"),
        ("../..", "a/up"),
        ("c/../../secret", "a/out"),
        ("/", "absolute"),
        ("loop", "loop"),
        ("nowhere", "dangling"),
    ] {
        symlink(target, inner.join(name)).unwrap();
    }
    let run = |name: &str| {
        let unpacker = Unpacker::beneath(open(&inner), ownership());
        unpacker.run(ended(&[file(name, "1")]).as_slice())
    };
    for (name, place) in [
        ("a/in/1", "c/1"),
        ("a/twice/2", "c/2"),
        ("a/top/3", "3"),
        ("a/twice/new/4", "c/new/4"),
    ] {
        run(name).unwrap();
        assert_eq!(fs::read(inner.join(place)).unwrap(), b"1", "{name}");
    }
    for (name, problem) in [
        ("a/up/x", "leads out"),
        ("a/out/x", "reach the folder"),
        ("absolute/x", "begins at the root"),
        ("a/file/../in/x", "leads upwards"),
        ("loop/x", "reach the folder"),
        ("dangling/x", "reach the folder"),
    ] {
        let error = run(name).unwrap_err().to_string();
        assert!(error.contains(problem) && error.contains(name), "{error}");
    }
    bed.check();
}

#[test]
fn links_of_others_are_not_followed() {
    if !nix::unistd::geteuid().is_root() {
        // Only root can give a link away.
        return;
    }
    let bed = Bed::new();
    let inner = bed.inner();
    fs::create_dir(inner.join("a")).unwrap();
    symlink("a", inner.join("link")).unwrap();
    std::os::unix::fs::lchown(inner.join("link"), Some(1000), None).unwrap();
    let entries = [
        file("link/x", "1"),
        raw(EntryType::Directory, b"link", b"", 0o700, b""),
    ];
    for entry in entries {
        for unpacker in [Unpacker::beneath, Unpacker::as_root] {
            let stream = ended(std::slice::from_ref(&entry));
            let unpacker = unpacker(open(&inner), Ownership::Stream);
            let error = unpacker.run(stream.as_slice()).unwrap_err().to_string();
            assert!(error.contains("another user's"), "{error}");
        }
    }
    // In the place of the link itself something else may come.
    let unpacker = Unpacker::beneath(open(&inner), Ownership::Stream);
    unpacker
        .run(ended(&[file("link", "1")]).as_slice())
        .unwrap();
    assert_eq!(fs::read(inner.join("link")).unwrap(), b"1");
    bed.check();
}

#[test]
fn a_folder_in_the_place_of_a_file_is_an_error_that_names_it() {
    let bed = Bed::new();
    fs::create_dir(bed.inner().join("a")).unwrap();
    let error = error_of(&bed, &[file("a", "1")]);
    assert!(error.contains("replace \"a\""), "{error}");
    fs::write(bed.inner().join("f"), "").unwrap();
    let error = error_of(&bed, &[file("f/x", "1")]);
    assert!(error.contains("\"f/x\""), "{error}");
}

#[test]
fn what_other_tools_pack_is_unpacked_and_the_other_way_round() {
    let source = tempfile::tempdir().unwrap();
    tree(source.path());
    for format in ["gnu", "pax", "ustar"] {
        let output = std::process::Command::new("tar")
            .args(["-c", "--exclude=./long*", "--format", format, "."])
            .current_dir(source.path())
            .output()
            .unwrap();
        let bed = Bed::new();
        let made = bed.strict().run(output.stdout.as_slice()).unwrap();
        assert_eq!((made.files, made.symlinks), (3, 1), "{format}");
        assert_eq!(fs::read(bed.inner().join("folder/file")).unwrap(), b"text");
    }
    let (stream, _) = packed(source.path(), "x");
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("x.tar");
    fs::write(&archive, stream).unwrap();
    let listed = std::process::Command::new("tar")
        .arg("-C")
        .arg(folder.path())
        .arg("-xf")
        .arg(&archive)
        .output()
        .unwrap();
    assert!(listed.status.success(), "{listed:?}");
    let long = "long".repeat(50);
    let copy = folder.path().join("x").join(&long).join(&long);
    assert_eq!(fs::read(copy).unwrap(), vec![7; 200_000]);
}

#[test]
fn a_missing_file_and_a_broken_connection_are_told_apart() {
    let missing = pack(
        Path::new("/no/such/file"),
        OsStr::new("x"),
        std::io::sink(),
        &mut |_| (),
    );
    let missing = missing.unwrap_err().to_string();
    assert!(missing.contains("/no/such/file"), "{missing}");
    struct Broken;
    impl std::io::Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("a"), "1").unwrap();
    let broken = pack(source.path(), OsStr::new("x"), Broken, &mut |_| ());
    assert!(matches!(broken, Err(ArchiveError::Stream { .. })));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]

    #[test]
    fn entries_of_any_kind_and_name_stay_in_the_folder(
        entries in proptest::collection::vec(
            (
                proptest::sample::select(b"0125367LKxgS".as_slice()),
                "(up|out|s|a|l|x|\\.\\.|\\.|/|){1,4}(/(a|x|\\.\\.|secret|s)){0,2}",
                "(up|out|s|a|l|\\.\\.|/|){1,3}(/(a|secret|s)){0,2}",
                proptest::collection::vec(proptest::num::u8::ANY, 0..40),
            ),
            0..8,
        ),
        is_renamed: bool,
    ) {
        let bed = Bed::new();
        symlink("..", bed.inner().join("up")).unwrap();
        symlink(bed.outer.path(), bed.inner().join("out")).unwrap();
        symlink("../secret", bed.inner().join("s")).unwrap();
        let entries: Vec<_> = entries
            .iter()
            .map(|(kind, name, link, data)| {
                raw(EntryType::new(*kind), name.as_bytes(), link.as_bytes(), 0o7777, data)
            })
            .collect();
        let unpacker = bed.strict().limits(Limits { entries: 20, bytes: 1000, reserve: 0 });
        let unpacker = match is_renamed {
            true => unpacker.rename("name".into()),
            false => unpacker,
        };
        let _made_or_refused = unpacker.run(ended(&entries).as_slice());
        bed.check();
        let outside = fs::metadata(bed.outer.path().join("secret")).unwrap();
        proptest::prop_assert_eq!(outside.nlink(), 1);
        if is_renamed {
            for entry in fs::read_dir(bed.inner()).unwrap().flatten() {
                let name = entry.file_name();
                proptest::prop_assert!(["name", "up", "out", "s"].iter().any(|known| name == *known));
            }
        }
    }
}

#[test]
fn a_hard_link_that_is_there_already_leaves_no_other_name() {
    let bed = Bed::new();
    let stream = ended(&[file("a", "text"), hard("b", "a"), hard("b", "a")]);
    bed.strict().run(&stream[..]).unwrap();
    let names = fs::read_dir(bed.inner()).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["a", "b"]);
    bed.check();
}
