//! The hash that orders names in an indexed directory: half MD4 over signed bytes (Linux: `fs/ext4/hash.c`).
//!
//! Signed, like mke2fs on most machines, because `ext4-view` knows no other.

use super::format::HASH_SEED;

/// `s_def_hash_version` of that hash; the flag for signed bytes is kept apart.
pub(super) const HALF_MD4: u8 = 1;

/// Hash and second hash of a name. The lowest bit of the first is always clear.
pub(super) fn hash(name: &[u8]) -> (u32, u32) {
    /// Kept free for the end of a directory.
    const END: u32 = 0x7fff_ffff << 1;
    let mut state = HASH_SEED;
    let mut rest = name;
    loop {
        transform(&mut state, &words(rest));
        if rest.len() <= 32 {
            break;
        }
        rest = &rest[32..];
    }
    let hash = state[1] & !1;
    (if hash == END { END - 2 } else { hash }, state[2])
}

/// The first 32 bytes of what is left of a name, filled up with its length.
fn words(rest: &[u8]) -> [u32; 8] {
    // A name has at most 255 bytes.
    let len = u32::try_from(rest.len()).unwrap_or(0);
    let pad = (len | len << 8) << 16 | (len | len << 8);
    let mut words = [pad; 8];
    for (word, bytes) in words.iter_mut().zip(rest.chunks(4)) {
        *word = bytes
            .iter()
            .map(|byte| i32::from(byte.cast_signed()).cast_unsigned())
            .fold(pad, |word, byte| (word << 8).wrapping_add(byte));
    }
    words
}

fn transform(state: &mut [u32; 4], words: &[u32; 8]) {
    type Mix = fn(u32, u32, u32) -> u32;
    const ROUNDS: [(Mix, u32, [usize; 8], [u32; 4]); 3] = [
        (
            |x, y, z| z ^ (x & (y ^ z)),
            0,
            [0, 1, 2, 3, 4, 5, 6, 7],
            [3, 7, 11, 19],
        ),
        (
            |x, y, z| (x & y).wrapping_add((x ^ y) & z),
            0x5a82_7999,
            [1, 3, 5, 7, 0, 2, 4, 6],
            [3, 5, 9, 13],
        ),
        (
            |x, y, z| x ^ y ^ z,
            0x6ed9_eba1,
            [3, 7, 2, 6, 1, 5, 0, 4],
            [3, 9, 11, 15],
        ),
    ];
    let [mut a, mut b, mut c, mut d] = *state;
    for (mix, constant, order, shifts) in ROUNDS {
        for (step, &word) in order.iter().enumerate() {
            let sum = a
                .wrapping_add(mix(b, c, d))
                .wrapping_add(words[word])
                .wrapping_add(constant);
            (a, b, c, d) = (d, sum.rotate_left(shifts[step % 4]), b, c);
        }
    }
    for (state, value) in state.iter_mut().zip([a, b, c, d]) {
        *state = state.wrapping_add(value);
    }
}

#[cfg(test)]
mod tests;
