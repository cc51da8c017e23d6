//! Frames from the network to the guest.

use std::io;
use std::sync::Arc;

use super::header::HEADER_BYTES;
use super::rules::Rules;
use super::{MAX_FRAME_BYTES, MIN_FRAME_BYTES, NetBackend, NetCounters, OffloadHeader};
use crate::rate::RateGate;
use crate::virtio::{Chain, QueueError, ServedQueue, is_for_later};

/// Frames in a row before other events get their turn.
const MAX_FRAMES_A_TURN: u32 = 256;
/// The same for descriptors of the guest's buffers; the frame that passes this is finished.
const MAX_DESCRIPTORS_A_TURN: usize = 16 << 10;
/// The most descriptors that are looked at to find room for a frame. Linux uses one for each buffer of 1.5 KiB or
/// more, or 19 for the longest frame.
const MAX_DESCRIPTORS_A_FRAME: usize = 4 << 10;

/// Why no more frames are received for now.
pub(super) enum ReceiveEnd {
    /// The backend has none, or none before other events got their turn.
    NoFrame,
    /// The guest has no buffers for the next one.
    NoBuffer,
    /// The limits let no more pass for now.
    Limited,
    /// The network is gone.
    Gone(io::Error),
}

pub(super) struct Receiver {
    pub(super) rules: Rules,
    pub(super) gate: RateGate,
    counters: Arc<NetCounters>,
    /// Room for a header and the longest frame.
    packet: Vec<u8>,
    /// A frame in `packet` that has not been delivered yet.
    waiting: Option<Waiting>,
    /// Scratch space for the buffers of a frame.
    taken: Vec<(u16, Chain)>,
    /// Descriptors that were looked at in this turn.
    looked_at: usize,
}

#[derive(Clone, Copy)]
struct Waiting {
    length: usize,
    header: OffloadHeader,
    /// Whether the limits have let it pass.
    admitted: bool,
}

impl Receiver {
    pub(super) fn new(gate: RateGate, counters: Arc<NetCounters>) -> Self {
        Self {
            rules: Rules::default(),
            gate,
            counters,
            packet: vec![0; HEADER_BYTES + MAX_FRAME_BYTES],
            waiting: None,
            taken: Vec::new(),
            looked_at: 0,
        }
    }

    pub(super) fn reset(&mut self) {
        self.waiting = None;
        self.gate.forget();
    }

    /// Receives until there is a reason not to. Without a link, what comes is dropped.
    pub(super) fn run(
        &mut self,
        backend: &mut dyn NetBackend,
        queue: &mut ServedQueue,
        up: bool,
    ) -> Result<ReceiveEnd, QueueError> {
        self.looked_at = 0;
        for _ in 0..MAX_FRAMES_A_TURN {
            if self.looked_at > MAX_DESCRIPTORS_A_TURN {
                break;
            }
            if self.waiting.is_none() {
                match self.next(backend) {
                    Ok(()) => {}
                    Err(error) if is_for_later(&error) => return Ok(ReceiveEnd::NoFrame),
                    Err(error) => return Ok(ReceiveEnd::Gone(error)),
                }
            }
            if !up && self.waiting.take().is_some() {
                self.counters.receive_side().dropped("the link is down");
            }
            if let Some(waiting) = &mut self.waiting {
                waiting.admitted = waiting.admitted || self.gate.admits(1, waiting.length as u64);
                if !waiting.admitted {
                    return Ok(ReceiveEnd::Limited);
                }
                let waiting = *waiting;
                if !self.deliver(queue, waiting.length, waiting.header)? {
                    return Ok(ReceiveEnd::NoBuffer);
                }
                self.waiting = None;
            }
        }
        queue.kick_itself();
        Ok(ReceiveEnd::NoFrame)
    }

    /// Takes a frame from the backend, to wait for buffers or to be dropped.
    fn next(&mut self, backend: &mut dyn NetBackend) -> io::Result<()> {
        let mut header = OffloadHeader::default();
        let length = backend.receive(&mut self.packet[HEADER_BYTES..], &mut header)?;
        let dropped = |reason| self.counters.receive_side().dropped(reason);
        if length < MIN_FRAME_BYTES {
            dropped("shorter than its header");
        } else if length > self.rules.max_bytes {
            dropped("longer than the guest takes");
        } else if let Some(header) = header
            .checked(length, self.rules.offloads)
            .filter(|header| {
                let frame = &self.packet[HEADER_BYTES..HEADER_BYTES + length];
                self.rules.allow(frame, header)
            })
        {
            self.waiting = Some(Waiting {
                length,
                header,
                admitted: false,
            });
        } else {
            dropped("needs work that the guest does not do, or passes its MTU");
        }
        Ok(())
    }

    /// Puts the frame into buffers of the driver's; `false` if there are too few.
    fn deliver(
        &mut self,
        queue: &mut ServedQueue,
        length: usize,
        header: OffloadHeader,
    ) -> Result<bool, QueueError> {
        let needed = (HEADER_BYTES + length) as u64;
        self.taken.clear();
        let (mut room, mut descriptors) = (0, 0);
        while room < needed && (self.taken.is_empty() || self.rules.mergeable) {
            if self.taken.len() == queue.size() || descriptors > MAX_DESCRIPTORS_A_FRAME {
                break;
            }
            let Some((head, chain)) = queue.take()? else {
                queue.put_back(self.taken.len());
                return Ok(false);
            };
            room += chain.writable.len();
            descriptors += chain.descriptors;
            self.looked_at += chain.descriptors;
            self.taken.push((head, chain));
        }
        if room < needed {
            queue.put_back(self.taken.len());
            let reason = "longer than the guest's buffers";
            self.counters.receive_side().dropped(reason);
            return Ok(true);
        }
        self.fill(queue, length, header)?;
        self.counters.receive_side().passed(length);
        Ok(true)
    }

    /// Writes the frame to the buffers that were taken, which have room for it.
    fn fill(
        &mut self,
        queue: &mut ServedQueue,
        length: usize,
        header: OffloadHeader,
    ) -> Result<(), QueueError> {
        // A queue has far fewer buffers.
        let buffers = u16::try_from(self.taken.len()).unwrap_or(u16::MAX);
        self.packet[..HEADER_BYTES].copy_from_slice(&header.with_buffers(buffers));
        let mut rest = &self.packet[..HEADER_BYTES + length];
        let mut used = Vec::with_capacity(self.taken.len());
        for (head, chain) in &self.taken {
            let room = usize::try_from(chain.writable.len()).unwrap_or(usize::MAX);
            let (piece, others) = rest.split_at(rest.len().min(room));
            rest = others;
            let written = chain.writable.write(queue.memory(), 0, piece);
            let bytes = written.map_or(0, |()| u32::try_from(piece.len()).unwrap_or(0));
            used.push((*head, bytes));
        }
        queue.finish_together(&used)
    }
}
