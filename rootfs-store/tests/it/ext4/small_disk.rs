//! A small disk with a bit of everything that can be damaged, and what has to hold of it then. Shared with the fuzzer.

use std::collections::BTreeMap;

use rootfs_store::ext4::{FileId, FileKind, FileSystem, FileTree, Layout, ReadAt, ReadError};
use rootfs_store::tree::{Limits, Time, build_from_plain_layers};
use rootfs_store::{PublishError, StoreError, write_plain_layer};

const BLOCK: usize = 4096;
const TAR_BLOCK: usize = 512;
const SUPERBLOCK: usize = 1024;
const INCOMPATIBLE: usize = SUPERBLOCK + 0x60;
const READ_ONLY: usize = SUPERBLOCK + 0x64;
const NEEDS_RECOVERY: u8 = 0x4;
/// In the second byte of its features.
const METADATA_CSUM: u8 = 0x4;
const JOURNAL_MAGIC: [u8; 4] = 0xc03b_3998u32.to_be_bytes();
/// Bytes of input for each block of the journal.
const RECORD: usize = 48;
/// Most damage that every checksum finds, 16 bits as those of groups have.
const FOUND_BYTES: usize = 2;

/// How the first byte of an input says what is done.
mod mode {
    /// Checksums stay.
    pub(super) const CHECKSUMS: u8 = 1;
    /// The journal is filled.
    pub(super) const JOURNAL: u8 = 2;
}

/// A disk in memory: blocks that hold something, by their numbers.
#[derive(Clone)]
pub(crate) struct SmallDisk {
    blocks: BTreeMap<u64, Vec<u8>>,
    size: u64,
}

/// What checksums vouch for: all but what is in blocks of data.
pub(crate) type Listing = BTreeMap<Vec<u8>, (u16, u32, u32, Time)>;

impl SmallDisk {
    pub(crate) fn new() -> Self {
        let tree = build_from_plain_layers(&[&layer()], &std::env::temp_dir(), &limits());
        let tree = tree.expect("the layer is valid");
        let size = Layout::minimum_bytes(&tree, 16 << 10).expect("there is a smallest size");
        let layout = Layout::plan(tree, size, 16 << 10).expect("the smallest size is enough");
        let mut blocks = BTreeMap::new();
        for range in layout.occupied() {
            for start in range.step_by(BLOCK) {
                let mut block = vec![0; BLOCK];
                layout
                    .read_at(&mut block, start)
                    .expect("it is on the disk");
                blocks.insert(start / BLOCK as u64, block);
            }
        }
        Self { blocks, size }
    }

    fn block(&mut self, number: u64) -> &mut Vec<u8> {
        self.blocks.entry(number).or_insert_with(|| vec![0; BLOCK])
    }

    /// Changes the disk as the input says: a byte of [`mode`]; then, for the journal, its features, how many blocks of
    /// it are filled, and a record for each; then places in blocks that hold something, and bytes to put there.
    pub(crate) fn damage(&mut self, input: &[u8]) {
        let Some((mode, mut rest)) = input.split_first() else {
            return;
        };
        if mode & mode::CHECKSUMS == 0 {
            self.block(0)[READ_ONLY + 1] &= !METADATA_CSUM;
        }
        if mode & mode::JOURNAL != 0 {
            rest = self.fill_journal(rest);
        }
        let used: Vec<u64> = self.blocks.keys().copied().collect();
        for patch in rest.chunks_exact(8) {
            let [a, b, c, len, bytes @ ..] = patch else {
                return;
            };
            let block = used[usize::from(u16::from_le_bytes([*a, *b])) % used.len()];
            let at = (usize::from(*c) << 4 | usize::from(len >> 4)) % (BLOCK - bytes.len());
            let len = usize::from(len & 3) + 1;
            self.block(block)[at..at + len].copy_from_slice(&bytes[..len]);
        }
    }

    /// Makes a log of what the input says, and says that it has to be replayed.
    fn fill_journal<'a>(&mut self, input: &'a [u8]) -> &'a [u8] {
        let starts = |block: &[u8]| block.starts_with(&JOURNAL_MAGIC);
        let journal = self.blocks.iter().find(|(_, block)| starts(block));
        let journal = *journal.expect("there is a journal").0;
        let Some(([features, count], rest)) = input.split_first_chunk() else {
            return input;
        };
        self.block(0)[INCOMPATIBLE] |= NEEDS_RECOVERY;
        let superblock = self.block(journal);
        superblock[0x1c..0x20].copy_from_slice(&1u32.to_be_bytes());
        // Revocations and long numbers, but no checksums, which would have to be right.
        superblock[0x2b] = *features & 3;
        let (records, rest) = rest.split_at(rest.len().min(usize::from(*count) * RECORD));
        for (number, record) in (journal + 1..).zip(records.chunks(RECORD)) {
            let block = self.block(number);
            block[..4].copy_from_slice(&JOURNAL_MAGIC);
            block[7] = record[0] % 8;
            block[11] = 1 + record.get(1).map_or(0, |sequence| sequence % 4);
            let list = record.get(2..).unwrap_or(&[]);
            block[12..12 + list.len()].copy_from_slice(list);
        }
        rest
    }

    /// Reads everything, and fails if what is read can't be.
    pub(crate) fn check(&self, input: &[u8], whole: &Listing) {
        let tree = FileSystem::open(self).and_then(|files| {
            let tree = files.tree(&limits())?;
            Ok((files, tree))
        });
        let checked = input.first().is_none_or(|mode| mode & mode::CHECKSUMS != 0);
        if let Ok((_, tree)) = &tree
            && checked
            && is_found(input)
        {
            assert!(list(tree) == *whole, "damage went unseen");
        }
        let mut layer = Vec::new();
        let written = write_plain_layer(self, &limits(), &mut layer);
        assert_eq!(
            matches!(written, Err(PublishError::Disk { .. })),
            is_unreadable(&tree, &written)
        );
        if written.is_ok() {
            let generous = Limits {
                metadata_bytes: 1 << 30,
                ..Limits::default()
            };
            let again = build_from_plain_layers(&[&layer], &std::env::temp_dir(), &generous);
            again.expect("what is published can be imported");
        }
    }
}

/// Whether a layer can't be written because of the disk. Contents are read after the tree, and may lie past the end.
fn is_unreadable<T>(
    tree: &Result<T, ReadError>,
    written: &Result<rootfs_store::LayerSummary, PublishError>,
) -> bool {
    let contents = matches!(written, Err(PublishError::Disk { .. }));
    tree.is_err() || contents
}

/// Whether an input does so little damage that checksums find it.
fn is_found(input: &[u8]) -> bool {
    let Some((mode, rest)) = input.split_first() else {
        return true;
    };
    let patches = rest.chunks_exact(8);
    let small = |patch: &[u8]| usize::from(patch[3] & 3) < FOUND_BYTES;
    mode & mode::JOURNAL == 0 && patches.len() <= 1 && patches.clone().all(small)
}

impl ReadAt for &SmallDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        assert!(offset + buf.len() as u64 <= self.size, "past the end");
        buf.fill(0);
        let first = offset / BLOCK as u64;
        let end = (offset + buf.len() as u64).div_ceil(BLOCK as u64);
        for (number, block) in self.blocks.range(first..end) {
            let start = number * BLOCK as u64;
            let from = start.max(offset);
            let to = (start + BLOCK as u64).min(offset + buf.len() as u64);
            let place = |base: u64| {
                let index = |at: u64| usize::try_from(at - base).expect("it is in memory");
                index(from)..index(to)
            };
            buf[place(offset)].copy_from_slice(&block[place(start)]);
        }
        Ok(())
    }
}

/// What is on a disk that was not damaged.
pub(crate) fn whole(disk: &SmallDisk) -> Listing {
    let files = FileSystem::open(disk).expect("it is whole");
    list(&files.tree(&limits()).expect("it is whole"))
}

fn list(tree: &FileTree) -> Listing {
    let mut listing = Listing::new();
    let mut open = vec![(Vec::new(), FileId::ROOT)];
    while let Some((path, id)) = open.pop() {
        let file = tree.file(id);
        if let FileKind::Directory(entries) = &file.kind {
            for (name, id) in entries {
                open.push(([&path, &b"/"[..], name].concat(), *id));
            }
        }
        let attributes = &file.attributes;
        let said = (
            attributes.mode,
            attributes.uid,
            attributes.gid,
            attributes.mtime,
        );
        listing.insert(path, said);
    }
    listing
}

fn limits() -> Limits {
    Limits {
        unpacked_bytes: 16 << 20,
        entries: 10_000,
        metadata_bytes: 8 << 20,
    }
}

/// A directory with an index, attributes in inodes, blocks and inodes of their own, an extent tree of two levels, and
/// links of both kinds.
fn layer() -> Vec<u8> {
    let mut tar = Vec::new();
    for n in 0..200 {
        entry(&mut tar, &format!("many/{n:0>70}"), b'0', "", b"");
    }
    let pieces: Vec<_> = (0..10).map(|n| format!("{},1", n * 12288)).collect();
    let map = pieces.join(",");
    let records = [
        ("GNU.sparse.major", "0"),
        ("GNU.sparse.minor", "1"),
        ("GNU.sparse.size", "122880"),
        ("GNU.sparse.map", &map),
    ];
    put_records(&mut tar, &records);
    entry(&mut tar, "pieces", b'0', "", b"0123456789");
    for (name, len) in [("small", 20), ("block", 3000), ("own", 9000)] {
        put_records(
            &mut tar,
            &[
                ("SCHILY.xattr.user.a", &"x".repeat(len)),
                ("SCHILY.xattr.trusted.b", "y"),
            ],
        );
        entry(&mut tar, name, b'0', "", b"content");
    }
    entry(&mut tar, "linked", b'1', "small", b"");
    entry(&mut tar, "short", b'2', "small", b"");
    entry(&mut tar, "long", b'2', &"t/".repeat(45), b"");
    entry(&mut tar, "null", b'3', "", b"");
    entry(&mut tar, "pipe", b'6', "", b"");
    entry(&mut tar, "a/b/c/d", b'0', "", &[7; 5000]);
    tar.resize(tar.len() + 2 * TAR_BLOCK, 0);
    tar
}

fn put_records(tar: &mut Vec<u8>, records: &[(&str, &str)]) {
    let mut data = String::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let len = (rest + 1..).find(|len| rest + len.to_string().len() == *len);
        data += &format!("{} {key}={value}\n", len.expect("there is one"));
    }
    entry(tar, "records", b'x', "", data.as_bytes());
}

fn entry(tar: &mut Vec<u8>, name: &str, kind: u8, target: &str, data: &[u8]) {
    let mut header = [0; TAR_BLOCK];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..107].copy_from_slice(b"0000644");
    header[124..135].copy_from_slice(format!("{:011o}", data.len()).as_bytes());
    header[136..147].copy_from_slice(b"14524763400");
    header[156] = kind;
    header[157..157 + target.len()].copy_from_slice(target.as_bytes());
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    tar.extend_from_slice(&header);
    tar.extend_from_slice(data);
    tar.resize(tar.len().next_multiple_of(TAR_BLOCK), 0);
}
