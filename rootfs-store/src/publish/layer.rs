//! Writes a layer: what changed, and whiteouts for what went.

use std::collections::HashMap;
use std::io::Write;

use super::PublishError;
use super::changes::{Changes, Sources};
use super::error::Fault;
use super::pairs::{Excluded, Step, WHITEOUT, walk};
use super::tar::{Entry, EntryFault, EntryKind, NO_DEVICE, TarWriter};
use crate::ext4::{Content, File, FileId, FileKind, ReadAt};
use crate::progress::{Progress, Stage};
use crate::tree::{Limits, Time, printable};

/// Bytes of a file that are read at a time.
const PIECE_BYTES: usize = 1 << 20;

/// What is in a layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerSummary {
    /// Entries, whiteouts among them.
    pub entries: u64,
    /// Whiteouts.
    pub whiteouts: u64,
    /// Length of the plain tar stream in bytes.
    pub bytes: u64,
    /// The newest time of a file in it.
    pub newest: Option<Time>,
}

/// Writes what differs between two trees, or all of one.
pub(super) fn write<R: ReadAt>(
    sources: &Sources<'_, R>,
    excluded: &Excluded,
    limits: &Limits,
    out: impl Write,
    progress: &dyn Progress,
) -> Result<LayerSummary, Fault> {
    let changes = Changes::find(sources, excluded, limits.unpacked_bytes)?;
    let mut writer = LayerWriter {
        sources,
        changes: &changes,
        tar: TarWriter::new(out),
        first_names: HashMap::new(),
        buffer: vec![0; PIECE_BYTES],
        summary: LayerSummary::default(),
        done: 0,
        progress,
    };
    walk(sources.trees, excluded, |path, step| match step {
        Step::Removed => writer.removed(path),
        Step::File { new, base } => writer.file(path, new, base),
    })?;
    let bytes = writer.tar.finish()?;
    Ok(LayerSummary {
        bytes,
        ..writer.summary
    })
}

struct LayerWriter<'a, R, W> {
    sources: &'a Sources<'a, R>,
    changes: &'a Changes,
    tar: TarWriter<W>,
    /// The names under which files with more names than one are in the layer.
    first_names: HashMap<FileId, Box<[u8]>>,
    buffer: Vec<u8>,
    summary: LayerSummary,
    done: u64,
    progress: &'a dyn Progress,
}

impl<R: ReadAt, W: Write> LayerWriter<'_, R, W> {
    fn removed(&mut self, path: &[u8]) -> Result<(), Fault> {
        let name = path.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
        let whiteout = [&path[..name], WHITEOUT, &path[name..]].concat();
        self.summary.entries += 1;
        self.summary.whiteouts += 1;
        let written = self.tar.whiteout(&whiteout);
        written.map_err(|fault| of_path(fault, path))
    }

    fn file(&mut self, path: &[u8], id: FileId, base: Option<FileId>) -> Result<(), Fault> {
        let file = self.sources.new_file(id);
        if let FileKind::Directory(_) = file.kind {
            if self.sources.directory_differs(id, base) {
                let path = match path {
                    b"" => b"./".to_vec(),
                    path => [path, b"/"].concat(),
                };
                self.entry(&path, file, EntryKind::Directory, b"")?;
            }
            return Ok(());
        }
        if !self.changes.file_differs(id) {
            return Ok(());
        }
        if let Some(first) = self.first_names.get(&id).cloned() {
            return self.entry(path, file, EntryKind::HardLink, &first);
        }
        match &file.kind {
            FileKind::Regular(content) => {
                self.entry(path, file, EntryKind::File, b"")?;
                self.content(content)?;
            }
            FileKind::Symlink(target) => self.entry(path, file, EntryKind::Symlink, target)?,
            FileKind::CharDevice(_) => self.entry(path, file, EntryKind::CharDevice, b"")?,
            FileKind::BlockDevice(_) => self.entry(path, file, EntryKind::BlockDevice, b"")?,
            FileKind::Fifo => self.entry(path, file, EntryKind::Fifo, b"")?,
            FileKind::Directory(_) | FileKind::Socket => {}
        }
        if self.changes.links.names(id) > 1 {
            self.first_names.insert(id, path.into());
        }
        Ok(())
    }

    fn entry(
        &mut self,
        path: &[u8],
        file: &File,
        kind: EntryKind,
        target: &[u8],
    ) -> Result<(), Fault> {
        let device = match file.kind {
            FileKind::CharDevice(device) | FileKind::BlockDevice(device) => device,
            _ => NO_DEVICE,
        };
        let size = match (&file.kind, kind) {
            (FileKind::Regular(content), EntryKind::File) => content.len,
            _ => 0,
        };
        self.summary.entries += 1;
        let newest = self.summary.newest.max(Some(file.attributes.mtime));
        self.summary.newest = newest;
        let written = self.tar.entry(&Entry {
            path,
            kind,
            target,
            size,
            attributes: &file.attributes,
            device,
        });
        written.map_err(|fault| of_path(fault, path))
    }

    fn content(&mut self, content: &Content) -> Result<(), Fault> {
        let mut at = 0;
        while at < content.len {
            let len = (content.len - at).min(PIECE_BYTES as u64);
            // At most a piece.
            let piece = &mut self.buffer[..usize::try_from(len).unwrap_or(0)];
            self.sources.read(content, at, piece)?;
            self.tar.data(piece)?;
            at += len;
            self.done += len;
            self.progress
                .advance(Stage::Publish, self.done, self.changes.bytes);
        }
        Ok(self.tar.pad()?)
    }
}

fn of_path(fault: EntryFault, path: &[u8]) -> Fault {
    let path = printable(path);
    Fault::Other(match fault {
        EntryFault::Io(source) => PublishError::Write { source },
        EntryFault::XattrName(name) => PublishError::XattrName {
            path,
            name: printable(&name),
        },
        EntryFault::TooLarge(bytes) => PublishError::MetadataTooLarge { path, bytes },
    })
}
