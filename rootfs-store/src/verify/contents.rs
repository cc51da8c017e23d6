//! Reads every blob once, from its first byte to its last, and hashes it as a whole and frame by frame.
//!
//! Invariant: reading is one stream in order, so one blob is open at a time, with its table; hashing and decompressing
//! of frames happens on all cores meanwhile. What is kept of a blob does not grow with its bytes.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use sha2::{Digest as _, Sha256};

use super::lengths::Lengths;
use crate::blobs::open_blob;
use crate::chunk::{self, FrameError, MAX_CHUNK_BYTES};
use crate::digest::BlobDigest;
use crate::ordered::ordered;
use crate::pack::{PackError, TableEntry, read_table};
use crate::progress::{Progress, Stage};
use crate::store::{Store, StoreError};

/// Bytes that are read at a time from what has no frames.
const PIECE_BYTES: u64 = 1 << 20;

/// A blob to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) digest: BlobDigest,
    /// Bytes of its file, for the progress.
    pub(super) bytes: u64,
    pub(super) is_pack: bool,
}

/// What was found out about a blob.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) bytes: u64,
    /// The digest of the bytes; nothing if they could not be read.
    pub(super) actual: Option<BlobDigest>,
    pub(super) unreadable: Option<io::Error>,
    pub(super) pack: Option<PackError>,
    /// It is a pack whose table was verified.
    pub(super) has_table: bool,
    /// Plain length of each frame of the table; nothing for a damaged one.
    pub(super) plain: Lengths,
    pub(super) damaged_frames: u64,
    /// The first damaged frame: where it starts, and what is wrong.
    pub(super) first_damaged: Option<(u64, FrameError)>,
}

/// What reading comes by, blob after blob.
enum Step {
    Opened(Opened),
    Piece(Piece),
    /// The rest of the blob can't be read.
    Failed(io::Error),
}

struct Opened {
    bytes: u64,
    pack: Option<PackError>,
    has_table: bool,
}

/// A part of a blob.
struct Piece {
    bytes: Vec<u8>,
    /// The frame that it is.
    frame: Option<TableEntry>,
}

type Plain = Option<Result<u32, FrameError>>;

/// Reads all blobs; what is wrong with one does not keep others from being read.
///
/// # Errors
/// [`StoreError::TooManyFiles`]: that says nothing of a blob.
pub(super) fn read_all(
    store: &Store,
    wanted: &[Wanted],
    progress: &dyn Progress,
) -> Result<Vec<Content>, StoreError> {
    let total: u64 = wanted.iter().map(|wanted| wanted.bytes).sum();
    let steps = Steps {
        store,
        wanted: wanted.iter().enumerate(),
        open: None,
    };
    let check = |(): &mut (), step: Result<(usize, Step), StoreError>| {
        let (blob, step) = step?;
        let plain = match &step {
            Step::Piece(piece) => piece.plain(),
            Step::Opened(_) | Step::Failed(_) => None,
        };
        Ok::<_, StoreError>((blob, step, plain))
    };
    let mut contents: Vec<Content> = wanted.iter().map(|_| Content::default()).collect();
    let mut hasher = None;
    let mut done = 0;
    ordered(
        steps,
        || Ok(()),
        check,
        |(blob, step, plain)| {
            match step {
                Step::Opened(opened) => {
                    finish(&mut contents, hasher.replace((blob, Sha256::new())));
                    contents[blob].open(opened);
                }
                Step::Piece(piece) => {
                    done += piece.bytes.len() as u64;
                    progress.advance(Stage::Verify, done, total);
                    if let Some((_, hasher)) = &mut hasher {
                        hasher.update(&piece.bytes);
                    }
                    contents[blob].take(piece.frame, plain);
                }
                Step::Failed(error) => {
                    finish(&mut contents, hasher.take_if(|(other, _)| *other != blob));
                    hasher = None;
                    contents[blob].unreadable = Some(error);
                }
            }
            Ok(())
        },
    )?;
    finish(&mut contents, hasher);
    Ok(contents)
}

/// Takes down the digest of a blob that was read to its end.
fn finish(contents: &mut [Content], read: Option<(usize, Sha256)>) {
    if let Some((blob, hasher)) = read {
        let actual = BlobDigest::from_bytes(hasher.finalize().into());
        contents[blob].actual = Some(actual);
    }
}

impl Content {
    fn open(&mut self, opened: Opened) {
        self.bytes = opened.bytes;
        self.pack = opened.pack;
        self.has_table = opened.has_table;
    }

    fn take(&mut self, frame: Option<TableEntry>, plain: Plain) {
        let (Some(frame), Some(plain)) = (frame, plain) else {
            return;
        };
        self.plain.push(plain.as_ref().ok().copied());
        if let Err(error) = plain {
            self.damaged_frames += 1;
            self.first_damaged.get_or_insert((frame.offset, error));
        }
    }
}

impl Piece {
    /// Decompresses and verifies a frame; says how long its content is.
    fn plain(&self) -> Plain {
        let frame = self.frame?;
        let plain = chunk::decode(&frame.digest, &self.bytes, MAX_CHUNK_BYTES as usize);
        Some(plain.map(|plain| u32::try_from(plain.len()).unwrap_or(u32::MAX)))
    }
}

/// All steps of reading all blobs.
struct Steps<'a, W> {
    store: &'a Store,
    wanted: W,
    open: Option<(usize, Open)>,
}

impl<'a, W: Iterator<Item = (usize, &'a Wanted)>> Iterator for Steps<'a, W> {
    type Item = Result<(usize, Step), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some((blob, open)) = &mut self.open {
            let (blob, read) = (*blob, open.read());
            match read {
                Ok(Some(piece)) => return Some(Ok((blob, Step::Piece(piece)))),
                Ok(None) => self.open = None,
                Err(error) => {
                    self.open = None;
                    return Some(Ok((blob, Step::Failed(error))));
                }
            }
        }
        let (blob, wanted) = self.wanted.next()?;
        let step = match open(self.store, wanted) {
            Ok((opened, open)) => {
                self.open = Some((blob, open));
                Step::Opened(opened)
            }
            Err(source) if StoreError::is_of_too_many_files(&source) => {
                let path = self.store.blobs().path(&wanted.digest);
                return Some(Err(StoreError::TooManyFiles { path }));
            }
            Err(error) => Step::Failed(error),
        };
        Some(Ok((blob, step)))
    }
}

/// Opens a blob, and reads a pack's table.
fn open(store: &Store, wanted: &Wanted) -> io::Result<(Opened, Open)> {
    // Another file may have its place by now.
    store.inner.source.forget_pack(&wanted.digest);
    let (file, bytes) = open_blob(&store.blobs().path(&wanted.digest))?;
    let (mut frames, mut pack, mut has_table) = (Vec::new(), None, false);
    if wanted.is_pack {
        match read_table(&file, bytes)? {
            Ok(table) => {
                frames = table.entries;
                has_table = true;
            }
            Err(error) => pack = Some(error),
        }
    }
    let opened = Opened {
        bytes,
        pack,
        has_table,
    };
    let open = Open {
        file,
        frames: frames.into_iter(),
        offset: 0,
    };
    Ok((opened, open))
}

/// The rest of a blob: the frames of a pack and what follows them, or pieces of one size.
struct Open {
    file: File,
    frames: std::vec::IntoIter<TableEntry>,
    offset: u64,
}

impl Open {
    fn read(&mut self) -> io::Result<Option<Piece>> {
        let frame = self.frames.next();
        let mut bytes = Vec::new();
        match frame {
            Some(frame) => {
                bytes.resize(frame.len as usize, 0);
                self.file.read_exact_at(&mut bytes, frame.offset)?;
            }
            None => {
                let from = FromOffset(&self.file, self.offset);
                from.take(PIECE_BYTES).read_to_end(&mut bytes)?;
                if bytes.is_empty() {
                    return Ok(None);
                }
            }
        }
        self.offset += bytes.len() as u64;
        Ok(Some(Piece { bytes, frame }))
    }
}

/// Reads a file from an offset on, whatever its own position.
struct FromOffset<'a>(&'a File, u64);

impl Read for FromOffset<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read_at(buf, self.1)?;
        self.1 += count as u64;
        Ok(count)
    }
}
