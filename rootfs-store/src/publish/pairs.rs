//! Walks two trees at once, name by name.
//!
//! Invariant: paths come in the order of their components' bytes, each directory before what is in it, and what a
//! directory lost before the directory itself: unpackers give it the time of the day when they remove something.

use std::collections::{BTreeMap, HashSet};

use super::PublishError;
use crate::ext4::{File, FileId, FileKind, FileTree};
use crate::tree::{MAX_NAME_LEN, MAX_PATH_LEN, printable};

/// How the names of files begin that stand for removed ones.
pub(super) const WHITEOUT: &[u8] = b".wh.";
/// What file system checkers put lost files into; our writer of ext4 makes it.
const LOST_AND_FOUND: &[u8] = b"lost+found";
const LOST_AND_FOUND_MODE: u16 = 0o700;

/// A tree, and the one to compare it with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trees<'a> {
    pub(super) new: &'a FileTree,
    pub(super) base: Option<&'a FileTree>,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing any more.
    Removed,
    /// A file, and what had its name in the base.
    File { new: FileId, base: Option<FileId> },
}

/// Paths that are passed over.
#[derive(Debug)]
pub(super) struct Excluded(HashSet<Vec<u8>>);

impl Excluded {
    /// Slashes at both ends of paths mean nothing.
    pub(super) fn new(paths: &[String]) -> Self {
        let paths = paths.iter().map(|path| path.trim_matches('/').into());
        Self(paths.collect())
    }

    fn contains(&self, path: &[u8]) -> bool {
        !self.0.is_empty() && self.0.contains(path)
    }
}

/// A name, and what it stands for in the new tree and in the base.
type Child<'a> = (&'a [u8], Option<FileId>, Option<FileId>);

/// A directory whose children are visited.
struct Open<'a> {
    children: std::vec::IntoIter<Child<'a>>,
    path_len: usize,
}

/// Calls `visit` with each path, which is empty for the root.
pub(super) fn walk<E: From<PublishError>>(
    trees: Trees<'_>,
    excluded: &Excluded,
    mut visit: impl FnMut(&[u8], Step) -> Result<(), E>,
) -> Result<(), E> {
    let mut path = Vec::new();
    let base = trees.base.map(|_| FileId::ROOT);
    let root = enter(trees, FileId::ROOT, base, &mut path, excluded, &mut visit)?;
    let mut open: Vec<_> = root.into_iter().collect();
    while let Some(directory) = open.last_mut() {
        path.truncate(directory.path_len);
        let Some((name, new, base)) = directory.children.next() else {
            open.pop();
            continue;
        };
        let Some(new) = new else { continue };
        push(&mut path, name);
        // A directory gets a slash at its end. So short a path is not too deep either.
        if path.len() >= MAX_PATH_LEN {
            return Err(too_long(&path).into());
        }
        open.extend(enter(trees, new, base, &mut path, excluded, &mut visit)?);
    }
    Ok(())
}

/// Visits a file, after what it lost if it is a directory; returns its children then.
fn enter<'a, E: From<PublishError>>(
    trees: Trees<'a>,
    new: FileId,
    base: Option<FileId>,
    path: &mut Vec<u8>,
    excluded: &Excluded,
    visit: &mut impl FnMut(&[u8], Step) -> Result<(), E>,
) -> Result<Option<Open<'a>>, E> {
    let step = Step::File { new, base };
    let FileKind::Directory(entries) = &trees.new.file(new).kind else {
        return visit(path, step).map(|()| None);
    };
    let old = match base.and_then(|id| Some(&trees.base?.file(id).kind)) {
        Some(FileKind::Directory(entries)) => Some(entries),
        _ => None,
    };
    let path_len = path.len();
    let mut children: Vec<Child<'a>> = Vec::new();
    for (name, new, base) in merge(entries, old) {
        push(path, name);
        let shown = |tree: Option<&FileTree>, id: Option<FileId>| {
            let (tree, id) = (tree?, id?);
            is_published(path, tree.file(id)).then_some(id)
        };
        let new = shown(Some(trees.new), new);
        let base = shown(trees.base, base);
        if !excluded.contains(path) && (new.is_some() || base.is_some()) {
            if new.is_some() && name.starts_with(WHITEOUT) {
                return Err(PublishError::ReservedName {
                    path: printable(path),
                }
                .into());
            }
            if new.is_none() {
                let name_len = WHITEOUT.len() + name.len();
                if name_len > MAX_NAME_LEN || WHITEOUT.len() + path.len() > MAX_PATH_LEN {
                    return Err(too_long(path).into());
                }
                visit(path, Step::Removed)?;
            }
            children.push((name, new, base));
        }
        path.truncate(path_len);
    }
    visit(path, step)?;
    Ok(Some(Open {
        children: children.into_iter(),
        path_len,
    }))
}

/// Whether an image shows this file: not a socket, which no layer can hold, nor what our writer of ext4 adds.
fn is_published(path: &[u8], file: &File) -> bool {
    let attributes = &file.attributes;
    match &file.kind {
        FileKind::Socket => false,
        FileKind::Directory(entries) if path == LOST_AND_FOUND => {
            let plain = attributes.mode == LOST_AND_FOUND_MODE
                && (attributes.uid, attributes.gid) == (0, 0)
                && attributes.xattrs.is_empty();
            !(plain && entries.is_empty())
        }
        _ => true,
    }
}

fn merge<'a>(
    new: &'a BTreeMap<Box<[u8]>, FileId>,
    base: Option<&'a BTreeMap<Box<[u8]>, FileId>>,
) -> Vec<Child<'a>> {
    let mut merged = Vec::with_capacity(new.len());
    let mut new = new.iter().peekable();
    let mut base = base.into_iter().flatten().peekable();
    loop {
        let child: Child<'a> = match (new.peek(), base.peek()) {
            (None, None) => return merged,
            (Some((name, id)), None) => (&***name, Some(**id), None),
            (None, Some((name, id))) => (&***name, None, Some(**id)),
            (Some((a, new)), Some((b, base))) => match a.cmp(b) {
                std::cmp::Ordering::Less => (&***a, Some(**new), None),
                std::cmp::Ordering::Greater => (&***b, None, Some(**base)),
                std::cmp::Ordering::Equal => (&***a, Some(**new), Some(**base)),
            },
        };
        if child.1.is_some() {
            new.next();
        }
        if child.2.is_some() {
            base.next();
        }
        merged.push(child);
    }
}

fn push(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

fn too_long(path: &[u8]) -> PublishError {
    PublishError::PathTooLong {
        path: printable(path),
    }
}
