//! Moves the data of an entry into the spool, or to a sink.
//!
//! Invariant: the runs of a file are block-aligned and apart, so that each can become blocks of a disk as it is.

use std::io::{self, BufRead};

use super::error::TarFault;
use super::node::{BLOCK, Content, Run};
use super::sink::Sink;
use super::sparse::SparseMap;
use super::spool::Spool;
use super::tar_stream::Entries;

/// Why data did not arrive in the spool.
#[derive(Debug)]
pub(super) enum CopyFault {
    Tar(TarFault),
    Spool(io::Error),
}

/// Spools a file without holes, unless there is a sink that takes it.
pub(super) fn copy_file<R: BufRead>(
    entries: &mut Entries<R>,
    len: u64,
    spool: &mut Spool,
    sink: Option<&Sink>,
) -> Result<Content, CopyFault> {
    let mut run = Run {
        file_offset: 0,
        len,
        spool_offset: spool.position(),
    };
    if let Some(sink) = sink.filter(|sink| sink.takes(len)) {
        run.spool_offset = spool.name_elsewhere(len);
        sink.copy(entries, len, run.spool_offset)?;
    } else {
        copy(entries, len, spool)?;
    }
    Ok(Content {
        len,
        runs: if len == 0 { Vec::new() } else { vec![run] },
    })
}

/// Spools the pieces of a sparse file, each filled up with zeros to whole blocks.
pub(super) fn copy_sparse_file<R: BufRead>(
    entries: &mut Entries<R>,
    map: &SparseMap,
    spool: &mut Spool,
) -> Result<Content, CopyFault> {
    let mut runs: Vec<Run> = Vec::new();
    // End of the last piece in the file: the spool holds the last run up to here.
    let mut end = 0u64;
    for &(offset, len) in &map.pieces {
        let block_start = offset - offset % BLOCK;
        match runs.last_mut() {
            Some(run) if block_start <= end.next_multiple_of(BLOCK) => {
                pad(spool, offset - end)?;
                run.len += offset - end;
            }
            last => {
                if let Some(run) = last {
                    close(run, end, map.len, spool)?;
                }
                runs.push(Run {
                    file_offset: block_start,
                    len: offset - block_start,
                    spool_offset: spool.position(),
                });
                pad(spool, offset - block_start)?;
            }
        }
        copy(entries, len, spool)?;
        if let Some(run) = runs.last_mut() {
            run.len += len;
        }
        end = offset + len;
    }
    if let Some(run) = runs.last_mut() {
        close(run, end, map.len, spool)?;
    }
    Ok(Content { len: map.len, runs })
}

/// Fills up the last block of a run, unless the file ends within it.
fn close(run: &mut Run, end: u64, file_len: u64, spool: &mut Spool) -> Result<(), CopyFault> {
    let fill = end.next_multiple_of(BLOCK).min(file_len) - end;
    pad(spool, fill)?;
    run.len += fill;
    Ok(())
}

fn pad(spool: &mut Spool, mut count: u64) -> Result<(), CopyFault> {
    while count > 0 {
        let step = count.min(BLOCK);
        spool
            .append_zeros(usize::try_from(step).unwrap_or(0))
            .map_err(CopyFault::Spool)?;
        count -= step;
    }
    Ok(())
}

fn copy<R: BufRead>(
    entries: &mut Entries<R>,
    mut len: u64,
    spool: &mut Spool,
) -> Result<(), CopyFault> {
    while len > 0 {
        let data = entries.fill_data().map_err(CopyFault::Tar)?;
        if data.is_empty() {
            return Err(CopyFault::Tar(TarFault::Truncated));
        }
        let step = usize::try_from(len).map_or(data.len(), |len| len.min(data.len()));
        spool.append(&data[..step]).map_err(CopyFault::Spool)?;
        entries.consume_data(step);
        len -= step as u64;
    }
    Ok(())
}
