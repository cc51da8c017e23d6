//! SHA-256 of bytes that may begin with zeros, as a block does that a guest wrote somewhere into an empty chunk.
//!
//! Invariant: the result is that of hashing all bytes; only the states after so many zeros are computed once.

use std::sync::LazyLock;

use sha2::{Digest as _, Sha256};

/// Zeros between two states: the block of most guests' file systems.
const STEP: usize = 4096;
/// Most steps that are kept: four chunks of the default size.
const MAX_STEPS: usize = 64;

/// The state of SHA-256 after each number of steps.
static AFTER_ZEROS: LazyLock<[Sha256; MAX_STEPS + 1]> = LazyLock::new(|| {
    let mut state = Sha256::new();
    std::array::from_fn(|steps| {
        if steps > 0 {
            state.update([0; STEP]);
        }
        state.clone()
    })
});

/// The SHA-256 of `bytes`.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let (blocks, _) = bytes.as_chunks::<STEP>();
    let blocks = blocks.iter().take(MAX_STEPS);
    let zeros = blocks.take_while(|block| is_zero(*block)).count();
    if zeros == 0 {
        return Sha256::digest(bytes).into();
    }
    let mut state = AFTER_ZEROS[zeros].clone();
    state.update(&bytes[zeros * STEP..]);
    state.finalize().into()
}

/// Whether `bytes` are all zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // Whole words at a time, in a form that the compiler turns into vector instructions.
    let (words, rest) = bytes.as_chunks::<64>();
    words
        .iter()
        .all(|word| word.iter().fold(0, |all, byte| all | byte) == 0)
        && rest.iter().all(|byte| *byte == 0)
}
