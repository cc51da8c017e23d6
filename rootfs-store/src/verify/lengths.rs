//! How long the plain bytes of a pack's frames are.
//!
//! Invariant: what is known is right. Nearly all frames of a pack are chunks of one size, so that few numbers tell all;
//! of a pack made to need many, the rest is not known.

/// Most runs of equal lengths that are kept of a pack: 48 KiB.
const MAX_RUNS: usize = 4096;

/// Lengths by the frame's place in the table; nothing for a damaged frame.
#[derive(Debug, Default)]
pub(super) struct Lengths {
    /// The frame that follows each run, and the length in it.
    runs: Vec<(u32, Option<u32>)>,
    is_full: bool,
}

impl Lengths {
    /// Adds the next frame.
    pub(super) fn push(&mut self, plain: Option<u32>) {
        let count = self.runs.len();
        match self.runs.last_mut() {
            _ if self.is_full => {}
            Some((end, last)) if *last == plain => *end += 1,
            _ if count == MAX_RUNS => self.is_full = true,
            last => {
                let end = last.map_or(0, |(end, _)| *end);
                self.runs.push((end + 1, plain));
            }
        }
    }

    /// The length in a frame, or that it is damaged; nothing if that is not known.
    pub(super) fn get(&self, frame: u32) -> Option<Option<u32>> {
        let run = self.runs.partition_point(|(end, _)| *end <= frame);
        self.runs.get(run).map(|(_, plain)| *plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_that_were_added() {
        let mut lengths = Lengths::default();
        let all = [Some(5), Some(5), None, None, Some(5), Some(7)];
        for plain in all {
            lengths.push(plain);
        }
        let found: Vec<_> = (0..6).map(|frame| lengths.get(frame)).collect();
        assert_eq!(found, all.map(Some));
        assert_eq!(lengths.get(6), None);
    }

    #[test]
    fn what_does_not_fit_is_not_known() {
        let mut lengths = Lengths::default();
        for frame in 0..2 * 4096 {
            lengths.push(Some(frame % 2));
        }
        assert_eq!(lengths.get(4095), Some(Some(1)));
        assert_eq!(lengths.get(4096), None);
    }
}
