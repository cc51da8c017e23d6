//! Reads every blob once, from its first byte to its last, and hashes it as a whole and frame by frame.
//!
//! Invariant: reading is one stream in order; hashing and decompressing of frames happens on all cores meanwhile.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use sha2::{Digest as _, Sha256};

use crate::chunk::{self, FrameError, MAX_CHUNK_BYTES};
use crate::digest::BlobDigest;
use crate::ordered::ordered;
use crate::pack::{PackError, Table, read_table};
use crate::progress::{Progress, Stage};
use crate::store::{Store, StoreError};

/// Bytes that are read at a time from what has no frames.
const PIECE_BYTES: u64 = 1 << 20;

/// A blob to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) digest: BlobDigest,
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
    /// The table of a pack that has one.
    pub(super) table: Option<Table>,
    /// Plain length of each frame of the table; nothing for a damaged one.
    pub(super) plain: Vec<Option<u32>>,
    pub(super) damaged_frames: u64,
    /// The first damaged frame: where it starts, and what is wrong.
    pub(super) first_damaged: Option<(u64, FrameError)>,
}

/// A part of a blob.
struct Piece {
    blob: usize,
    bytes: Vec<u8>,
    /// The frame that it is.
    frame: Option<crate::pack::TableEntry>,
}

struct Checked {
    piece: Piece,
    plain: Option<Result<u32, FrameError>>,
}

/// Reads all blobs; what is wrong with one does not keep others from being read.
pub(super) fn read_all(
    store: &Store,
    wanted: &[Wanted],
    progress: &dyn Progress,
) -> Result<Vec<Content>, StoreError> {
    let mut contents: Vec<Content> = wanted.iter().map(|_| Content::default()).collect();
    let mut opened = Vec::new();
    for (wanted, content) in wanted.iter().zip(&mut contents) {
        opened.push(open(store, wanted, content));
    }
    let total: u64 = contents.iter().map(|content| content.bytes).sum();
    let tables: Vec<Option<Table>> = contents
        .iter_mut()
        .map(|content| content.table.take())
        .collect();
    let mut hashers: Vec<Sha256> = wanted.iter().map(|_| Sha256::new()).collect();
    let pieces = opened.iter().enumerate().flat_map(|(blob, file)| {
        let file = file.as_ref();
        let table = tables[blob].as_ref();
        file.into_iter()
            .flat_map(move |file| Pieces::new(file, blob, table))
    });
    let check = |(): &mut (), piece: (usize, io::Result<Piece>)| {
        let (blob, piece) = piece;
        let checked = piece.map(|piece| {
            let plain = piece.frame.map(|frame| {
                let plain = chunk::decode(&frame.digest, &piece.bytes, MAX_CHUNK_BYTES as usize);
                plain.map(|plain| u32::try_from(plain.len()).unwrap_or(u32::MAX))
            });
            Checked { piece, plain }
        });
        Ok::<_, StoreError>((blob, checked))
    };
    let mut done = 0;
    ordered(
        pieces,
        || Ok(()),
        check,
        |(blob, checked)| {
            let content = &mut contents[blob];
            match checked {
                Ok(checked) => {
                    done += checked.piece.bytes.len() as u64;
                    progress.advance(Stage::Verify, done, total);
                    hashers[checked.piece.blob].update(&checked.piece.bytes);
                    content.take(checked);
                }
                Err(error) => content.unreadable = Some(error),
            }
            Ok(())
        },
    )?;
    for ((content, hasher), table) in contents.iter_mut().zip(hashers).zip(tables) {
        content.table = table;
        if content.unreadable.is_none() {
            content.actual = Some(BlobDigest::from_bytes(hasher.finalize().into()));
        }
    }
    Ok(contents)
}

impl Content {
    fn take(&mut self, checked: Checked) {
        let (Some(frame), Some(plain)) = (checked.piece.frame, checked.plain) else {
            return;
        };
        self.plain.push(plain.as_ref().ok().copied());
        if let Err(error) = plain {
            self.damaged_frames += 1;
            self.first_damaged.get_or_insert((frame.offset, error));
        }
    }
}

/// Opens a blob, and reads a pack's table.
fn open(store: &Store, wanted: &Wanted, content: &mut Content) -> Option<File> {
    let mut open = || -> io::Result<File> {
        let file = File::open(store.blobs().path(&wanted.digest))?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        content.bytes = metadata.len();
        if wanted.is_pack {
            match read_table(&file, metadata.len())? {
                Ok(table) => content.table = Some(table),
                Err(error) => content.pack = Some(error),
            }
        }
        Ok(file)
    };
    match open() {
        Ok(file) => Some(file),
        Err(error) => {
            content.unreadable = Some(error);
            None
        }
    }
}

/// The parts of a blob: the frames of a pack and what follows them, or pieces of one size.
struct Pieces<'a> {
    file: &'a File,
    blob: usize,
    frames: std::slice::Iter<'a, crate::pack::TableEntry>,
    offset: u64,
    ended: bool,
}

impl<'a> Pieces<'a> {
    fn new(file: &'a File, blob: usize, table: Option<&'a Table>) -> Self {
        Self {
            file,
            blob,
            frames: table.map_or(&[][..], |table| &table.entries).iter(),
            offset: 0,
            ended: false,
        }
    }

    fn read(&mut self) -> io::Result<Option<Piece>> {
        let (frame, bytes) = match self.frames.next().copied() {
            Some(frame) => {
                let mut bytes = vec![0; frame.len as usize];
                self.file.read_exact_at(&mut bytes, frame.offset)?;
                (Some(frame), bytes)
            }
            None => {
                let mut bytes = Vec::new();
                let from = FromOffset(self.file, self.offset);
                from.take(PIECE_BYTES).read_to_end(&mut bytes)?;
                if bytes.is_empty() {
                    return Ok(None);
                }
                (None, bytes)
            }
        };
        self.offset += bytes.len() as u64;
        Ok(Some(Piece {
            blob: self.blob,
            bytes,
            frame,
        }))
    }
}

impl Iterator for Pieces<'_> {
    type Item = (usize, io::Result<Piece>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let piece = self.read();
        self.ended = !matches!(piece, Ok(Some(_)));
        piece.transpose().map(|piece| (self.blob, piece))
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
