//! What a header says, with what stands in front of it.
//!
//! Invariant: no more than [`MAX_EXTENSION`] bytes of each kind of extension are held.

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::super::ArchiveError;
use super::super::name::MAX_NAME;

/// The longest extension: some attributes, or a name.
const MAX_EXTENSION: u64 = 64 << 10;
const TOO_LONG: &str = "is described at too great a length";

/// An entry as it is to be made.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Seconds since 1970.
    pub(super) modified: i64,
    pub(super) size: u64,
}

#[derive(Debug)]
pub(super) enum Kind {
    File,
    Folder,
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
    /// What is not copied.
    Special,
}

/// What stands in front of the header that it is about.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Option<Vec<u8>>,
}

impl Extensions {
    pub(super) fn is_empty(&self) -> bool {
        self.name.is_none() && self.link.is_none() && self.pax.is_none()
    }

    /// Takes `entry` if it is one of these.
    pub(super) fn take<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
    ) -> Result<bool, ArchiveError> {
        let slot = match entry.header().entry_type() {
            EntryType::GNULongName => &mut self.name,
            EntryType::GNULongLink => &mut self.link,
            EntryType::XHeader => &mut self.pax,
            _ => return Ok(false),
        };
        let shown = entry.path_bytes().into_owned();
        if slot.is_some() {
            return Err(ArchiveError::refused(&shown, "is described twice"));
        }
        let size = entry
            .header()
            .entry_size()
            .map_err(ArchiveError::entry("read the header of", &shown))?;
        if size > MAX_EXTENSION {
            return Err(ArchiveError::refused(&shown, TOO_LONG));
        }
        let mut bytes = Vec::new();
        let read = entry.take(MAX_EXTENSION).read_to_end(&mut bytes);
        read.and_then(|count| match count as u64 == size {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        })
        .map_err(ArchiveError::entry("read the header of", &shown))?;
        *slot = Some(bytes);
        Ok(true)
    }

    /// What `header` and these say together; `None` if it is about no entry.
    pub(super) fn describe(self, header: &Header) -> Result<Option<Entry>, ArchiveError> {
        let mut name = match self.name {
            Some(name) => without_end(name),
            None => header.path_bytes().into_owned(),
        };
        let mut link = match self.link {
            Some(link) => Some(without_end(link)),
            None => header.link_name_bytes().map(|link| link.into_owned()),
        };
        let number = |number: io::Result<u64>| {
            number.map_err(ArchiveError::entry(
                "read the header of",
                header.path_bytes().as_ref(),
            ))
        };
        let size = number(header.entry_size())?;
        let (mut uid, mut gid) = (number(header.uid())?, number(header.gid())?);
        let mut pax = self.pax.as_deref().unwrap_or_default();
        while !pax.is_empty() {
            let record = pax_record(&mut pax);
            let (key, value) = record
                .ok_or_else(|| ArchiveError::refused(&name, "has attributes that are none"))?;
            match key {
                b"path" => name = value.to_vec(),
                b"linkpath" => link = Some(value.to_vec()),
                b"uid" => uid = decimal(value, &name)?,
                b"gid" => gid = decimal(value, &name)?,
                b"size" if decimal(value, &name)? != size => {
                    return Err(ArchiveError::refused(
                        &name,
                        "has two sizes: pack it in the GNU format",
                    ));
                }
                key if key.starts_with(b"GNU.sparse.") => return Err(sparse(&name)),
                _ => {}
            }
        }
        let Some(kind) = kind(header.entry_type(), &name, link)? else {
            return match size > MAX_EXTENSION {
                true => Err(ArchiveError::refused(&name, TOO_LONG)),
                false => Ok(None),
            };
        };
        if size > 0 && !matches!(kind, Kind::File) {
            return Err(ArchiveError::refused(&name, "is no file, and has bytes"));
        }
        let id = |id: u64| {
            u32::try_from(id).map_err(|_| ArchiveError::refused(&name, "has an owner that is none"))
        };
        Ok(Some(Entry {
            kind,
            mode: header
                .mode()
                .map_err(ArchiveError::entry("read the header of", &name))?,
            uid: id(uid)?,
            gid: id(gid)?,
            // What is no time is the earliest.
            modified: header
                .mtime()
                .ok()
                .and_then(|time| i64::try_from(time).ok())
                .unwrap_or(0),
            size,
            name,
        }))
    }
}

fn kind(kind: EntryType, name: &[u8], link: Option<Vec<u8>>) -> Result<Option<Kind>, ArchiveError> {
    let target = || match link {
        Some(target) if (1..=MAX_NAME).contains(&target.len()) && !target.contains(&0) => {
            Ok(target)
        }
        _ => Err(ArchiveError::refused(
            name,
            "is a link to nothing that can be",
        )),
    };
    Ok(Some(match kind {
        // Old archives mark folders by their names alone.
        EntryType::Regular | EntryType::Continuous if name.ends_with(b"/") => Kind::Folder,
        EntryType::Regular | EntryType::Continuous => Kind::File,
        EntryType::Directory => Kind::Folder,
        EntryType::Symlink => Kind::Symlink(target()?),
        EntryType::Link => Kind::HardLink(target()?),
        EntryType::Char | EntryType::Block | EntryType::Fifo => Kind::Special,
        // Said of all entries: comments, mostly.
        EntryType::XGlobalHeader => return Ok(None),
        EntryType::GNUSparse => return Err(sparse(name)),
        _ => return Err(ArchiveError::refused(name, "is of an unknown kind")),
    }))
}

fn sparse(name: &[u8]) -> ArchiveError {
    ArchiveError::refused(name, "is a sparse file: pack it as a plain one")
}

/// A long name has an end of its own.
fn without_end(mut name: Vec<u8>) -> Vec<u8> {
    if name.last() == Some(&0) {
        name.pop();
    }
    name
}

fn decimal(value: &[u8], name: &[u8]) -> Result<u64, ArchiveError> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| ArchiveError::refused(name, "has a number that is none"))
}

/// Takes the first record, `LENGTH KEY=VALUE` and a line feed; values may have line feeds, too.
fn pax_record<'a>(records: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let digits = records.iter().position(|byte| *byte == b' ')?;
    let len: usize = std::str::from_utf8(&records[..digits]).ok()?.parse().ok()?;
    let record = records.get(digits + 1..len)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    *records = &records[len..];
    Some((&record[..equals], &record[equals + 1..]))
}
