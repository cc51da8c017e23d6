//! Choices that follow from bytes, so that whoever makes bytes up makes up what is chosen.

/// Bytes that are used up by choosing; when there are none left, the first of everything is chosen.
pub(super) struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from(self.u16()) | u32::from(self.u16()) << 16
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from(self.u32()) | u64::from(self.u32()) << 32
    }

    /// A number below `limit`, which is at most 256 and not zero.
    pub(super) fn below(&mut self, limit: u16) -> u16 {
        u16::from(self.byte()) % limit
    }

    /// Whether something happens that does once in `times`.
    pub(super) fn once_in(&mut self, times: u16) -> bool {
        self.below(times) == times - 1
    }

    pub(super) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()]
    }
}
