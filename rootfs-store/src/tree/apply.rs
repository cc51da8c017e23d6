//! Applies entries to the tree by the rules of the OCI image specification.
//!
//! Invariant: a whiteout removes what lower layers brought and spares what its own layer brought, in whichever order
//! the two come.

mod check;
mod walk;

use std::io::{self, BufRead};
use std::mem;

use super::contents::{self, CopyFault};
use super::error::{EntryFault, TarFault, TreeError};
use super::node::{Attributes, Content, DirEntry, Directory, Inode, InodeId, Kind, Run, Xattrs};
use super::path::{LayerPath, MAX_DEPTH, printable};
use super::sink::Sink;
use super::tar_stream::{Entries, Entry, EntryKind};
use super::{Limits, Tree};
use check::{attributes_of, check_len, checked_target, device};
use walk::Missing;

const WHITEOUT: &[u8] = b".wh.";
/// Prefix of what AUFS kept for itself; the opaque marker is the only such name with a meaning.
const AUFS: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Why one entry was not applied.
#[derive(Debug)]
pub(super) enum Fault {
    Entry(EntryFault),
    Tar(TarFault),
    Spool(io::Error, std::path::PathBuf),
}

impl From<EntryFault> for Fault {
    fn from(fault: EntryFault) -> Self {
        Self::Entry(fault)
    }
}

impl From<TarFault> for Fault {
    fn from(fault: TarFault) -> Self {
        Self::Tar(fault)
    }
}

impl Fault {
    pub(super) fn in_entry(self, layer: &str, entry: String, offset: u64) -> TreeError {
        let layer = layer.to_owned();
        match self {
            Self::Entry(source) => TreeError::Entry {
                layer,
                entry,
                source,
            },
            Self::Tar(source) => TreeError::Tar {
                layer,
                entry,
                offset,
                source,
            },
            Self::Spool(source, dir) => TreeError::Spool { dir, source },
        }
    }
}

/// Applies layer after layer to one tree.
#[derive(Debug)]
pub(super) struct Applier<'a> {
    tree: Tree,
    limits: &'a Limits,
    layer: u32,
    entries: u64,
    /// Components of paths and links that were walked.
    walked: u64,
    metadata_bytes: u64,
}

impl<'a> Applier<'a> {
    pub(super) fn new(tree: Tree, limits: &'a Limits) -> Self {
        Self {
            tree,
            limits,
            layer: 0,
            entries: 0,
            walked: 0,
            metadata_bytes: 0,
        }
    }

    /// The tree so far, whose contents can be read.
    pub(super) fn tree(&mut self) -> Result<&Tree, TreeError> {
        self.flush()?;
        Ok(&self.tree)
    }

    /// The whole tree.
    pub(super) fn finish(mut self) -> Result<Tree, TreeError> {
        self.flush()?;
        Ok(self.tree)
    }

    fn flush(&mut self) -> Result<(), TreeError> {
        let spool = &mut self.tree.spool;
        spool.flush().map_err(|source| TreeError::Spool {
            dir: spool.dir().to_owned(),
            source,
        })
    }

    /// From now on, entries belong to the next layer.
    pub(super) fn start_layer(&mut self) {
        self.layer += 1;
    }

    /// Applies `entry`, whose data comes next in `entries`; data that `sink` takes is not spooled.
    pub(super) fn apply<R: BufRead>(
        &mut self,
        mut entry: Entry,
        entries: &mut Entries<R>,
        sink: Option<&Sink>,
    ) -> Result<(), Fault> {
        self.count_entry()?;
        let name = mem::take(&mut entry.name);
        let path = LayerPath::parse(&name)?;
        if path
            .components()
            .iter()
            .any(|c| c.starts_with(AUFS) && *c != OPAQUE)
        {
            return Ok(());
        }
        let Some((name, parents)) = path.split_last() else {
            return self.apply_root(entry);
        };
        if let Some(component) = parents.iter().find(|c| c.starts_with(WHITEOUT)) {
            let component = printable(component);
            return Err(EntryFault::WhiteoutDirectory { component }.into());
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return Ok(self.apply_whiteout(parents, name, hidden)?);
        }
        let attributes = attributes_of(&mut entry)?;
        let parent = self.directory(parents, Missing::Create)?;
        let parent = parent.unwrap_or(InodeId::ROOT);
        let kind = match entry.kind {
            EntryKind::Directory => return Ok(self.put_directory(parent, name, attributes)?),
            EntryKind::HardLink { target } => {
                let inode = self.link_target(&target)?;
                return Ok(self.link(parent, name, inode)?);
            }
            EntryKind::File { len } => {
                check_len(len)?;
                let content = contents::copy_file(entries, len, &mut self.tree.spool, sink);
                Kind::File(self.spooled(content)?)
            }
            EntryKind::SparseFile(map) => {
                check_len(map.len)?;
                let content = contents::copy_sparse_file(entries, &map, &mut self.tree.spool);
                Kind::File(self.spooled(content)?)
            }
            EntryKind::Symlink { target } => Kind::Symlink(checked_target(&target)?.into()),
            EntryKind::CharDevice { major, minor } => Kind::CharDevice(device(major, minor)?),
            EntryKind::BlockDevice { major, minor } => Kind::BlockDevice(device(major, minor)?),
            EntryKind::Fifo => Kind::Fifo,
        };
        let inode = self.add_inode(Inode { attributes, kind })?;
        Ok(self.link(parent, name, inode)?)
    }

    fn apply_root(&mut self, mut entry: Entry) -> Result<(), Fault> {
        if !matches!(entry.kind, EntryKind::Directory) {
            return Err(EntryFault::ReplacesRoot.into());
        }
        let attributes = attributes_of(&mut entry)?;
        self.charge_xattrs(&attributes.xattrs)?;
        self.tree.inodes[InodeId::ROOT.index()].attributes = attributes;
        Ok(())
    }

    fn spooled(&mut self, content: Result<Content, CopyFault>) -> Result<Content, Fault> {
        content.map_err(|fault| match fault {
            CopyFault::Tar(fault) => Fault::Tar(fault),
            CopyFault::Spool(error) => Fault::Spool(error, self.tree.spool.dir().to_owned()),
        })
    }

    fn apply_whiteout(
        &mut self,
        parents: &[&[u8]],
        name: &[u8],
        hidden: &[u8],
    ) -> Result<(), EntryFault> {
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(EntryFault::BareWhiteout);
        }
        // A whiteout of what was never there needs no directory to be made.
        let parent = match self.directory(parents, Missing::Stop) {
            Ok(Some(parent)) => parent,
            // Where a folder becomes a file, umoci whites out what was in the folder, below the file.
            Ok(None) | Err(EntryFault::NotADirectory { .. }) => return Ok(()),
            Err(fault) => return Err(fault),
        };
        if name == OPAQUE {
            self.prune(parent);
        } else if let Some(entry) = self.child(parent, hidden)
            && !self.survives(entry)
        {
            self.directory_mut(parent).entries.remove(hidden);
        }
        Ok(())
    }

    /// Removes what lower layers brought below `directory`. Recursion ends at [`MAX_DEPTH`].
    ///
    /// What was pruned once in a layer holds nothing older any more, so many whiteouts cost no more than one.
    fn prune(&mut self, directory: InodeId) {
        let layer = self.layer;
        if mem::replace(&mut self.directory_mut(directory).pruned_in, layer) == layer {
            return;
        }
        let mut entries = mem::take(&mut self.directory_mut(directory).entries);
        entries.retain(|_, entry| self.survives(*entry));
        self.directory_mut(directory).entries = entries;
    }

    /// Whether something of this layer is left of an entry that this layer also whites out.
    fn survives(&mut self, entry: DirEntry) -> bool {
        let own = entry.layer == self.layer;
        let Kind::Directory(_) = self.tree.inode(entry.inode).kind else {
            return own;
        };
        self.prune(entry.inode);
        let inode = &mut self.tree.inodes[entry.inode.index()];
        let empty = matches!(&inode.kind, Kind::Directory(d) if d.entries.is_empty());
        if !own && !empty {
            // The lower directory is gone; this layer put something in its place without describing it.
            inode.attributes = Attributes::implied_directory();
        }
        own || !empty
    }

    fn put_directory(
        &mut self,
        parent: InodeId,
        name: &[u8],
        attributes: Attributes,
    ) -> Result<(), EntryFault> {
        if let Some(entry) = self.child(parent, name)
            && let Kind::Directory(_) = self.tree.inode(entry.inode).kind
        {
            self.charge_xattrs(&attributes.xattrs)?;
            self.tree.inodes[entry.inode.index()].attributes = attributes;
            return self.link(parent, name, entry.inode);
        }
        self.make_directory(parent, name, attributes)?;
        Ok(())
    }

    fn make_directory(
        &mut self,
        parent: InodeId,
        name: &[u8],
        attributes: Attributes,
    ) -> Result<InodeId, EntryFault> {
        let depth = self.directory_mut(parent).depth + 1;
        if depth > MAX_DEPTH {
            return Err(EntryFault::TooDeep);
        }
        let kind = Kind::Directory(Directory {
            depth,
            ..Directory::default()
        });
        let inode = self.add_inode(Inode { attributes, kind })?;
        self.link(parent, name, inode)?;
        Ok(inode)
    }

    fn link(&mut self, parent: InodeId, name: &[u8], inode: InodeId) -> Result<(), EntryFault> {
        self.charge(name.len() + mem::size_of::<DirEntry>())?;
        let layer = self.layer;
        let entry = DirEntry { inode, layer };
        self.directory_mut(parent)
            .entries
            .insert(name.into(), entry);
        Ok(())
    }

    fn directory_mut(&mut self, id: InodeId) -> &mut Directory {
        match &mut self.tree.inodes[id.index()].kind {
            Kind::Directory(directory) => directory,
            _ => unreachable!("only directories are passed here"),
        }
    }

    fn add_inode(&mut self, inode: Inode) -> Result<InodeId, EntryFault> {
        let limit = self.limits.entries;
        let id = u32::try_from(self.tree.inodes.len())
            .map_err(|_| EntryFault::TooManyEntries { limit })?;
        self.charge_xattrs(&inode.attributes.xattrs)?;
        self.charge(match &inode.kind {
            Kind::Symlink(target) => target.len(),
            Kind::File(content) => content.runs.len().saturating_mul(mem::size_of::<Run>()),
            _ => 0,
        })?;
        self.tree.inodes.push(inode);
        Ok(InodeId(id))
    }

    fn count_entry(&mut self) -> Result<(), EntryFault> {
        let limit = self.limits.entries;
        if self.entries >= limit {
            return Err(EntryFault::TooManyEntries { limit });
        }
        self.entries += 1;
        Ok(())
    }

    fn charge_xattrs(&mut self, xattrs: &Xattrs) -> Result<(), EntryFault> {
        self.charge(
            xattrs
                .iter()
                .map(|(name, value)| name.len() + value.len())
                .sum(),
        )
    }

    fn charge(&mut self, bytes: usize) -> Result<(), EntryFault> {
        let limit = self.limits.metadata_bytes;
        self.metadata_bytes += bytes as u64;
        if self.metadata_bytes > limit {
            return Err(EntryFault::TooMuchMetadata { limit });
        }
        Ok(())
    }
}
