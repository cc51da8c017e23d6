//! Disks made from trees, checked by e2fsck and read back by debugfs and `ext4-view`.

mod compare;
mod mounted;
mod read;
mod small_disk;

use rootfs_store::ext4::{Layout, LayoutError};
use rootfs_store::tree::Tree;

use crate::disk::{CHUNK_BYTES, Disk, tree};
use crate::layer::Layer;
use compare::assert_same;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Bytes that no two blocks share.
pub(crate) fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// An access control list: owner, one more user, group, mask, others. For those without a name, Linux hands out all
/// ones as their number, debugfs zero.
fn acl(unnamed: u32) -> Vec<u8> {
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [
        (1u16, 6u16, unnamed),
        (2, 4, 1000),
        (4, 4, unnamed),
        (16, 4, unnamed),
        (32, 0, unnamed),
    ] {
        acl.extend_from_slice(&tag.to_le_bytes());
        acl.extend_from_slice(&permissions.to_le_bytes());
        acl.extend_from_slice(&id.to_le_bytes());
    }
    acl
}

/// A layer with one of everything.
fn corner_cases() -> Vec<u8> {
    let mut layer = Layer::new();
    layer
        .mode(0o711)
        .owner(1, 2)
        .pax_mtime("17.25")
        .directory("./");
    layer
        .directory("etc")
        .file("etc/hostname", b"corner\n")
        .file("etc/empty", b"");
    layer.hard_link("etc/hostname.again", "etc/hostname");
    layer.hard_link("hostname.outside", "etc/hostname");
    layer
        .mode(0o4755)
        .owner(70_000, 80_000)
        .file("bin/su", &noise(100_000, 1));
    layer
        .mode(0o1777)
        .directory("tmp")
        .mode(0o2755)
        .directory("var/mail");
    layer
        .symlink("short", "etc/hostname")
        .symlink("etc/59", &"s".repeat(59));
    layer
        .symlink("etc/60", &"s".repeat(60))
        .symlink("etc/long", &"l/".repeat(2047));
    layer
        .char_device("dev/null", 1, 3)
        .char_device("dev/big", 4095, 1_048_575);
    layer
        .block_device("dev/vda", 254, 0)
        .block_device("dev/high", 8, 256);
    layer.mode(0o600).fifo("run/pipe");
    for (len, seed) in [4095, 4096, 4097, 32_767, 32_768, 65_536, 1_000_001]
        .into_iter()
        .zip(2..)
    {
        layer.file(&format!("sizes/{len}"), &noise(len, seed));
    }
    layer.file(&format!("names/{}", "n".repeat(255)), b"long name");
    layer.file("names/\u{fc}ml\u{e4}ut", b"not ASCII");
    layer.sparse(
        "sparse/holes",
        1 << 20,
        &[(0, b"start"), (300_000, b"middle"), (1_048_570, b"end!!!")],
    );
    layer.sparse("sparse/all-hole", 10 << 20, &[]);
    layer.finish()
}

fn plan(layers: &[&[u8]], disk_bytes: u64) -> Layout {
    Layout::plan(tree(layers), disk_bytes, CHUNK_BYTES).unwrap()
}

/// Plans, writes and checks a disk, and reads everything back.
fn round_trip(layers: &[&[u8]], disk_bytes: u64) -> Disk {
    let disk = Disk::write(&plan(layers, disk_bytes));
    disk.check();
    assert_same(&tree(layers), &disk.open());
    disk
}

fn minimum(tree: &Tree) -> u64 {
    Layout::minimum_bytes(tree, CHUNK_BYTES).unwrap()
}

#[test]
fn every_kind_of_file_reads_back_as_it_was() {
    let layer = corner_cases();
    let disk = round_trip(&[&layer], 64 * MIB);
    let device = disk.debugfs("stat /dev/big");
    assert!(
        device.contains("Device major/minor number: 4095:1048575"),
        "{device}"
    );
    let device = disk.debugfs("stat /dev/null");
    assert!(
        device.contains("Device major/minor number: 01:03"),
        "{device}"
    );
    assert!(disk.debugfs("stat /etc/hostname").contains("Links: 3"));
    assert!(disk.debugfs("stat /tmp").contains("Mode:  01777"));
}

#[test]
fn disks_of_any_size_pass_the_check() {
    let layer = corner_cases();
    let smallest = minimum(&tree(&[&layer]));
    // Around the borders of groups, and where copies of the superblock begin to appear.
    let sizes = [
        smallest,
        smallest + 4096,
        16 * MIB,
        128 * MIB - 4096,
        128 * MIB,
        128 * MIB + 4096,
        130 * MIB,
        131 * MIB,
        384 * MIB,
        GIB,
        8 * GIB,
        64 * GIB,
        1024 * GIB,
    ];
    for size in sizes {
        round_trip(&[&layer], size);
    }
}

#[test]
fn an_empty_tree_is_a_disk_with_lost_and_found() {
    let disk = round_trip(&[], 8 * MIB);
    let listing = disk.debugfs("ls -l /");
    assert!(listing.contains("lost+found"), "{listing}");
}

#[test]
fn lost_and_found_of_the_image_is_kept() {
    let mut layer = Layer::new();
    layer
        .mode(0o750)
        .directory("lost+found")
        .file("lost+found/#12", b"found");
    let disk = round_trip(&[&layer.finish()], 8 * MIB);
    assert!(disk.debugfs("stat /lost+found").starts_with("Inode: 11 "));
    let file = tree(&[&Layer::new().file("lost+found", b"").finish()]);
    assert_eq!(
        Layout::plan(file, 8 * MIB, CHUNK_BYTES).unwrap_err(),
        LayoutError::LostAndFound
    );
}

#[test]
fn the_same_tree_gives_the_same_bytes_however_it_is_read() {
    let layer = corner_cases();
    let (one, two) = (plan(&[&layer], 64 * MIB), plan(&[&layer], 64 * MIB));
    let mut whole = vec![0; 64 << 20];
    one.read_at(&mut whole, 0).unwrap();
    let mut piece = vec![0; 10_007];
    for (start, expected) in (0u64..).step_by(10_007).zip(whole.chunks(10_007)) {
        let piece = &mut piece[..expected.len()];
        two.read_at(piece, start).unwrap();
        assert_eq!(piece, expected, "at {start}");
    }
    for block in occupied_blocks(&two).windows(2) {
        let gap = &whole[block[0] + 4096..block[1]];
        assert!(gap.iter().all(|b| *b == 0), "between {block:?}");
    }
}

fn occupied_blocks(layout: &Layout) -> Vec<usize> {
    let ranges = layout.occupied();
    let blocks = ranges.flat_map(|range| range.step_by(4096));
    blocks.map(|b| usize::try_from(b).unwrap()).collect()
}

#[test]
fn threads_may_read_at_once() {
    let layer = corner_cases();
    let layout = plan(&[&layer], 16 * MIB);
    let mut whole = vec![0; 16 << 20];
    layout.read_at(&mut whole, 0).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (layout, whole) = (&layout, &whole);
            scope.spawn(move || {
                for (number, expected) in whole.chunks(1 << 16).enumerate().skip(thread) {
                    let mut piece = vec![1; 1 << 16];
                    layout.read_at(&mut piece, (number << 16) as u64).unwrap();
                    assert!(piece == expected, "piece {number}");
                }
            });
        }
    });
}

#[test]
fn reads_past_the_end_are_refused() {
    let layout = plan(&[], 8 * MIB);
    let mut buf = [1; 8];
    assert!(layout.read_at(&mut buf, 8 * MIB - 4).is_err());
    assert!(layout.read_at(&mut buf, u64::MAX - 4).is_err());
    assert_eq!(buf, [1; 8]);
    layout.read_at(&mut buf, 8 * MIB - 8).unwrap();
}

#[test]
fn the_minimum_is_enough_and_less_is_not() {
    let mut layer = Layer::new();
    for (name, len) in [("a", 300_000), ("b", 20_000_000), ("c", 5)] {
        layer.file(name, &noise(len, 7));
    }
    let layer = layer.finish();
    let needed = minimum(&tree(&[&layer]));
    round_trip(&[&layer], needed);
    let disk_bytes = needed - u64::from(CHUNK_BYTES);
    assert_eq!(
        Layout::plan(tree(&[&layer]), disk_bytes, CHUNK_BYTES).unwrap_err(),
        LayoutError::DiskTooSmall { disk_bytes, needed }
    );
}

#[test]
fn a_directory_of_100_000_entries_is_indexed() {
    let mut layer = Layer::new();
    for n in 0..100_000 {
        layer.file(&format!("many/a-name-that-takes-some-room-{n}"), b"");
    }
    // Bytes above 127 are where signed and unsigned hashes part.
    for n in 0..100 {
        layer.file(&format!("many/\u{fc}ml\u{e4}ut-{n}"), b"");
    }
    let layer = layer.finish();
    let disk = round_trip(&[&layer], 8 * GIB);
    let found = disk.debugfs("stat /many/a-name-that-takes-some-room-99999");
    assert!(found.contains("Type: regular"), "{found}");
    assert!(disk.debugfs("htree_dump /many").contains("Hash Version: 1"));
}

#[test]
fn an_index_gets_a_second_level_when_one_is_not_enough() {
    let mut layer = Layer::new();
    // A leaf holds 15 such names, and one level of index holds 507 leaves.
    for n in 0..9000 {
        layer.file(&format!("many/{n:0>250}"), b"");
    }
    let disk = round_trip(&[&layer.finish()], 8 * GIB);
    let root = disk.debugfs("htree_dump /many");
    assert!(root.contains("Indirect levels: 1"), "{root}");
}

#[test]
fn subdirectories_beyond_the_link_count_are_counted_as_one() {
    let mut layer = Layer::new();
    for n in 0..65_100 {
        layer.directory(&format!("many/{n}"));
    }
    let disk = round_trip(&[&layer.finish()], 8 * GIB);
    assert!(disk.debugfs("stat /many").contains("Links: 1 "));
}

#[test]
fn too_many_names_of_a_file_are_an_error() {
    let mut layer = Layer::new();
    layer.file("one", b"");
    for n in 0..64_999 {
        layer.hard_link(&format!("links/{n}"), "one");
    }
    let layer = layer.finish();
    round_trip(&[&layer], 64 * MIB);
    let more = Layer::new().hard_link("too-many", "one").finish();
    let error = Layout::plan(tree(&[&layer, &more]), 64 * MIB, CHUNK_BYTES).unwrap_err();
    assert!(
        matches!(error, LayoutError::TooManyLinks { links: 65_001, .. }),
        "{error}"
    );
}

#[test]
fn a_file_over_4_gib_with_holes_keeps_its_pieces() {
    let mut layer = Layer::new();
    let piece = noise(3 << 20, 9);
    layer.sparse(
        "large",
        5 * GIB,
        &[
            (0, b"start"),
            (3 * GIB + 8192, &piece),
            (5 * GIB - 3, b"end"),
        ],
    );
    let layer = layer.finish();
    let disk = Disk::write(&plan(&[&layer], GIB));
    disk.check();
    let mut file = disk.open().open("/large").unwrap();
    assert_eq!(file.metadata().len(), 5 * GIB);
    for (offset, expected) in [
        (3 * GIB + 8192, &piece[..4096]),
        (5 * GIB - 3, b"end"),
        (GIB, &[0; 9]),
    ] {
        let mut buf = vec![1; expected.len()];
        file.seek_to(offset).unwrap();
        assert_eq!(file.read_bytes(&mut buf).unwrap(), expected.len());
        assert_eq!(buf, expected, "at {offset}");
    }
}

#[test]
fn many_holes_make_a_deep_extent_tree() {
    // Over 4 × 340 extents take two levels of blocks below the inode.
    let pieces: Vec<_> = (0..3000).map(|n| (n * 8192, &b"data"[..])).collect();
    let mut layer = Layer::new();
    layer.sparse("five", 5 * 8192, &pieces[..5]);
    layer.sparse("some", 1000 * 8192, &pieces[..1000]);
    layer.sparse("many", 3000 * 8192, &pieces);
    let disk = round_trip(&[&layer.finish()], 64 * MIB);
    let extents = disk.debugfs("ex /many");
    assert!(extents.contains(" 2/ 2"), "{}", &extents[..1000]);
}

#[test]
fn a_file_longer_than_a_group_goes_around_the_copies_of_the_superblock() {
    let len = 300 * MIB;
    let mut layer = Layer::new();
    layer.file_from("huge", len, std::io::Read::take(std::io::repeat(b'h'), len));
    let layer = layer.finish();
    let disk = round_trip(&[&layer], minimum(&tree(&[&layer])));
    assert!(disk.debugfs("stat /huge").contains("Size: 314572800"));
}

#[test]
fn extended_attributes_of_all_sizes_read_back() {
    let mut layer = Layer::new();
    let values: [(&str, usize); 6] = [
        ("tiny", 3),
        ("small", 70),
        ("medium", 900),
        ("block", 3500),
        ("own", 9000),
        ("most", 65_536),
    ];
    for (name, len) in values {
        layer.xattr(&format!("user.{name}"), &noise(len, 3));
    }
    layer.file("all", b"content");
    let capability = [
        1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10,
    ];
    layer
        .xattr("security.capability", &capability)
        .file("ping", b"#!");
    layer
        .xattr("trusted.overlay.opaque", b"y")
        .xattr("user.\u{e9}", b"accent");
    layer
        .xattr("com.apple.provenance", b"dropped")
        .xattr("user.", b"dropped")
        .directory("dir");
    layer
        .xattr("security.selinux", &noise(90, 4))
        .symlink("link", "all");
    layer
        .xattr("system.posix_acl_access", &acl(u32::MAX))
        .mode(0o640)
        .file("acl", b"");
    layer
        .xattr("system.posix_acl_default", &acl(u32::MAX))
        .directory("acl.d");
    // No `assert_same`: ext4-view can't read disks with values in inodes of their own.
    let disk = Disk::write(&plan(&[&layer.finish()], 64 * MIB));
    disk.check();
    for (name, len) in values {
        assert_eq!(
            disk.xattr("/all", &format!("user.{name}")),
            noise(len, 3),
            "{name}"
        );
    }
    assert_eq!(disk.xattr("/ping", "security.capability"), capability);
    assert_eq!(disk.xattr("/dir", "trusted.overlay.opaque"), b"y");
    assert_eq!(disk.xattr("/link", "security.selinux"), noise(90, 4));
    assert!(!disk.debugfs("ea_list /dir").contains("dropped"));
    assert_eq!(disk.xattr("/acl", "system.posix_acl_access"), acl(0));
    assert_eq!(disk.xattr("/acl.d", "system.posix_acl_default"), acl(0));
}

#[test]
fn times_before_1970_and_after_2038_are_kept_and_clamped() {
    // Seconds in 32 bits with sign, then two more bits and nanoseconds times four.
    let times = [
        ("-1.5", "fffffffe:77359400"),
        ("-2147483648", "80000000:00000000"),
        ("-99999999999.5", "80000000:00000000"),
        ("2147483647", "7fffffff:00000000"),
        ("2147483648.000000001", "80000000:00000005"),
        ("15032385535.999999999", "7fffffff:ee6b27ff"),
        ("99999999999.5", "7fffffff:00000003"),
    ];
    let mut layer = Layer::new();
    for (mtime, _) in times {
        layer.pax_mtime(mtime).file(&format!("at{mtime}"), b"");
    }
    let disk = Disk::write(&plan(&[&layer.finish()], 8 * MIB));
    disk.check();
    for (mtime, stored) in times {
        let stat = disk.debugfs(&format!("stat /at{mtime}"));
        for field in ["ctime", "atime", "mtime", "crtime"] {
            assert!(
                stat.contains(&format!("{field}: 0x{stored} ")),
                "{mtime}: {stat}"
            );
        }
    }
}

#[test]
fn attributes_that_ext4_cannot_hold_are_errors() {
    let mut layer = Layer::new();
    for n in 0..200 {
        layer.xattr(&format!("user.{n:0>200}"), b"1");
    }
    let layer = layer.file("dir/many", b"").finish();
    let path = "/dir/many".to_owned();
    let error = Layout::plan(tree(&[&layer]), 8 * MIB, CHUNK_BYTES).unwrap_err();
    assert_eq!(error, LayoutError::XattrsTooLarge { path });
    let layer = Layer::new()
        .xattr("system.posix_acl_access", b"?")
        .file("f", b"")
        .finish();
    let error = Layout::plan(tree(&[&layer]), 8 * MIB, CHUNK_BYTES).unwrap_err();
    assert!(matches!(error, LayoutError::Acl { .. }), "{error}");
}

#[test]
fn sizes_out_of_range_are_errors() {
    for chunk_bytes in [0, 2048, 65_537, 128 << 20] {
        let error = Layout::plan(tree(&[]), 8 * MIB, chunk_bytes).unwrap_err();
        assert_eq!(error, LayoutError::ChunkSize { chunk_bytes });
    }
    let error = Layout::plan(tree(&[]), u64::MAX, CHUNK_BYTES).unwrap_err();
    assert!(matches!(error, LayoutError::DiskTooLarge { .. }), "{error}");
    let error = Layout::plan(tree(&[]), 1, CHUNK_BYTES).unwrap_err();
    assert!(matches!(error, LayoutError::DiskTooSmall { .. }), "{error}");
}

#[test]
fn equal_files_are_equal_chunks_wherever_they_are() {
    let mut before = Layer::new();
    let mut after = Layer::new();
    after
        .file("0-new", &noise(5000, 77))
        .file("1-new", &noise(500_000, 78));
    for n in 0..2000u32 {
        let data = noise(if n % 50 == 0 { 300_000 } else { 3000 }, n + 100);
        before.file(&format!("f/{n}"), &data);
        after.file(&format!("f/{n}"), &data);
    }
    let chunks = |layer: &mut Layer| {
        let layout = plan(&[&layer.finish()], 256 * MIB);
        let mut chunks = Vec::new();
        for start in (0..256 * MIB).step_by(CHUNK_BYTES as usize) {
            let mut chunk = vec![0; CHUNK_BYTES as usize];
            layout.read_at(&mut chunk, start).unwrap();
            if chunk.iter().any(|b| *b != 0) {
                chunks.push(chunk);
            }
        }
        chunks
    };
    let known: std::collections::HashSet<_> = chunks(&mut before).into_iter().collect();
    let new = chunks(&mut after)
        .into_iter()
        .filter(|c| !known.contains(c))
        .count();
    assert!(
        new * 10 < known.len(),
        "{new} new chunks, {} known",
        known.len()
    );
}
