//! Dialects of tar: long names, sparse files, times, attributes, and streams that are none.

use rootfs_store::tree::{InodeId, Kind, Limits, TarFault, Time, TreeError};

use super::{fails, find, listing, read};
use crate::disk::tree;
use crate::layer::Layer;

#[track_caller]
fn tar_fault(stream: &[u8]) -> TarFault {
    match fails(&[stream], &Limits::default()) {
        TreeError::Tar { source, .. } => source,
        other => panic!("{other:?}"),
    }
}

fn names(stream: &[u8]) -> Vec<String> {
    listing(&tree(&[stream])).into_keys().collect()
}

#[test]
fn gnu_long_names_and_links_are_read() {
    let (name, target) = ("n".repeat(200), "t".repeat(150));
    let mut layer = Layer::new();
    layer.gnu(b"././@LongLink", b'L', format!("{name}\0").as_bytes());
    layer.gnu(b"././@LongLink", b'K', format!("{target}\0").as_bytes());
    layer.gnu(b"short", b'2', b"");
    let listing = listing(&tree(&[&layer.bytes()]));
    assert_eq!(listing[&format!("/{name}")], format!("-> {target}"));
}

#[test]
fn ustar_prefixes_are_read() {
    let mut header = tar::Header::new_ustar();
    let path = format!("{}/{}", "p".repeat(120), "n".repeat(90));
    header.set_path(&path).unwrap();
    header.set_size(0);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    assert_eq!(names(header.as_bytes())[1], format!("/{path}"));
}

#[test]
fn names_may_be_any_bytes() {
    let stream = Layer::new()
        .record("path", b"\xff\n=\xfe")
        .file("x", b"1")
        .bytes();
    let tree = tree(&[&stream]);
    let Kind::Directory(root) = &tree.inode(InodeId::ROOT).kind else {
        panic!();
    };
    assert_eq!(root.iter().next().unwrap().0, b"\xff\n=\xfe");
}

#[test]
fn attributes_may_hold_any_bytes() {
    let value = b"\0\n17 path=evil\n\xff";
    let stream = Layer::new()
        .xattr("security.capability", value)
        .record("comment", b"x")
        .file("f", b"data")
        .bytes();
    let tree = tree(&[&stream]);
    let xattrs = &tree.inode(find(&tree, "f")).attributes.xattrs;
    assert_eq!(&*xattrs[&b"security.capability"[..]], value);
}

#[test]
fn an_empty_value_takes_an_attribute_back() {
    let stream = Layer::new()
        .xattr("user.back", b"1")
        .xattr("user.back", b"")
        .xattr("user.never", b"")
        .xattr("user.kept", b"1")
        .file("f", b"")
        .bytes();
    let tree = tree(&[&stream]);
    let xattrs = &tree.inode(find(&tree, "f")).attributes.xattrs;
    let names: Vec<_> = xattrs.keys().map(|name| &**name).collect();
    assert_eq!(names, [b"user.kept"]);
}

#[test]
fn sizes_and_ids_may_be_binary_or_records() {
    let mut header = tar::Header::new_gnu();
    header.set_path("f").unwrap();
    header.set_mode(0o644);
    header.set_uid(u64::from(u32::MAX));
    header.set_gid(0);
    header.set_mtime(0);
    header.as_gnu_mut().unwrap().size = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3];
    header.as_gnu_mut().unwrap().mtime = [0xff; 12];
    header.set_cksum();
    let mut stream = header.as_bytes().to_vec();
    stream.extend_from_slice(b"abc");
    stream.resize(1024, 0);
    let tree = tree(&[&stream]);
    let inode = tree.inode(find(&tree, "f"));
    assert_eq!(inode.attributes.uid, u32::MAX);
    assert_eq!(
        inode.attributes.mtime,
        Time {
            seconds: -1,
            nanos: 0
        }
    );
    let Kind::File(content) = &inode.kind else {
        panic!();
    };
    assert_eq!(read(&tree, content), b"abc");
}

#[test]
fn times_have_fractions_and_may_be_negative() {
    for (text, seconds, nanos) in [
        ("1.5", 1, 500_000_000),
        ("-1.25", -2, 750_000_000),
        ("-0.000000001", -1, 999_999_999),
        ("12345678901.1234567891", 12_345_678_901, 123_456_789),
        ("-5", -5, 0),
    ] {
        let tree = tree(&[&Layer::new().pax_mtime(text).file("f", b"").bytes()]);
        let mtime = tree.inode(find(&tree, "f")).attributes.mtime;
        assert_eq!(mtime, Time { seconds, nanos }, "{text}");
    }
    for text in ["", "x", "1.x", "--1", "99999999999999999999"] {
        let stream = Layer::new().pax_mtime(text).file("f", b"").bytes();
        if text.is_empty() {
            tree(&[&stream]);
        } else {
            assert!(
                matches!(tar_fault(&stream), TarFault::PaxValue { .. }),
                "{text}"
            );
        }
    }
}

#[track_caller]
fn assert_sparse(stream: &[u8], name: &str) {
    let mut expected = vec![0; 20_000];
    expected[5000..5003].copy_from_slice(b"abc");
    expected[19_998..].copy_from_slice(b"yz");
    let tree = tree(&[stream]);
    let Kind::File(content) = &tree.inode(find(&tree, name)).kind else {
        panic!();
    };
    assert_eq!(read(&tree, content), expected);
    let runs: Vec<_> = content
        .runs
        .iter()
        .map(|r| (r.file_offset, r.len))
        .collect();
    assert_eq!(runs, [(4096, 4096), (16_384, 3616)]);
}

#[test]
fn sparse_files_of_pax_format_1_0_keep_their_holes() {
    let stream = Layer::new()
        .sparse("s", 20_000, &[(5000, b"abc"), (19_998, b"yz")])
        .bytes();
    assert_sparse(&stream, "s");
}

#[test]
fn sparse_files_of_older_pax_formats_keep_their_holes() {
    assert_sparse(&Layer::new().sparse_0_0("old").bytes(), "old");
    assert_sparse(&Layer::new().sparse_0_1("real").bytes(), "real");
}

/// A header of GNU's own sparse format; its map holds octal numbers.
fn gnu_sparse(pieces: &[(u64, u64)], real_size: u64, data: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_path("s").unwrap();
    header.set_entry_type(tar::EntryType::GNUSparse);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(data.len() as u64);
    let octal = |n: u64| format!("{n:011o}\0");
    let gnu = header.as_gnu_mut().unwrap();
    for (slot, (offset, len)) in gnu.sparse.iter_mut().zip(pieces) {
        slot.offset.copy_from_slice(octal(*offset).as_bytes());
        slot.numbytes.copy_from_slice(octal(*len).as_bytes());
    }
    gnu.realsize.copy_from_slice(octal(real_size).as_bytes());
    gnu.isextended[0] = u8::from(pieces.len() > 4);
    header.set_cksum();
    let mut stream = header.as_bytes().to_vec();
    if let Some(more) = pieces.get(4..).filter(|m| !m.is_empty()) {
        let text: Vec<_> = more.iter().map(|(o, l)| octal(*o) + &octal(*l)).collect();
        stream.extend_from_slice(text.concat().as_bytes());
        stream.resize(1024, 0);
    }
    stream.extend_from_slice(data);
    stream.resize(stream.len().next_multiple_of(512), 0);
    stream
}

#[test]
fn sparse_files_of_gnu_format_keep_their_holes() {
    assert_sparse(
        &gnu_sparse(&[(5000, 3), (19_998, 2)], 20_000, b"abcyz"),
        "s",
    );
    let many = [
        (5000, 1),
        (5001, 1),
        (5002, 1),
        (19_998, 1),
        (19_999, 1),
        (20_000, 0),
    ];
    assert_sparse(&gnu_sparse(&many, 20_000, b"abcyz"), "s");
}

#[test]
fn sparse_maps_that_lie_are_errors() {
    for (pieces, data) in [
        (&[(5000, 3), (4000, 2)][..], &b"abcyz"[..]),
        (&[(5000, 3)], b"abcyz"),
        (&[(5000, 3), (19_999, 2)], b"abcyz"),
        (&[(5000, 3), (u64::MAX >> 31, 2)], b"abcyz"),
    ] {
        let fault = tar_fault(&gnu_sparse(pieces, 20_000, data));
        assert!(matches!(fault, TarFault::SparseMap), "{pieces:?}: {fault}");
    }
    let huge = Layer::new()
        .record("GNU.sparse.major", b"1")
        .record("GNU.sparse.minor", b"0")
        .record("GNU.sparse.realsize", b"1")
        .file("x", b"99999999999\n")
        .bytes();
    assert!(matches!(tar_fault(&huge), TarFault::TooManySparseRuns));
}

#[test]
fn global_headers_may_only_comment() {
    let stream = |record: &[u8]| Layer::new().gnu(b"g", b'g', record).file("f", b"").bytes();
    tree(&[&stream(b"13 comment=x\n")]);
    let fault = tar_fault(&stream(b"10 path=x\n"));
    assert!(matches!(fault, TarFault::GlobalPax { .. }), "{fault}");
}

#[test]
fn streams_that_are_no_tar_are_errors() {
    let good = Layer::new().file("f", b"some data").bytes();
    assert!(matches!(tar_fault(&good[..300]), TarFault::Truncated));
    assert!(matches!(tar_fault(&good[..515]), TarFault::Truncated));
    let mut bad = good.clone();
    bad[3] ^= 1;
    assert!(matches!(tar_fault(&bad), TarFault::Checksum));
    let stream = Layer::new().gnu(b"x", b'Z', b"").bytes();
    assert!(matches!(
        tar_fault(&stream),
        TarFault::UnknownType { code: b'Z' }
    ));
    let stream = Layer::new()
        .gnu(b"x", b'x', b"9999 path=x\n")
        .file("f", b"")
        .bytes();
    assert!(matches!(tar_fault(&stream), TarFault::PaxRecord));
    let stream = Layer::new().gnu(b"x", b'x', b"10 path=x\n").bytes();
    assert!(matches!(tar_fault(&stream), TarFault::StrayExtension));
    let stream = Layer::new()
        .gnu(b"x", b'x', &vec![b' '; (1 << 20) + 1])
        .bytes();
    assert!(matches!(
        tar_fault(&stream),
        TarFault::ExtensionTooLarge { .. }
    ));
}

#[test]
fn a_stream_without_an_end_is_fine() {
    let stream = Layer::new().file("f", b"x").bytes();
    assert_eq!(names(&stream[..1024]), ["/f"]);
    assert!(names(&[]).is_empty());
}
