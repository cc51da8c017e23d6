//! Numbers that look random and are the same in every run (xorshift64).

use crate::BLOCK;

/// A sequence of numbers that its seed decides.
#[derive(Debug, Clone)]
pub struct Numbers(u64);

impl Numbers {
    /// The sequence of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // Zero would stay zero; odd factors spread neighbouring seeds.
        Self(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`, which is not zero.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next_u64() % end
    }

    /// The offset of a whole block below `bytes`, which is at least one block.
    pub fn block_below(&mut self, bytes: u64) -> u64 {
        self.below(bytes / BLOCK as u64) * BLOCK as u64
    }

    /// Fills `buffer` with bytes that compress to about a half, as programs do.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for piece in buffer.chunks_mut(16) {
            let (random, same) = piece.split_at_mut(piece.len().min(8));
            random.copy_from_slice(&self.next_u64().to_le_bytes()[..random.len()]);
            same.copy_from_slice(&b"the same"[..same.len()]);
        }
    }

    /// Puts `items` into another order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = usize::try_from(self.below(last as u64 + 1)).unwrap_or(0);
            items.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_again_and_others_other_ones() {
        let of = |seed| {
            let mut numbers = Numbers::new(seed);
            [numbers.next_u64(), numbers.next_u64()]
        };
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
        assert_ne!(of(0)[0], 0);
    }

    #[test]
    fn shuffled_items_are_all_there() {
        let mut items: Vec<u64> = (0..100).collect();
        Numbers::new(1).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn content_compresses_to_about_a_half() {
        let mut bytes = vec![0; 1 << 16];
        Numbers::new(1).fill(&mut bytes);
        let packed = zstd::bulk::compress(&bytes, 1).unwrap().len();
        assert!(packed > bytes.len() / 3 && packed < bytes.len() * 3 / 4);
    }
}
