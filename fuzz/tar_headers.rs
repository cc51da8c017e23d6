//! Tar headers of inputs, for targets whose inputs are tar streams.

/// Bytes of a block.
pub const BLOCK: usize = 512;

/// Puts the checksums of all headers right, or hardly any input would get far.
pub fn fix_checksums(stream: &mut [u8]) {
    let mut at = 0usize;
    while let Some(block) = stream.get_mut(at..at.saturating_add(BLOCK)) {
        if block.iter().all(|b| *b == 0) {
            return;
        }
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        // At most eleven digits, so no size overflows.
        let digits = block[124..135].iter().filter(|b| b.is_ascii_digit());
        let size = digits.fold(0usize, |size, digit| size * 8 + usize::from(digit - b'0'));
        at = at
            .saturating_add(BLOCK)
            .saturating_add(size.next_multiple_of(BLOCK));
    }
}
