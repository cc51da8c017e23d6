//! Frames from the guest to the network.

use std::io;
use std::sync::Arc;

use super::header::HEADER_BYTES;
use super::rules::Rules;
use super::{MAX_FRAME_BYTES, MIN_FRAME_BYTES, NetBackend, NetCounters, OffloadHeader};
use crate::memory::Memory;
use crate::rate::RateGate;
use crate::virtio::{Chain, QueueError, ServedQueue, Verdict, is_for_later};

const OVER_MTU: &str = "longer than the MTU allows";

/// Why no more frames are sent for now.
pub(super) enum SendEnd {
    /// The guest has none.
    NoFrame,
    /// The backend takes none.
    Blocked,
    /// The limits let no more pass for now.
    Limited,
    /// The network is gone.
    Gone(io::Error),
}

pub(super) struct Transmitter {
    pub(super) rules: Rules,
    pub(super) gate: RateGate,
    /// The length of the next frame, if the limits have let it pass, but the backend did not take it.
    admitted: Option<usize>,
    counters: Arc<NetCounters>,
    /// Room for the longest frame.
    frame: Vec<u8>,
}

impl Transmitter {
    pub(super) fn new(gate: RateGate, counters: Arc<NetCounters>) -> Self {
        Self {
            rules: Rules::default(),
            gate,
            admitted: None,
            counters,
            frame: vec![0; MAX_FRAME_BYTES],
        }
    }

    pub(super) fn reset(&mut self) {
        self.admitted = None;
        self.gate.forget();
    }

    /// Sends until there is a reason not to. Without a network or a link, the guest's frames are dropped.
    pub(super) fn run(
        &mut self,
        backend: &mut dyn NetBackend,
        queue: &mut ServedQueue,
        connected: bool,
        up: bool,
    ) -> Result<SendEnd, QueueError> {
        let mut end = SendEnd::NoFrame;
        queue.drain(|memory, chain| {
            let is_lost = !connected || !up || matches!(end, SendEnd::Gone(_));
            let (verdict, news) = self.send(backend, memory, chain, is_lost);
            end = news.unwrap_or(std::mem::replace(&mut end, SendEnd::NoFrame));
            verdict
        })?;
        if connected && !matches!(end, SendEnd::Gone(_)) {
            match backend.flush() {
                Ok(()) => {}
                Err(error) if is_for_later(&error) => end = SendEnd::Blocked,
                Err(error) => end = SendEnd::Gone(error),
            }
        }
        Ok(end)
    }

    fn send(
        &mut self,
        backend: &mut dyn NetBackend,
        memory: &Memory,
        chain: &Chain,
        is_lost: bool,
    ) -> (Verdict, Option<SendEnd>) {
        let dropped = |reason| self.counters.send_side().dropped(reason);
        let used = Verdict::Used(0);
        let (frame, header) = match read(memory, chain, &self.rules, &mut self.frame) {
            Ok(frame) => frame,
            Err(reason) => {
                dropped(reason);
                return (used, None);
            }
        };
        if is_lost {
            dropped("there is no network");
            return (used, None);
        }
        // The driver can exchange a frame that waits, so only one of that length has passed.
        let is_admitted = self.admitted.take() == Some(frame.len());
        if !is_admitted && !self.gate.admits(1, frame.len() as u64) {
            return (Verdict::Later, Some(SendEnd::Limited));
        }
        match backend.send(frame, &header) {
            Ok(()) => {
                self.counters.send_side().passed(frame.len());
                (used, None)
            }
            Err(error) if is_for_later(&error) => {
                self.admitted = Some(frame.len());
                (Verdict::Later, Some(SendEnd::Blocked))
            }
            Err(error) => {
                dropped("the network is gone");
                (used, Some(SendEnd::Gone(error)))
            }
        }
    }
}

/// The frame in `chain`, copied to `target`, with its header.
fn read<'a>(
    memory: &Memory,
    chain: &Chain,
    rules: &Rules,
    target: &'a mut [u8],
) -> Result<(&'a [u8], OffloadHeader), &'static str> {
    let length = chain.readable.len().checked_sub(HEADER_BYTES as u64);
    let length = usize::try_from(length.unwrap_or(0)).unwrap_or(usize::MAX);
    if length < MIN_FRAME_BYTES {
        return Err("shorter than its header");
    }
    if length > rules.max_bytes {
        return Err(OVER_MTU);
    }
    let mut header = [0; HEADER_BYTES];
    let frame = &mut target[..length];
    chain
        .readable
        .read(memory, 0, &mut header)
        .and_then(|()| chain.readable.read(memory, HEADER_BYTES as u64, frame))
        .map_err(|_| "not in guest memory")?;
    let header = OffloadHeader::from_bytes(header)
        .without_device_bits()
        .checked(length, rules.offloads)
        .ok_or("malformed, or needs work that was not negotiated")?;
    if !rules.allow(frame, &header) {
        return Err(OVER_MTU);
    }
    Ok((frame, header))
}
