use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::ext4::min_aligned_bytes;
use crate::tree::{self, InodeId, Kind, Limits};

const DISK_BYTES: u64 = 256 << 20;

/// A file's length, and where its data starts if there is a hole before.
#[derive(Debug, Clone)]
struct File {
    len: usize,
    hole: Option<usize>,
}

fn files() -> impl Strategy<Value = Vec<File>> {
    let len = (0usize..40, 0usize..4096).prop_map(|(blocks, rest)| blocks * 4096 + rest);
    let file = (len, proptest::option::of(0usize..200_000));
    proptest::collection::vec(file.prop_map(|(len, hole)| File { len, hole }), 1..60)
}

fn layer(files: &[File]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (number, file) in files.iter().enumerate() {
        let name = format!("{number}");
        let data = vec![1; file.len];
        if let Some(hole) = file.hole {
            let (end, numbers) = (hole + file.len, format!("{hole},{}", file.len));
            let records = [
                ("GNU.sparse.size", end.to_string()),
                ("GNU.sparse.map", numbers),
                // Long enough for a block of its own.
                ("SCHILY.xattr.user.long", "x".repeat(1000)),
            ];
            let records = records.iter().map(|(key, value)| (*key, value.as_bytes()));
            tar.append_pax_extensions(records).unwrap();
        }
        let mut header = tar::Header::new_ustar();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, &*data).unwrap();
    }
    tar.into_inner().unwrap()
}

/// The chunks that a tree's large files without holes are cut into: offset in the spool, and length.
fn chunks_of_large_files(tree: &Tree, chunk_bytes: u32) -> Vec<(u64, u64)> {
    let mut chunks = Vec::new();
    for (_, inode) in root(tree) {
        let Kind::File(content) = &tree.inode(inode).kind else {
            continue;
        };
        let [run] = content.runs[..] else { continue };
        if run.len == content.len && run.len >= min_aligned_bytes(chunk_bytes) {
            let chunk_len = u64::from(chunk_bytes);
            let offsets = (0..run.len).step_by(chunk_bytes as usize);
            chunks.extend(offsets.map(|at| (run.spool_offset + at, chunk_len.min(run.len - at))));
        }
    }
    chunks
}

fn root(tree: &Tree) -> Vec<(Vec<u8>, InodeId)> {
    let Kind::Directory(root) = &tree.inode(InodeId::ROOT).kind else {
        panic!("a root is a directory");
    };
    root.iter()
        .map(|(name, inode)| (name.to_vec(), inode))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn no_chunk_of_a_large_file_holds_anything_else(files in files(), log in 14u32..=20) {
        let chunk_bytes = 1 << log;
        let dir = tempfile::tempdir().unwrap();
        let layer = layer(&files);
        let tree = tree::build_from_plain_layers(&[&layer], dir.path(), &Limits::default());
        let layout = Layout::plan(tree.unwrap(), DISK_BYTES, chunk_bytes).unwrap();
        let starts = (0..DISK_BYTES).step_by(chunk_bytes as usize);
        let found: HashSet<_> = starts
            .filter_map(|start| layout.sole_content(&(start..start + u64::from(chunk_bytes))))
            .collect();
        for chunk in chunks_of_large_files(layout.tree(), chunk_bytes) {
            prop_assert!(found.contains(&chunk), "{chunk:?}");
        }
    }
}
