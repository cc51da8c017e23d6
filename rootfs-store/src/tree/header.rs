//! Fields of one 512-byte tar header, in the formats V7, ustar, star and GNU.

use super::error::TarFault;
use super::node::Time;

pub(super) const BLOCK_BYTES: usize = 512;

/// One header block whose checksum is right.
#[derive(Debug)]
pub(super) struct Header<'a> {
    block: &'a [u8; BLOCK_BYTES],
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    V7,
    Ustar,
    Star,
    Gnu,
}

impl<'a> Header<'a> {
    pub(super) fn parse(block: &'a [u8; BLOCK_BYTES]) -> Result<Self, TarFault> {
        let expected = number(&block[148..156], "checksum")?;
        // Old writers summed signed bytes.
        let sum = |value: fn(u8) -> i64| -> i64 {
            let fields = block[..148].iter().chain(&block[156..]);
            fields.map(|b| value(*b)).sum::<i64>() + 8 * i64::from(b' ')
        };
        let unsigned = sum(i64::from);
        let signed = sum(|b| i64::from(b.cast_signed()));
        if expected != unsigned && expected != signed {
            return Err(TarFault::Checksum);
        }
        let format = match (&block[257..263], &block[263..265], &block[508..512]) {
            (b"ustar\0", _, b"tar\0") => Format::Star,
            (b"ustar\0", _, _) => Format::Ustar,
            (b"ustar ", b" \0", _) => Format::Gnu,
            _ => Format::V7,
        };
        Ok(Self { block, format })
    }

    pub(super) fn type_flag(&self) -> u8 {
        self.block[156]
    }

    pub(super) fn name(&self) -> Vec<u8> {
        let name = text(&self.block[..100]);
        let prefix = match self.format {
            Format::Ustar => text(&self.block[345..500]),
            Format::Star => text(&self.block[345..476]),
            Format::V7 | Format::Gnu => b"",
        };
        if prefix.is_empty() {
            return name.to_vec();
        }
        [prefix, b"/", name].concat()
    }

    pub(super) fn link_name(&self) -> Vec<u8> {
        text(&self.block[157..257]).to_vec()
    }

    /// The permission bits; writers put the file's type above them.
    pub(super) fn mode(&self) -> Result<u16, TarFault> {
        let mode = number(&self.block[100..108], "mode")?;
        Ok(u16::try_from(mode & 0o7777).unwrap_or(0))
    }

    pub(super) fn uid(&self) -> Result<u64, TarFault> {
        unsigned(&self.block[108..116], "uid")
    }

    pub(super) fn gid(&self) -> Result<u64, TarFault> {
        unsigned(&self.block[116..124], "gid")
    }

    pub(super) fn size(&self) -> Result<u64, TarFault> {
        unsigned(&self.block[124..136], "size")
    }

    pub(super) fn mtime(&self) -> Result<Time, TarFault> {
        let seconds = number(&self.block[136..148], "mtime")?;
        Ok(Time { seconds, nanos: 0 })
    }

    pub(super) fn device(&self) -> Result<(u32, u32), TarFault> {
        if self.format == Format::V7 {
            return Ok((0, 0));
        }
        let part = |range: std::ops::Range<usize>, field| {
            u32::try_from(number(&self.block[range], field)?)
                .map_err(|_| TarFault::Number { field })
        };
        Ok((part(329..337, "major")?, part(337..345, "minor")?))
    }

    /// The four pieces of a GNU sparse file's map that fit here, whether more blocks follow, and its real size.
    pub(super) fn gnu_sparse(&self) -> Result<(&'a [u8], bool, u64), TarFault> {
        if self.format != Format::Gnu {
            return Err(TarFault::SparseMap);
        }
        let real_size = unsigned(&self.block[483..495], "realsize")?;
        Ok((&self.block[386..482], self.block[482] != 0, real_size))
    }
}

/// A field up to its first NUL.
fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    &field[..end]
}

/// Reads a field that can't be negative.
pub(super) fn unsigned(field: &[u8], name: &'static str) -> Result<u64, TarFault> {
    u64::try_from(number(field, name)?).map_err(|_| TarFault::Number { field: name })
}

/// Reads octal digits between blanks, or GNU's base-256 two's complement.
fn number(field: &[u8], name: &'static str) -> Result<i64, TarFault> {
    let fault = || TarFault::Number { field: name };
    let Some((&first, rest)) = field.split_first() else {
        return Err(fault());
    };
    if first & 0x80 != 0 {
        // Bit 6 of the first byte is the sign.
        let start = i64::from(((first << 1).cast_signed()) >> 1);
        return rest.iter().try_fold(start, |value, byte| {
            let shifted = value.checked_mul(256).ok_or_else(fault)?;
            Ok(shifted | i64::from(*byte))
        });
    }
    let digits = text(field.trim_ascii()).trim_ascii();
    digits.iter().try_fold(0i64, |value, digit| match digit {
        b'0'..=b'7' => value
            .checked_mul(8)
            .map(|v| v + i64::from(digit - b'0'))
            .ok_or_else(fault),
        _ => Err(fault()),
    })
}
