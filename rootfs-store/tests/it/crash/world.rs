//! The disk below a store's folder: what is on it, what is only on its way, and what is there after a power cut.
//!
//! As little is promised as POSIX does: a file's bytes are there after its sync, a name after its folder's. Before
//! that, each name and each sector of 512 bytes may be there or not, whatever the order they were written in.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path};

use rootfs_store::FileId;

use super::log::Step;

const SECTOR_LEN: usize = 512;
const SECTOR: u64 = SECTOR_LEN as u64;

/// What becomes of what was not synced.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fate {
    Lost,
    Kept,
    /// Each piece for itself, by a coin of this seed.
    Chance(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    File(usize),
    Dir(usize),
}

/// A change of one folder, or of two.
#[derive(Debug, Clone)]
struct NameChange {
    remove: Option<(usize, String)>,
    add: Option<(usize, String, Node)>,
    durable: bool,
}

#[derive(Debug, Clone, Default)]
struct Bytes {
    sectors: BTreeMap<u64, [u8; SECTOR_LEN]>,
    len: u64,
}

#[derive(Debug, Clone)]
enum ByteChange {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Zero(std::ops::Range<u64>),
}

#[derive(Debug, Clone, Default)]
struct Inode {
    durable: Bytes,
    pending: Vec<ByteChange>,
}

/// Folders by number; the first is the root.
type Folders = Vec<BTreeMap<String, Node>>;

/// A file system that remembers what it was asked for.
#[derive(Debug, Clone)]
pub(crate) struct World {
    inodes: Vec<Inode>,
    open: HashMap<FileId, usize>,
    folders: Folders,
    changes: Vec<NameChange>,
}

impl World {
    /// An empty folder.
    pub(crate) fn new() -> Self {
        Self {
            inodes: Vec::new(),
            open: HashMap::new(),
            folders: vec![BTreeMap::new()],
            changes: Vec::new(),
        }
    }

    /// Whether the step changed anything.
    pub(crate) fn follow(&mut self, step: &Step) -> bool {
        match step {
            Step::Create { file, path } => {
                let node = Node::File(self.inodes.len());
                self.open.insert(*file, self.inodes.len());
                self.inodes.push(Inode::default());
                self.rename(None, Some((path, node)));
            }
            Step::Open { file, path } => match self.find(path) {
                Some(Node::File(inode)) => {
                    self.open.insert(*file, inode);
                    return false;
                }
                // It fails, as it does for the store.
                _ => return false,
            },
            Step::Write {
                file,
                offset,
                bytes,
            } => self.change(*file, ByteChange::Write(*offset, bytes.clone())),
            Step::SetLen { file, len } => self.change(*file, ByteChange::SetLen(*len)),
            Step::PunchHole { file, range } => self.change(*file, ByteChange::Zero(range.clone())),
            Step::Sync { file } => {
                let inode = &mut self.inodes[self.open[file]];
                for change in std::mem::take(&mut inode.pending) {
                    inode.durable.apply(&change, &mut || true);
                }
            }
            Step::CreateDir { path } => {
                if self.find(path).is_some() {
                    return false;
                }
                let node = Node::Dir(self.folders.len());
                self.folders.push(BTreeMap::new());
                self.rename(None, Some((path, node)));
            }
            Step::Rename { from, to } => {
                let node = self.find(from).unwrap();
                self.rename(Some(from), Some((to, node)));
            }
            Step::Remove { path } => {
                if self.find(path).is_none() {
                    return false;
                }
                self.rename(Some(path), None);
            }
            Step::SyncDir { path } => {
                let Some(Node::Dir(dir)) = self.find(path) else {
                    return false;
                };
                for change in &mut self.changes {
                    let touches = |entry: Option<usize>| entry == Some(dir);
                    change.durable |= touches(change.remove.as_ref().map(|at| at.0))
                        || touches(change.add.as_ref().map(|at| at.0));
                }
            }
            Step::Damage { path, offset, byte } => {
                let Some(Node::File(inode)) = self.find(path) else {
                    panic!("{} is no file", path.display());
                };
                let change = ByteChange::Write(*offset, vec![*byte]);
                self.inodes[inode].durable.apply(&change, &mut || true);
            }
            Step::Begun(_) | Step::Done(_) => return false,
        }
        true
    }

    fn change(&mut self, file: FileId, change: ByteChange) {
        self.inodes[self.open[&file]].pending.push(change);
    }

    fn rename(&mut self, from: Option<&Path>, to: Option<(&Path, Node)>) {
        let change = NameChange {
            remove: from.map(|path| self.place(path)),
            add: to.map(|(path, node)| {
                let (dir, name) = self.place(path);
                (dir, name, node)
            }),
            durable: false,
        };
        change.apply(&mut self.folders);
        self.changes.push(change);
    }

    /// The folder of a path, and the name in it.
    fn place(&self, path: &Path) -> (usize, String) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        match self.find(path.parent().unwrap()) {
            Some(Node::Dir(dir)) => (dir, name),
            other => panic!("{} is in {other:?}", path.display()),
        }
    }

    fn find(&self, path: &Path) -> Option<Node> {
        let mut at = Node::Dir(0);
        for part in path.components() {
            let (Node::Dir(dir), Component::Normal(name)) = (at, part) else {
                return None;
            };
            at = *self.folders[dir].get(name.to_str().unwrap())?;
        }
        Some(at)
    }

    /// Writes to the empty folder `root` what is there after a power cut now.
    pub(crate) fn cut(&self, root: &Path, names: Fate, bytes: Fate) {
        let mut folders: Folders = vec![BTreeMap::new(); self.folders.len()];
        let mut coin = Coin::of(names);
        for change in &self.changes {
            if change.durable || coin.toss() {
                change.apply(&mut folders);
            }
        }
        let mut coin = Coin::of(bytes);
        self.write(&folders, 0, root, &mut coin);
    }

    fn write(&self, folders: &Folders, dir: usize, path: &Path, coin: &mut Coin) {
        for (name, node) in &folders[dir] {
            let path = path.join(name);
            match node {
                Node::Dir(dir) => {
                    fs::create_dir(&path).unwrap();
                    self.write(folders, *dir, &path, coin);
                }
                Node::File(inode) => {
                    let inode = &self.inodes[*inode];
                    let mut bytes = inode.durable.clone();
                    for change in &inode.pending {
                        bytes.apply(change, &mut || coin.toss());
                    }
                    bytes.write(&path);
                }
            }
        }
    }
}

impl NameChange {
    fn apply(&self, folders: &mut Folders) {
        if let Some((dir, name)) = &self.remove {
            folders[*dir].remove(name);
        }
        if let Some((dir, name, node)) = &self.add {
            folders[*dir].insert(name.clone(), *node);
        }
    }
}

impl Bytes {
    /// Applies those sectors of a change for which `kept` says so.
    fn apply(&mut self, change: &ByteChange, kept: &mut dyn FnMut() -> bool) {
        match change {
            ByteChange::Write(offset, bytes) => {
                let mut at = *offset;
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    let skip = usize::try_from(at % SECTOR).unwrap();
                    let len = (SECTOR_LEN - skip).min(rest.len());
                    if kept() {
                        let sector = self.sectors.entry(at / SECTOR).or_insert([0; SECTOR_LEN]);
                        sector[skip..skip + len].copy_from_slice(&rest[..len]);
                        self.len = self.len.max(at + len as u64);
                    }
                    at += len as u64;
                    rest = &rest[len..];
                }
            }
            ByteChange::SetLen(len) => {
                if kept() {
                    self.len = *len;
                    self.sectors.retain(|sector, _| sector * SECTOR < *len);
                }
            }
            ByteChange::Zero(range) => {
                let whole = range.start / SECTOR..range.end / SECTOR;
                self.sectors
                    .retain(|sector, _| !whole.contains(sector) || !kept());
            }
        }
    }

    fn write(&self, path: &Path) {
        let file = fs::File::create(path).unwrap();
        for (sector, bytes) in &self.sectors {
            file.write_all_at(bytes, sector * SECTOR).unwrap();
        }
        file.set_len(self.len).unwrap();
    }
}

/// Says what is kept.
struct Coin {
    fate: Fate,
    state: u64,
}

impl Coin {
    fn of(fate: Fate) -> Self {
        let state = match fate {
            Fate::Chance(seed) => seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            Fate::Lost | Fate::Kept => 1,
        };
        Self { fate, state }
    }

    fn toss(&mut self) -> bool {
        match self.fate {
            Fate::Lost => false,
            Fate::Kept => true,
            Fate::Chance(_) => {
                // Xorshift (Marsaglia 2003).
                self.state ^= self.state << 13;
                self.state ^= self.state >> 7;
                self.state ^= self.state << 17;
                self.state >> 40 & 1 == 1
            }
        }
    }
}
