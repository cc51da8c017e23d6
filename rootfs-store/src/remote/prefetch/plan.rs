//! Which ranges to ask for, so that few requests bring all that is wanted, and little else.

use std::ops::Range;

use super::super::MAX_READ_BYTES;
use crate::digest::BlobDigest;

/// Of what is wanted, so many times as much may be fetched needlessly, so that fewer requests are made.
const WASTE: u64 = 1;
/// Largest gap that is fetched needlessly: to ask once more takes a distant registry as long as to send that much.
const MAX_GAP_BYTES: u64 = 256 << 10;

/// A range of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) pack: BlobDigest,
    pub(super) range: Range<u64>,
}

/// A piece of the plan, with the place among the wants of the most urgent one that it has.
#[derive(Debug, Clone)]
struct Piece {
    pack: BlobDigest,
    range: Range<u64>,
    urgency: usize,
}

/// Ranges of at most [`MAX_READ_BYTES`] that have all that is wanted, the most urgent first. Small gaps are closed
/// before larger ones, until [`WASTE`] would be exceeded.
pub(super) fn plan(wants: &[Want]) -> Vec<Want> {
    let mut pieces = merge_touching(wants);
    let wanted: u64 = pieces.iter().map(|piece| len(&piece.range)).sum();
    let mut left = wanted.saturating_mul(WASTE);
    let mut gaps: Vec<(u64, usize)> = (1..pieces.len())
        .filter_map(|at| Some((gap(&pieces[at - 1], &pieces[at])?, at)))
        .filter(|(gap, _)| *gap <= MAX_GAP_BYTES)
        .collect();
    gaps.sort_unstable();
    // The piece that each has become a part of: runs grow by their first member, which knows their last one.
    let mut first: Vec<usize> = (0..pieces.len()).collect();
    let mut last = first.clone();
    for (gap, at) in gaps {
        let (from, to) = (first[at - 1], last[at]);
        if gap > left || pieces[to].range.end - pieces[from].range.start > MAX_READ_BYTES {
            continue;
        }
        left -= gap;
        (last[from], first[to]) = (to, from);
    }
    let mut planned = Vec::new();
    let mut at = 0;
    while at < pieces.len() {
        let end = last[at];
        let urgency = pieces[at..=end].iter().map(|piece| piece.urgency).min();
        let range = pieces[at].range.start..pieces[end].range.end;
        let pack = pieces[at].pack;
        planned.push(Piece {
            pack,
            range,
            urgency: urgency.unwrap_or(usize::MAX),
        });
        at = end + 1;
    }
    pieces.clear();
    planned.sort_by_key(|piece| piece.urgency);
    let want = |piece: Piece| Want {
        pack: piece.pack,
        range: piece.range,
    };
    planned.into_iter().map(want).collect()
}

/// What is wanted, by packs and offsets, in pieces that are as long as may be.
fn merge_touching(wants: &[Want]) -> Vec<Piece> {
    let mut sorted: Vec<_> = wants.iter().enumerate().collect();
    sorted.sort_by_key(|(_, want)| (want.pack, want.range.start));
    let mut pieces: Vec<Piece> = Vec::new();
    for (urgency, want) in sorted {
        let range = want.range.clone();
        match pieces.last_mut() {
            Some(last)
                if last.pack == want.pack
                    && range.start <= last.range.end
                    && range.end.saturating_sub(last.range.start) <= MAX_READ_BYTES =>
            {
                last.range.end = last.range.end.max(range.end);
                last.urgency = last.urgency.min(urgency);
            }
            _ => pieces.push(Piece {
                pack: want.pack,
                range,
                urgency,
            }),
        }
    }
    pieces
}

/// Bytes between two pieces of one pack.
fn gap(before: &Piece, after: &Piece) -> Option<u64> {
    match before.pack == after.pack {
        true => Some(after.range.start.saturating_sub(before.range.end)),
        false => None,
    }
}

fn len(range: &Range<u64>) -> u64 {
    range.end - range.start
}

#[cfg(test)]
mod tests;
