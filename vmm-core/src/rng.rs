//! The virtio entropy device (virtio 1.2, section 5.4).

#![expect(unsafe_code, reason = "getrandom has no safe interface in libc")]

use crate::memory::Memory;
use crate::virtio::{
    COMMON_FEATURES, Chain, DeviceInfo, Event, Handler, QueueError, ServedQueue, Verdict,
};

const DEVICE_ID: u32 = 4;
const QUEUE_SIZES: &[u16] = &[64];
/// The most random bytes given for one request; the driver asks again for more.
const MAX_BYTES: usize = 4096;

pub(crate) fn info() -> DeviceInfo {
    DeviceInfo {
        id: DEVICE_ID,
        features: COMMON_FEATURES,
        queue_sizes: QUEUE_SIZES,
        config: Vec::new(),
    }
}

/// Fills the driver's buffers from the host kernel's random generator.
#[derive(Debug)]
pub(crate) struct Entropy;

impl Handler for Entropy {
    fn activate(&mut self, _features: u64) {}

    fn reset(&mut self) {}

    fn serve(&mut self, _event: Event, queues: &mut [ServedQueue]) -> Result<(), QueueError> {
        for queue in queues {
            queue.drain(fill)?;
        }
        Ok(())
    }
}

fn fill(memory: &Memory, chain: &Chain) -> Verdict {
    let mut random = [0; MAX_BYTES];
    let length = usize::try_from(chain.writable.len()).map_or(MAX_BYTES, |len| len.min(MAX_BYTES));
    let written = host_random(&mut random[..length]);
    match chain.writable.write(memory, 0, &random[..written]) {
        Ok(()) => Verdict::Used(u32::try_from(written).unwrap_or(0)),
        Err(_) => Verdict::Used(0),
    }
}

/// Fills the start of `target` with random bytes; returns how many.
fn host_random(target: &mut [u8]) -> usize {
    // SAFETY: the pointer and length are those of a slice that is borrowed for the call.
    let written = unsafe { libc::getrandom(target.as_mut_ptr().cast(), target.len(), 0) };
    usize::try_from(written).unwrap_or(0)
}
