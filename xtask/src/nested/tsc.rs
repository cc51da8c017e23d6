//! The frequency of the TSC, which an emulated machine has from the host.
//!
//! A kernel measures it when it boots. On a busy host the emulator may be held up in the middle of that, and clocks
//! then run several times too fast.

#![expect(unsafe_code, reason = "the TSC is read by an instruction")]

use std::arch::x86_64::_rdtsc;
use std::thread;
use std::time::{Duration, Instant};

const PERIOD: Duration = Duration::from_millis(20);
/// How often it is measured.
const TRIES: u32 = 5;

/// In kHz, to about a hundredth of a percent.
pub(super) fn khz() -> u64 {
    // What holds a try up between the two clocks makes it too high or too low, and the others not.
    let mut tries: Vec<_> = (0..TRIES).map(|_| measure()).collect();
    tries.sort_unstable();
    tries[tries.len() / 2]
}

fn measure() -> u64 {
    // SAFETY: every x86-64 processor has the instruction.
    let read = || (Instant::now(), unsafe { _rdtsc() });
    let (begun, first) = read();
    thread::sleep(PERIOD);
    let (ended, last) = read();
    let micros = u64::try_from((ended - begun).as_micros()).unwrap_or(u64::MAX);
    last.wrapping_sub(first) * 1000 / micros.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequency_is_that_of_a_processor_and_stays() {
        let (one, two) = (khz(), khz());
        assert!((500_000..10_000_000).contains(&one), "{one} kHz");
        assert!(one.abs_diff(two) < one / 100, "{one} and {two} kHz");
    }
}
