use super::*;

#[test]
fn a_tree_has_as_many_blocks_as_its_extents_need() {
    for (extents, blocks) in [
        (0, 0),
        (4, 0),
        (5, 1),
        (340, 1),
        (341, 2),
        (4 * 340, 4),
        (4 * 340 + 1, 5 + 1),
        (340 * 340, 340 + 1),
        (4 * 340 * 340 + 1, 1361 + 5 + 1),
    ] {
        assert_eq!(tree_blocks(extents), blocks, "{extents} extents");
    }
}

/// Follows the references from a node of the tree down to the first blocks of all extents.
fn collect(node: &[u8], blocks: &[[u8; BLOCK_BYTES]], first: u64, found: &mut Vec<u32>) {
    let word = |at: usize| u32::from_le_bytes(node[at..at + 4].try_into().unwrap());
    assert_eq!(node[..2], MAGIC.to_le_bytes());
    let (entries, depth) = (word(0) >> 16, word(4) >> 16);
    for at in (0..entries as usize).map(|n| HEADER_BYTES + n * ENTRY_BYTES) {
        if depth == 0 {
            found.push(word(at));
        } else {
            let child = usize::try_from(u64::from(word(at + 4)) - first).unwrap();
            let before = found.len();
            collect(&blocks[child], blocks, first, found);
            assert_eq!(found[before], word(at), "a reference names its first block");
        }
    }
}

#[test]
fn every_extent_is_found_from_the_root() {
    for count in [1, 4, 5, 1000, 1361, 120_000] {
        let extent = |logical| Extent {
            start: u64::from(logical) + 10_000,
            spool_offset: 0,
            logical: logical * 2,
            bytes: 1,
        };
        let extents: Vec<_> = (0..count).map(extent).collect();
        let mut blocks = vec![[0; BLOCK_BYTES]; tree_blocks(extents.len())];
        for (number, block) in blocks.iter_mut().enumerate() {
            render_block(block, number, 12, &extents, 77);
        }
        let mut root = [0; 60];
        put_root(&mut root, &extents, 77);
        let mut found = Vec::new();
        collect(&root, &blocks, 77, &mut found);
        assert!(
            found
                .iter()
                .eq((0..count).map(|n| n * 2).collect::<Vec<_>>().iter())
        );
    }
}
