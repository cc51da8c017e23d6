//! PAX records: `LENGTH KEY=VALUE\n`, where only LENGTH ends a value.
//!
//! Values are binary (a capability may hold a newline), so they are never split at newlines.

use std::str;

use super::error::{EntryFault, TarFault};
use super::node::{Time, Xattrs};
use super::path::{MAX_NAME_LEN, printable};

/// Longest value of an extended attribute, in bytes (Linux: `XATTR_SIZE_MAX`).
const MAX_XATTR_VALUE: usize = 64 << 10;
const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// What the records before an entry say about it.
#[derive(Debug, Default)]
pub(super) struct Overrides {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Time>,
    pub(super) xattrs: Xattrs,
    pub(super) sparse: SparseRecords,
    /// The first attribute that no file system could hold; an error only where the entry is applied.
    pub(super) bad_xattr: Option<EntryFault>,
}

/// The records of GNU's three PAX formats for sparse files.
#[derive(Debug, Default)]
pub(super) struct SparseRecords {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) real_size: Option<u64>,
    /// Offsets and lengths in turn, formats 0.0 and 0.1.
    pub(super) map: Option<Vec<u64>>,
}

impl Overrides {
    /// Reads all records of one extended header; a later record replaces an earlier one.
    pub(super) fn parse(data: &[u8]) -> Result<Self, TarFault> {
        let mut overrides = Self::default();
        for_each_record(data, |key, value| overrides.take(key, value))?;
        Ok(overrides)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), TarFault> {
        if let Some(name) = key.strip_prefix(XATTR_PREFIX) {
            self.take_xattr(name, value);
            return Ok(());
        }
        if let Some(name) = key.strip_prefix(b"GNU.sparse.") {
            return self.sparse.take(name, key, value);
        }
        // An empty value takes a record back.
        let given = !value.is_empty();
        let number = || given.then(|| decimal(key, value)).transpose();
        match key {
            b"path" => self.path = given.then(|| value.to_vec()),
            b"linkpath" => self.link_path = given.then(|| value.to_vec()),
            b"size" => self.size = number()?,
            b"uid" => self.uid = number()?,
            b"gid" => self.gid = number()?,
            b"mtime" => self.mtime = given.then(|| time(key, value)).transpose()?,
            _ => {}
        }
        Ok(())
    }

    fn take_xattr(&mut self, name: &[u8], value: &[u8]) {
        if value.is_empty() {
            // Container tools read it so: an attribute without a value can't be written down.
            self.xattrs.remove(name);
            return;
        }
        let fits = !name.is_empty() && name.len() <= MAX_NAME_LEN && !name.contains(&0);
        if fits && value.len() <= MAX_XATTR_VALUE {
            self.xattrs.insert(name.into(), value.into());
        } else if self.bad_xattr.is_none() {
            let name = printable(&name[..name.len().min(MAX_NAME_LEN)]);
            self.bad_xattr = Some(EntryFault::Xattr { name });
        }
    }
}

impl SparseRecords {
    fn take(&mut self, name: &[u8], key: &[u8], value: &[u8]) -> Result<(), TarFault> {
        match name {
            b"major" => self.major = Some(decimal(key, value)?),
            b"minor" => self.minor = Some(decimal(key, value)?),
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.real_size = Some(decimal(key, value)?),
            b"numblocks" => self.map = Some(Vec::new()),
            b"offset" | b"numbytes" => {
                // Format 0.0 repeats the two keys in turn, which must stay in step.
                let map = self.map.get_or_insert_default();
                if map.len().is_multiple_of(2) != (name == b"offset") {
                    return Err(bad_value(key));
                }
                map.push(decimal(key, value)?);
            }
            b"map" => {
                let numbers = value.split(|b| *b == b',').filter(|n| !n.is_empty());
                self.map = Some(numbers.map(|n| decimal(key, n)).collect::<Result<_, _>>()?);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Checks a global header: comments are ignored, but what would change entries is refused.
///
/// Container tools ignore such records, GNU tar obeys them: one stream must not mean two trees.
pub(super) fn check_global(data: &[u8]) -> Result<(), TarFault> {
    for_each_record(data, |key, _| {
        let harmful = matches!(
            key,
            b"path" | b"linkpath" | b"size" | b"uid" | b"gid" | b"mtime"
        ) || key.starts_with(b"GNU.sparse.")
            || key.starts_with(XATTR_PREFIX);
        if harmful {
            let key = printable(key);
            return Err(TarFault::GlobalPax { key });
        }
        Ok(())
    })
}

fn for_each_record(
    mut data: &[u8],
    mut take: impl FnMut(&[u8], &[u8]) -> Result<(), TarFault>,
) -> Result<(), TarFault> {
    while !data.is_empty() {
        let (key, value, rest) = split_record(data).ok_or(TarFault::PaxRecord)?;
        take(key, value)?;
        data = rest;
    }
    Ok(())
}

/// Splits the first record into key, value, and what follows it.
fn split_record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    const MAX_LENGTH_DIGITS: usize = 10;
    let digits = data
        .iter()
        .take(MAX_LENGTH_DIGITS + 1)
        .position(|b| *b == b' ')?;
    let len: usize = ascii_number(&data[..digits])?.try_into().ok()?;
    let record = data.get(..len)?.get(digits + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|b| *b == b'=')?;
    (equals > 0).then(|| (&record[..equals], &record[equals + 1..], &data[len..]))
}

/// Decimal digits and nothing else: `str::parse` alone would take a plus sign.
pub(super) fn ascii_number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

fn decimal(key: &[u8], value: &[u8]) -> Result<u64, TarFault> {
    ascii_number(value).ok_or_else(|| bad_value(key))
}

/// Reads `[-]SECONDS[.FRACTION]`; digits below a nanosecond are dropped.
fn time(key: &[u8], value: &[u8]) -> Result<Time, TarFault> {
    let fault = || bad_value(key);
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let (whole, fraction) = match value.iter().position(|b| *b == b'.') {
        Some(dot) => (&value[..dot], &value[dot + 1..]),
        None => (value, &b""[..]),
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(fault());
    }
    let whole = ascii_number(whole).and_then(|n| i64::try_from(n).ok());
    let seconds = whole.ok_or_else(fault)?;
    let mut nanos = (0..9).fold(0u32, |nanos, place| {
        nanos * 10 + fraction.get(place).map_or(0, |b| u32::from(b - b'0'))
    });
    let mut seconds = if negative { -seconds } else { seconds };
    if negative && nanos > 0 {
        seconds -= 1;
        nanos = 1_000_000_000 - nanos;
    }
    Ok(Time { seconds, nanos })
}

fn bad_value(key: &[u8]) -> TarFault {
    TarFault::PaxValue {
        key: printable(key),
    }
}
