//! How much is read ahead: nothing where reads jump about, more and more where they run forward. Index pages lie
//! together before the last of them, which is read first: of these, more and more is read around each one.
//!
//! A guest reads much of a file, but seldom all of it. Windows that double from the first miss on fetch half as much
//! again as the boot of a Debian image reads; those that stay below a share of what their run has used, an eighth.

use std::ops::Range;

/// Most bytes that one read fetches.
pub(super) const MAX_WINDOW_BYTES: u64 = 2 << 20;
/// A miss that begins at most this far behind the end of another one's runs forward from it.
const SLACK_BYTES: u64 = 128 << 10;
/// One part in so many of what was used of a run is read ahead.
const SHARE: u64 = 4;
/// Runs that are followed in one pack at a time.
const RUNS: usize = 4;

/// Bytes that are read before the first index page, and around those that follow; they double up to the most.
const PAGES_BYTES: u64 = 64 << 10;
const MAX_PAGES_BYTES: u64 = 512 << 10;

/// The latest runs of misses in one pack, the one that was used last at the end.
#[derive(Debug, Default)]
pub(super) struct ReadAhead {
    runs: Vec<Run>,
    /// What was read around the last page.
    pages: u64,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    /// Where the last fetch ended.
    end: u64,
    /// How much it fetched.
    window: u64,
    /// How much all of its fetches brought that was used, and all of the last one.
    asked: u64,
}

impl ReadAhead {
    /// How far a fetch should go that must have `missing`; `unasked` says how many bytes of a range were fetched for
    /// nothing so far.
    pub(super) fn window(
        &mut self,
        missing: &Range<u64>,
        unasked: impl Fn(Range<u64>) -> u64,
    ) -> Range<u64> {
        let len = missing.end - missing.start;
        let follows =
            |run: &Run| (run.end..=run.end.saturating_add(SLACK_BYTES)).contains(&missing.start);
        let known = self.runs.iter().rposition(follows);
        let run = known.map(|at| self.runs.remove(at));
        let mut asked = len;
        let window = run.map_or(len, |run| {
            let last = run.end.saturating_sub(run.window)..run.end;
            let unused = unasked(last);
            asked += run.asked.saturating_sub(unused);
            // It grows while what it brings is used, and no faster than the run has shown that it goes on.
            let grown = match unused <= run.window / 2 {
                true => run.window.max(len).saturating_mul(2),
                false => run.window / 2,
            };
            grown.min(len + asked / SHARE).min(MAX_WINDOW_BYTES)
        });
        let window = window.max(len);
        let end = missing.start.saturating_add(window);
        if self.runs.len() == RUNS {
            self.runs.remove(0);
        }
        asked += window - len;
        self.runs.push(Run { end, window, asked });
        missing.start..end
    }

    /// Where a fetch should begin and end that must have the index page in `missing`.
    pub(super) fn pages(&mut self, missing: &Range<u64>) -> Range<u64> {
        // Nothing the first time: what follows the last page is none.
        let after = self.pages;
        self.pages = (2 * self.pages).clamp(PAGES_BYTES, MAX_PAGES_BYTES);
        missing.start.saturating_sub(self.pages)..missing.end.saturating_add(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: u64 = 20_000;

    fn len(range: &Range<u64>) -> u64 {
        range.end - range.start
    }

    #[test]
    fn window_grows_while_misses_run_forward_but_not_beyond_a_share_of_the_run() {
        let mut ahead = ReadAhead::default();
        let (mut at, mut last, mut fetches) = (0, 0, 0);
        while last < MAX_WINDOW_BYTES {
            let window = ahead.window(&(at..at + FRAME), |_| 0);
            assert!(len(&window) >= FRAME && len(&window) >= last);
            assert!(len(&window) - FRAME <= (at + FRAME) / SHARE);
            (at, last) = (window.end, len(&window));
            fetches += 1;
        }
        assert_eq!(last, MAX_WINDOW_BYTES);
        assert!(fetches < 30, "{fetches}");
    }

    #[test]
    fn window_shrinks_while_hardly_anything_of_it_is_used() {
        let mut ahead = ReadAhead::default();
        let (mut at, mut last) = (0, 0);
        for _ in 0..20 {
            let window = ahead.window(&(at..at + FRAME), |_| 0);
            (at, last) = (window.end, len(&window));
        }
        for _ in 0..8 {
            let window = ahead.window(&(at..at + FRAME), |last| len(&last));
            assert!(len(&window) <= (last / 2).max(FRAME));
            (at, last) = (window.end, len(&window));
        }
        assert_eq!(last, FRAME);
    }

    #[test]
    fn misses_that_jump_about_fetch_themselves_alone() {
        let mut ahead = ReadAhead::default();
        for at in [50, 3, 41, 17, 29, 8] {
            let missing = at << 20..(at << 20) + 30_000;
            assert_eq!(ahead.window(&missing, |_| 0), missing);
        }
    }

    #[test]
    fn more_and_more_is_read_around_pages() {
        let mut ahead = ReadAhead::default();
        let missing = 10 << 20..(10 << 20) + 9000;
        let mut around = || {
            let found = ahead.pages(&missing);
            (missing.start - found.start, found.end - missing.end)
        };
        assert_eq!(around(), (PAGES_BYTES, 0));
        assert_eq!(around(), (2 * PAGES_BYTES, PAGES_BYTES));
        for _ in 0..3 {
            around();
        }
        assert_eq!(around(), (MAX_PAGES_BYTES, MAX_PAGES_BYTES));
    }

    #[test]
    fn runs_that_take_turns_are_told_apart() {
        let mut ahead = ReadAhead::default();
        let mut ends = [0, 100 << 20, 200 << 20];
        let mut windows = Vec::new();
        for _ in 0..4 {
            for end in &mut ends {
                let window = ahead.window(&(*end..*end + FRAME), |_| 0);
                windows.push(len(&window));
                *end = window.end;
            }
        }
        for round in windows.chunks(3) {
            assert_eq!(round, [round[0]; 3]);
        }
        assert!(windows[9] > windows[6] && windows[6] > windows[3] && windows[3] > windows[0]);
    }
}
