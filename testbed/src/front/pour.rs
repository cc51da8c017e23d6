//! Bodies on their way through, and what may happen to them.

use std::io::{self, Read};
use std::time::Duration;

use super::{Fault, Shared};

/// How many bytes are passed on at once, at most.
const PIECE_BYTES: usize = 64 << 10;
/// How many pieces a slow body has in a second.
const SLOW_PIECES_PER_S: u32 = 20;

/// What happens to a body.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// It ends after so many bytes.
    cut_at: Option<u64>,
    flip_at: Option<u64>,
    stall: Option<(u64, Duration)>,
    bytes_per_s: Option<u64>,
}

impl Shape {
    pub(super) fn of_request(fault: Option<&Fault>) -> Self {
        let mut shape = Self::default();
        match fault {
            Some(Fault::CutRequest(at)) => shape.cut_at = Some(*at),
            Some(Fault::SlowBody { bytes_per_s }) => shape.bytes_per_s = Some(*bytes_per_s),
            _ => {}
        }
        shape
    }

    pub(super) fn of_answer(fault: Option<&Fault>) -> Self {
        let mut shape = Self::default();
        match fault {
            Some(Fault::TruncateBody(at)) => shape.cut_at = Some(*at),
            Some(Fault::CorruptBody(at)) => shape.flip_at = Some(*at),
            Some(Fault::StallBody { at, pause }) => shape.stall = Some((*at, *pause)),
            Some(Fault::SlowBody { bytes_per_s }) => shape.bytes_per_s = Some(*bytes_per_s),
            _ => {}
        }
        shape
    }

    /// Lets it end after `bytes`, if it does not end before.
    pub(super) fn cut(&mut self, bytes: u64) {
        self.cut_at = Some(self.cut_at.map_or(bytes, |at| at.min(bytes)));
    }

    /// How many bytes may be passed on at once after `done`.
    fn next(&self, done: u64) -> usize {
        let stops = [self.cut_at, self.stall.map(|(at, _)| at)];
        let stops = stops.into_iter().flatten().filter(|at| *at > done);
        let slow = self
            .bytes_per_s
            .map(|rate| (rate / u64::from(SLOW_PIECES_PER_S)).max(1));
        let most = stops.map(|at| at - done).chain(slow).min();
        let most = most.and_then(|most| usize::try_from(most).ok());
        most.map_or(PIECE_BYTES, |most| most.min(PIECE_BYTES))
    }
}

/// Passes `body` to `sink` in `shape`. Returns whether all of it was passed.
pub(super) fn pour(
    body: &mut impl Read,
    shape: &Shape,
    shared: &Shared,
    mut sink: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<bool> {
    let mut buffer = vec![0; PIECE_BYTES];
    let mut done = 0;
    loop {
        if shape.cut_at == Some(done) {
            // A body that ends right here was not cut.
            return Ok(body.read(&mut buffer[..1])? == 0);
        }
        if let Some((at, pause)) = shape.stall
            && at == done
        {
            shared.pause(pause);
        }
        let read = body.read(&mut buffer[..shape.next(done)])?;
        if read == 0 {
            return Ok(true);
        }
        let piece = &mut buffer[..read];
        if let Some(flip) = shape.flip_at.and_then(|at| at.checked_sub(done))
            && let Ok(flip) = usize::try_from(flip)
            && let Some(byte) = piece.get_mut(flip)
        {
            *byte = !*byte;
        }
        sink(piece)?;
        done += read as u64;
        if let Some(rate) = shape.bytes_per_s {
            let nanos = (read as u64).saturating_mul(1_000_000_000) / rate.max(1);
            shared.pause(Duration::from_nanos(nanos));
        }
    }
}
