//! Names of files for messages; they walk the whole tree, so only errors use them.

use crate::tree::{InodeId, Kind, Tree, printable};

/// The first path of a file, in the order of names.
pub(super) fn first_path(tree: &Tree, wanted: InodeId) -> String {
    let mut path = Vec::new();
    walk(tree, |names, id| {
        if id == wanted && path.is_empty() {
            path = names.iter().flat_map(|n| [b"/", *n].concat()).collect();
        }
    });
    if path.is_empty() {
        path.push(b'/');
    }
    printable(&path)
}

/// How many names a file has.
pub(super) fn count(tree: &Tree, wanted: InodeId) -> u32 {
    let mut count = 0u32;
    walk(tree, |_, id| count += u32::from(id == wanted));
    count
}

/// Calls `visit` for each path of the tree.
fn walk<'a>(tree: &'a Tree, mut visit: impl FnMut(&[&'a [u8]], InodeId)) {
    let children = |id: InodeId| match &tree.inode(id).kind {
        Kind::Directory(directory) => Some(directory.entries.iter()),
        _ => None,
    };
    let mut names: Vec<&[u8]> = Vec::new();
    let mut open: Vec<_> = children(InodeId::ROOT).into_iter().collect();
    while let Some(entries) = open.last_mut() {
        let Some((name, entry)) = entries.next() else {
            open.pop();
            names.pop();
            continue;
        };
        names.push(name);
        visit(&names, entry.inode);
        match children(entry.inode) {
            Some(entries) => open.push(entries),
            None => {
                names.pop();
            }
        }
    }
}
