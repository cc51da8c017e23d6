//! Packs: blobs of zstd frames, each a chunk or an index page, with a table of contents at the end.
//!
//! A pack is a valid zstd stream: its table is a skippable frame, whose content ends with a footer. Numbers are
//! little-endian.
//!
//! | bytes | content |
//! |---|---|
//! | any | frames, back to back from offset 0, in table order |
//! | 4 | `0x184D2A5E`, the magic of a skippable frame |
//! | 4 | length of all that follows |
//! | 44 · n | the table: digest of the plain bytes (32), frame offset (8), frame length (4) |
//! | 4 | n |
//! | 4 | CRC-32C of the table |
//! | 4 | version, 1 |
//! | 4 | CRC-32C of the three fields before |
//! | 8 | magic `VMS-PACK` |
//!
//! Invariant: the frames of a table lie back to back from offset 0 to the skippable frame.

mod reader;
mod table;
mod writer;

pub(crate) use reader::{PackFile, read_table};
pub(crate) use table::MAX_FRAME_BYTES;
pub use table::{PackError, Table, TableEntry};
pub(crate) use writer::{PACK_BYTES, PackSet};
