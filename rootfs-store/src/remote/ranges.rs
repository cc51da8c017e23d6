//! Sets of bytes of a file.
//!
//! Invariant: the ranges of a set are not empty and don't touch.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of bytes, as ascending ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges {
    /// Ends by starts.
    ends: BTreeMap<u64, u64>,
}

impl Ranges {
    pub(super) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        // From the last one that begins at or before the end, down to the first that reaches the start.
        while let Some((&from, &to)) = self.ends.range(..=end).next_back() {
            if to < start {
                break;
            }
            self.ends.remove(&from);
            start = start.min(from);
            end = end.max(to);
        }
        self.ends.insert(start, end);
    }

    pub(super) fn remove(&mut self, range: &Range<u64>) {
        if range.is_empty() {
            return;
        }
        while let Some((&from, &to)) = self.ends.range(..range.end).next_back() {
            if to <= range.start {
                break;
            }
            self.ends.remove(&from);
            if to > range.end {
                self.ends.insert(range.end, to);
            }
            if from < range.start {
                self.ends.insert(from, range.start);
            }
        }
    }

    /// Whether all of `range` is in the set.
    pub(super) fn contains(&self, range: &Range<u64>) -> bool {
        range.is_empty() || self.end_from(range.start) >= Some(range.end)
    }

    /// Whether any of `range` is in the set.
    pub(super) fn overlaps(&self, range: &Range<u64>) -> bool {
        let last = self.ends.range(..range.end).next_back();
        last.is_some_and(|(_, end)| *end > range.start)
    }

    /// The end of the range that `at` lies in.
    pub(super) fn end_from(&self, at: u64) -> Option<u64> {
        let (_, end) = self.ends.range(..=at).next_back()?;
        Some(*end).filter(|end| *end > at)
    }

    /// The start of the first range that begins at or behind `at`.
    pub(super) fn start_from(&self, at: u64) -> Option<u64> {
        self.ends.range(at..).next().map(|(start, _)| *start)
    }

    /// The end of the last range that ends at or before `at`.
    pub(super) fn end_before(&self, at: u64) -> Option<u64> {
        let (_, end) = self.ends.range(..at).next_back()?;
        Some((*end).min(at))
    }

    /// The parts of `range` that are not in the set, ascending.
    pub(super) fn missing(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut missing = Vec::new();
        let mut at = range.start;
        while at < range.end {
            if let Some(end) = self.end_from(at) {
                at = end;
                continue;
            }
            let next = self.start_from(at).unwrap_or(range.end).min(range.end);
            missing.push(at..next);
            at = next;
        }
        missing
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.ends.iter().map(|(start, end)| *start..*end)
    }

    /// Bytes of `range` that are in the set.
    pub(super) fn bytes_in(&self, range: Range<u64>) -> u64 {
        let gaps = self.missing(range.clone()).into_iter();
        let missing: u64 = gaps.map(|gap| gap.end - gap.start).sum();
        range.end.saturating_sub(range.start) - missing
    }

    /// Bytes in the set.
    pub(super) fn bytes(&self) -> u64 {
        self.iter().map(|range| range.end - range.start).sum()
    }
}

#[cfg(test)]
mod tests;
