//! Indexed directories, of two levels at most.
//!
//! Block 0 is the root of the index, then come its inner nodes if there are any, then the blocks of entries.

use super::checksum::{crc, inode_seed};
use super::directory::{ENTRIES_BYTES, Entry, Filler, put_entry, put_len};
use super::dirhash::{HALF_MD4, hash};
use super::format::{BLOCK_BYTES, put_u16, put_u32};

/// Where the root's references start: behind `.`, `..` and eight bytes about the index.
const ROOT_START: usize = 32;
/// Where an inner node's references start: behind an entry that covers the whole block.
const NODE_START: usize = 8;
const REFERENCE_BYTES: usize = 8;
/// Bytes at the end of a root or node that hold its checksum.
const TAIL_BYTES: usize = 8;
const ROOT_LIMIT: usize = (BLOCK_BYTES - TAIL_BYTES - ROOT_START) / REFERENCE_BYTES;
const NODE_LIMIT: usize = (BLOCK_BYTES - TAIL_BYTES - NODE_START) / REFERENCE_BYTES;

/// One line of an index: names with at least this hash are in this block.
#[derive(Debug, Clone, Copy)]
struct Reference {
    hash: u32,
    block: u32,
}

/// All blocks of a directory whose entries don't fit into one; nothing if two levels are not enough.
pub(super) fn render(ino: u32, parent: u32, entries: Vec<Entry<'_>>) -> Option<Box<[u8]>> {
    let (leaves, first_hashes) = render_leaves(ino, entries);
    let nodes = if first_hashes.len() > ROOT_LIMIT {
        first_hashes.len().div_ceil(NODE_LIMIT)
    } else {
        0
    };
    if nodes > ROOT_LIMIT {
        return None;
    }
    let first_leaf = 1 + u32::try_from(nodes).ok()?;
    let leaf_references: Vec<_> = (first_leaf..)
        .zip(first_hashes)
        .map(|(block, hash)| Reference { hash, block })
        .collect();
    let mut blocks = vec![0; (1 + nodes) * BLOCK_BYTES];
    let (root, inner) = blocks.split_at_mut(BLOCK_BYTES);
    put_root_header(root, ino, parent, nodes > 0);
    if nodes == 0 {
        put_references(root, ino, ROOT_START, ROOT_LIMIT, &leaf_references);
    } else {
        let groups = leaf_references.chunks(NODE_LIMIT);
        let mut references = Vec::new();
        for ((node, group), block) in inner.chunks_mut(BLOCK_BYTES).zip(groups).zip(1..) {
            put_len(node, 0, BLOCK_BYTES);
            put_references(node, ino, NODE_START, NODE_LIMIT, group);
            let hash = group[0].hash;
            references.push(Reference { hash, block });
        }
        put_references(root, ino, ROOT_START, ROOT_LIMIT, &references);
    }
    blocks.extend_from_slice(&leaves);
    Some(blocks.into_boxed_slice())
}

/// The blocks of entries, and for each the hash that leads to it.
fn render_leaves(ino: u32, entries: Vec<Entry<'_>>) -> (Vec<u8>, Vec<u32>) {
    let mut hashed: Vec<_> = entries.into_iter().map(|e| (hash(e.name), e)).collect();
    hashed.sort_unstable_by(|a, b| (a.0, a.1.name).cmp(&(b.0, b.1.name)));
    let mut blocks = Vec::new();
    let mut first_hashes = Vec::new();
    let mut rest = &hashed[..];
    let mut last_hash = None;
    while let Some(((first_hash, _), _)) = rest.first() {
        // The lowest bit says that names of the same hash are in the block before, too.
        let continued = last_hash == Some(*first_hash);
        first_hashes.push(first_hash | u32::from(continued));
        let start = blocks.len();
        blocks.resize(start + BLOCK_BYTES, 0);
        let mut filler = Filler::new(&mut blocks[start..]);
        let mut room = ENTRIES_BYTES;
        while let Some((((hash, _), entry), others)) = rest.split_first()
            && entry.len() <= room
        {
            filler.push(entry);
            room -= entry.len();
            last_hash = Some(*hash);
            rest = others;
        }
        filler.finish(ino);
    }
    (blocks, first_hashes)
}

fn put_root_header(root: &mut [u8], ino: u32, parent: u32, two_levels: bool) {
    const HASH_VERSION: usize = 28;
    const INFO_LENGTH: usize = 29;
    const INNER_LEVELS: usize = 30;
    put_entry(root, 0, &Entry::directory(b".", ino), 12);
    put_entry(root, 12, &Entry::directory(b"..", parent), BLOCK_BYTES - 12);
    root[HASH_VERSION] = HALF_MD4;
    root[INFO_LENGTH] = 8;
    root[INNER_LEVELS] = u8::from(two_levels);
}

/// Puts references at `start`, and the checksum behind the room for `limit` of them.
fn put_references(
    block: &mut [u8],
    ino: u32,
    start: usize,
    limit: usize,
    references: &[Reference],
) {
    for (reference, at) in references.iter().zip((start..).step_by(REFERENCE_BYTES)) {
        put_u32(block, at, reference.hash);
        put_u32(block, at + 4, reference.block);
    }
    // The first reference needs no hash; the counts are in its place.
    put_u16(block, start, u16::try_from(limit).unwrap_or(0));
    put_u16(
        block,
        start + 2,
        u16::try_from(references.len()).unwrap_or(0),
    );
    let end = start + references.len() * REFERENCE_BYTES;
    let sum = crc(inode_seed(ino), &block[..end]);
    let sum = crc(sum, &[0; TAIL_BYTES]);
    put_u32(block, start + limit * REFERENCE_BYTES + 4, sum);
}
