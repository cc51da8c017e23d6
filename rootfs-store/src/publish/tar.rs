//! Writes tar streams: POSIX headers (ustar), and PAX records for what does not fit into them.
//!
//! Invariant: the bytes of an entry follow from what it says and nothing else.

use std::io::{self, Write};

use crate::tree::{Attributes, Device, MAX_PAX_BYTES, Time};

const BLOCK: usize = 512;
/// Zeros that end a stream.
const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];
const NAME_BYTES: usize = 100;
const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// Types of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryKind {
    File = b'0' as isize,
    HardLink = b'1' as isize,
    Symlink = b'2' as isize,
    CharDevice = b'3' as isize,
    BlockDevice = b'4' as isize,
    Directory = b'5' as isize,
    Fifo = b'6' as isize,
    Records = b'x' as isize,
}

/// What an entry says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) path: &'a [u8],
    pub(super) kind: EntryKind,
    /// Target of a link.
    pub(super) target: &'a [u8],
    /// Bytes that follow.
    pub(super) size: u64,
    pub(super) attributes: &'a Attributes,
    pub(super) device: Device,
}

/// Why an entry can't be written.
#[derive(Debug)]
pub(super) enum EntryFault {
    Io(io::Error),
    /// This extended attribute has a name with `=` in it.
    XattrName(Box<[u8]>),
    /// Names and attributes take so many bytes.
    TooLarge(usize),
}

impl From<io::Error> for EntryFault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A tar stream that is being written.
#[derive(Debug)]
pub(super) struct TarWriter<W> {
    out: W,
    bytes: u64,
}

impl<W: Write> TarWriter<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, bytes: 0 }
    }

    /// Writes what an entry says; [`Self::data`] has to follow for as many bytes as it has, then [`Self::pad`].
    pub(super) fn entry(&mut self, entry: &Entry<'_>) -> Result<(), EntryFault> {
        let records = records(entry)?;
        if !records.is_empty() {
            if records.len() as u64 > MAX_PAX_BYTES {
                return Err(EntryFault::TooLarge(records.len()));
            }
            let plain = plain_attributes();
            self.data(&header(&Entry {
                path: b"././@PaxHeader",
                kind: EntryKind::Records,
                target: b"",
                size: records.len() as u64,
                attributes: &plain,
                device: NO_DEVICE,
            }))?;
            self.data(&records)?;
            self.pad()?;
        }
        Ok(self.data(&header(entry))?)
    }

    /// Says that what a lower layer has at `path` is removed; the last component is the file's, with a prefix.
    pub(super) fn whiteout(&mut self, path: &[u8]) -> Result<(), EntryFault> {
        self.entry(&Entry {
            path,
            kind: EntryKind::File,
            target: b"",
            size: 0,
            attributes: &plain_attributes(),
            device: NO_DEVICE,
        })
    }

    pub(super) fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// Fills the last block of an entry's data.
    pub(super) fn pad(&mut self) -> io::Result<()> {
        let used = self.bytes % BLOCK as u64;
        // Less than a block.
        let used = usize::try_from(used).unwrap_or(0);
        match used {
            0 => Ok(()),
            used => self.data(&END[used..BLOCK]),
        }
    }

    /// Ends the stream; returns its length.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        self.data(&END)?;
        self.out.flush()?;
        Ok(self.bytes)
    }
}

pub(super) const NO_DEVICE: Device = Device { major: 0, minor: 0 };

/// Attributes of what is no file.
fn plain_attributes() -> Attributes {
    Attributes {
        mode: 0o600,
        ..Attributes::implied_directory()
    }
}

/// Largest number that fits into so many octal digits.
const fn max_octal(digits: u32) -> u64 {
    (1 << (3 * digits)) - 1
}

const MAX_ID: u64 = max_octal(7);
const MAX_SIZE: u64 = max_octal(11);

/// The PAX records that an entry needs.
fn records(entry: &Entry<'_>) -> Result<Vec<u8>, EntryFault> {
    let mut records = Vec::new();
    let attributes = entry.attributes;
    if entry.path.len() > NAME_BYTES {
        put_record(&mut records, b"path", entry.path);
    }
    if entry.target.len() > NAME_BYTES {
        put_record(&mut records, b"linkpath", entry.target);
    }
    if entry.size > MAX_SIZE {
        put_record(&mut records, b"size", entry.size.to_string().as_bytes());
    }
    for (key, id) in [(&b"uid"[..], attributes.uid), (b"gid", attributes.gid)] {
        if u64::from(id) > MAX_ID {
            put_record(&mut records, key, id.to_string().as_bytes());
        }
    }
    let time = attributes.mtime;
    if time.nanos != 0 || header_time(time).is_none() {
        put_record(&mut records, b"mtime", decimal_time(time).as_bytes());
    }
    // The first name of a file has them, for all.
    let has_xattrs = entry.kind != EntryKind::HardLink;
    for (name, value) in attributes.xattrs.iter().filter(|_| has_xattrs) {
        if name.contains(&b'=') {
            return Err(EntryFault::XattrName(name.clone()));
        }
        // A record without a value takes the attribute away instead of making it empty.
        if !value.is_empty() {
            put_record(&mut records, &[XATTR_PREFIX, name].concat(), value);
        }
    }
    Ok(records)
}

/// Puts `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn put_record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while rest + len.to_string().len() != len {
        len = rest + len.to_string().len();
    }
    records.extend_from_slice(format!("{len} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// Seconds that fit into a header.
fn header_time(time: Time) -> Option<u64> {
    let seconds = u64::try_from(time.seconds).ok();
    seconds.filter(|seconds| *seconds <= MAX_SIZE)
}

/// `[-]SECONDS[.FRACTION]`.
fn decimal_time(time: Time) -> String {
    const NANOS: u32 = 1_000_000_000;
    let Time { seconds, nanos } = time;
    let (sign, whole, nanos) = match seconds < 0 && nanos > 0 {
        true => ("-", (seconds + 1).unsigned_abs(), NANOS - nanos),
        false if seconds < 0 => ("-", seconds.unsigned_abs(), nanos),
        false => ("", seconds.unsigned_abs(), nanos),
    };
    match nanos {
        0 => format!("{sign}{whole}"),
        _ => {
            let text = format!("{sign}{whole}.{nanos:09}");
            text.trim_end_matches('0').to_owned()
        }
    }
}

fn header(entry: &Entry<'_>) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let attributes = entry.attributes;
    put_text(&mut block[..NAME_BYTES], entry.path);
    put_octal(&mut block[100..108], u64::from(attributes.mode));
    // What does not fit is in a record.
    let id = |id: u32| Some(u64::from(id)).filter(|id| *id <= MAX_ID).unwrap_or(0);
    put_octal(&mut block[108..116], id(attributes.uid));
    put_octal(&mut block[116..124], id(attributes.gid));
    let size = Some(entry.size).filter(|size| *size <= MAX_SIZE);
    put_octal(&mut block[124..136], size.unwrap_or(0));
    let time = header_time(attributes.mtime);
    put_octal(&mut block[136..148], time.unwrap_or(0));
    block[156] = entry.kind as u8;
    put_text(&mut block[157..157 + NAME_BYTES], entry.target);
    block[257..265].copy_from_slice(b"ustar\x0000");
    put_octal(&mut block[329..337], u64::from(entry.device.major));
    put_octal(&mut block[337..345], u64::from(entry.device.minor));
    // The checksum counts its own field as spaces.
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    put_octal(&mut block[148..155], sum);
    block
}

/// Puts as much of a text as fits.
fn put_text(field: &mut [u8], text: &[u8]) {
    field
        .iter_mut()
        .zip(text)
        .for_each(|(to, from)| *to = *from);
}

/// Puts a number that fits as octal digits and a zero byte.
fn put_octal(field: &mut [u8], number: u64) {
    let width = field.len() - 1;
    let digits = format!("{number:0width$o}");
    put_text(&mut field[..width], digits.as_bytes());
    field[width] = 0;
}

#[cfg(test)]
mod tests;
