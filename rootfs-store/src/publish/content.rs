//! Whether files of two disks have the same bytes.
//!
//! Invariant: bytes are not compared only where both files have them in the same place and the disks are equal there.

use std::ops::Range;

use super::PublishError;
use super::error::Fault;
use crate::diff::DiffError;
use crate::digest::SnapshotDigest;
use crate::ext4::{Content, FileSystem, ReadAt};
use crate::store::Store;

/// Bytes that are compared at a time.
const PIECE_BYTES: usize = 1 << 18;

/// Ranges of bytes, ascending and apart, beyond which two disks are equal; nothing if that can't be told from their
/// indexes.
pub(super) type Differing = Option<Vec<Range<u64>>>;

/// Where two snapshots differ.
pub(super) fn differing(
    store: &Store,
    base: &SnapshotDigest,
    new: &SnapshotDigest,
) -> Result<Differing, PublishError> {
    match store.diff(base, new) {
        Ok(diff) => Ok(Some(diff.ranges)),
        Err(DiffError::Store(error)) => Err(error.into()),
        Err(error) => {
            tracing::debug!(%error, "compares files byte by byte");
            Ok(None)
        }
    }
}

/// A file on a disk.
pub(super) struct OnDisk<'a, R> {
    pub(super) files: &'a FileSystem<R>,
    pub(super) content: &'a Content,
}

/// Whether two files have the same bytes.
pub(super) fn same<R: ReadAt>(
    new: &OnDisk<'_, R>,
    base: &OnDisk<'_, R>,
    differing: &Differing,
) -> Result<bool, Fault> {
    if new.content.len != base.content.len {
        return Ok(false);
    }
    if let Some(ranges) = differing
        && in_same_place(new, base, ranges)
    {
        return Ok(true);
    }
    let len = new.content.len;
    let mut buffers = [vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]];
    let mut at = 0;
    while let Some(start) = next_data(new, base, at) {
        let end = (start + PIECE_BYTES as u64).min(len);
        // At most a piece.
        let piece = usize::try_from(end - start).unwrap_or(0);
        let [ours, theirs] = &mut buffers;
        let (ours, theirs) = (&mut ours[..piece], &mut theirs[..piece]);
        let read = new.files.read(new.content, start, ours);
        read.map_err(Fault::New)?;
        let read = base.files.read(base.content, start, theirs);
        read.map_err(Fault::Base)?;
        if ours != theirs {
            return Ok(false);
        }
        at = end;
    }
    Ok(true)
}

fn next_data<R: ReadAt>(a: &OnDisk<'_, R>, b: &OnDisk<'_, R>, at: u64) -> Option<u64> {
    let next = |file: &OnDisk<'_, R>| file.files.next_data(file.content, at);
    match (next(a), next(b)) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Whether both files have all of their bytes in the same blocks, and those are equal on both disks.
fn in_same_place<R: ReadAt>(
    new: &OnDisk<'_, R>,
    base: &OnDisk<'_, R>,
    differing: &[Range<u64>],
) -> bool {
    if new.content.runs != base.content.runs {
        return false;
    }
    new.content.runs.iter().all(|run| {
        let place = new.files.plain_range(run);
        let Some(place) = place.filter(|place| base.files.plain_range(run).as_ref() == Some(place))
        else {
            return false;
        };
        let next = differing.partition_point(|range| range.end <= place.start);
        differing
            .get(next)
            .is_none_or(|range| range.start >= place.end)
    })
}
