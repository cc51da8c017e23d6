//! Gives the driver's pages to the host, on the device's thread.

use std::sync::Arc;

use vm_memory::GuestAddress;

use super::{Balloon, SharedBalloon};
use crate::memory::{self, Memory, PAGE_BYTES};
use crate::virtio::{
    COMMON_FEATURES, Chain, DeviceInfo, Event, Handler, LiveConfig, QueueError, ServedQueue,
    Verdict,
};

const DEVICE_ID: u32 = 5;
/// Features of virtio 1.2, section 5.5.3, by their bit.
const DEFLATE_ON_OOM: u32 = 2;
const PAGE_REPORTING: u32 = 5;
/// Inflate, deflate and reporting queue. Drivers count only the queues of features that they took.
const QUEUE_SIZES: &[u16] = &[128, 128, 128];
/// The most page numbers in one request; Linux sends 256.
const MAX_PAGES: usize = 4096;
/// How many runs of pages are given back in a turn, before the thread looks whether it should pause or stop; the
/// request that passes this is finished.
const MAX_RUNS_A_TURN: usize = 256;
/// Page numbers that are looked at together.
const BATCH: usize = 256;
const NUMBER_BYTES: usize = 4;

pub(crate) fn info() -> DeviceInfo {
    DeviceInfo {
        id: DEVICE_ID,
        features: COMMON_FEATURES | 1 << DEFLATE_ON_OOM | 1 << PAGE_REPORTING,
        queue_sizes: QUEUE_SIZES,
        config: Vec::new(),
    }
}

/// The device.
#[derive(Debug)]
pub(crate) struct BalloonDevice {
    balloon: SharedBalloon,
}

impl BalloonDevice {
    pub(crate) fn new(balloon: SharedBalloon) -> Self {
        Self { balloon }
    }
}

impl Handler for BalloonDevice {
    fn activate(&mut self, _features: u64) {}

    fn reset(&mut self) {}

    fn live_config(&self) -> Option<Arc<dyn LiveConfig>> {
        Some(Arc::clone(&self.balloon) as Arc<Balloon> as Arc<dyn LiveConfig>)
    }

    fn serve(&mut self, _event: Event, queues: &mut [ServedQueue]) -> Result<(), QueueError> {
        let [inflate, deflate, report] = queues else {
            return Ok(());
        };
        // Pages come back by being touched.
        deflate.drain(|_, _| Verdict::Used(0))?;
        drain_in_turns(inflate, take_numbered)?;
        drain_in_turns(report, take_reported)
    }
}

/// Takes requests until `take` has given back enough runs of pages for a turn.
fn drain_in_turns(
    queue: &mut ServedQueue,
    take: impl Fn(&Memory, &Chain) -> usize,
) -> Result<(), QueueError> {
    let mut runs = 0;
    queue.drain(|memory, chain| {
        if runs >= MAX_RUNS_A_TURN {
            return Verdict::Later;
        }
        runs += take(memory, chain);
        Verdict::Used(0)
    })?;
    if runs >= MAX_RUNS_A_TURN {
        queue.kick_itself();
    }
    Ok(())
}

/// Gives back the pages that are the request's buffers; returns how many buffers.
fn take_reported(memory: &Memory, chain: &Chain) -> usize {
    let mut runs = 0;
    for (start, length) in chain.writable.ranges() {
        memory::give_back(memory, start, u64::from(length));
        runs += 1;
    }
    runs
}

/// Gives back the pages whose numbers are in the request; returns how many runs they make.
fn take_numbered(memory: &Memory, chain: &Chain) -> usize {
    let mut runs = 0;
    let count = usize::try_from(chain.readable.len()).map_or(0, |bytes| bytes / NUMBER_BYTES);
    if count > MAX_PAGES {
        tracing::debug!(
            count,
            "refused to inflate a balloon by so many pages at once"
        );
        return runs;
    }
    for first in (0..count).step_by(BATCH) {
        let mut bytes = [0; BATCH * NUMBER_BYTES];
        let bytes = &mut bytes[..BATCH.min(count - first) * NUMBER_BYTES];
        let at = (first * NUMBER_BYTES) as u64;
        if chain.readable.read(memory, at, bytes).is_err() {
            return runs;
        }
        let (numbers, _) = bytes.as_chunks::<NUMBER_BYTES>();
        let mut numbers: Vec<u32> = numbers.iter().map(|n| u32::from_le_bytes(*n)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        for run in numbers.chunk_by(|page, next| page.checked_add(1) == Some(*next)) {
            let start = GuestAddress(u64::from(run[0]) * PAGE_BYTES);
            memory::give_back(memory, start, run.len() as u64 * PAGE_BYTES);
            runs += 1;
        }
    }
    runs
}
