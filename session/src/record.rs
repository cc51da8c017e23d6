//! Session records: what a session is, kept on disk so that it outlives every process.
//!
//! A record is one JSON file, `sessions/ID/record.json` below the store's folder:
//!
//! | member | meaning |
//! |---|---|
//! | `format` | `vm-sessions.session`, the magic |
//! | `version` | [`VERSION`] |
//! | `crc32c` | checksum of the bytes of `record` |
//! | `record` | the session itself, see [`Record`] |
//!
//! Invariant: the file is replaced as a whole, and a record that was written survives power loss.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use rootfs_store::SnapshotDigest;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::{Error, Repr};

const FORMAT: &str = "vm-sessions.session";

/// The version of the format that this code writes, and the only one that it reads.
pub(crate) const VERSION: u32 = 1;

/// Records are a few hundred bytes; a longer file is not one of ours.
const MAX_BYTES: u64 = 64 * 1024;

/// The name of the file in the folder of its session.
pub(crate) const FILE: &str = "record.json";

/// What is known of a session whether or not it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) state: RecordState,
    /// The snapshot that the present disk started from, or is, if the session is stopped.
    pub(crate) snapshot: SnapshotDigest,
    /// The snapshot that the session was created from.
    pub(crate) origin: SnapshotDigest,
    pub(crate) kernel: PathBuf,
    pub(crate) modules: Option<PathBuf>,
    pub(crate) vcpus: u8,
    pub(crate) memory_mib: u32,
    pub(crate) hostname: Option<String>,
    /// Seconds since 1970.
    pub(crate) created: u64,
    /// Seconds since 1970 of the last change of state.
    pub(crate) changed: u64,
}

/// How the session was left, by what was last written of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RecordState {
    /// Its disk is open: it runs, or it was cut off.
    Open,
    /// Its disk is `snapshot`.
    Stopped,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    format: String,
    version: u32,
    crc32c: u32,
    #[serde(borrow)]
    record: &'a RawValue,
}

/// What every version of the format starts with.
#[derive(Deserialize)]
struct Preamble {
    format: String,
    version: u32,
}

impl Record {
    /// Reads the record in a session's folder.
    pub(crate) fn read(folder: &Path) -> Result<Record, Error> {
        let path = folder.join(FILE);
        let unreadable = |source| Repr::Io {
            action: "read",
            path: path.clone(),
            source,
        };
        let length = fs::metadata(&path).map_err(unreadable)?.len();
        if length > MAX_BYTES {
            return Err(Repr::RecordDamaged {
                path,
                what: "it is longer than any record",
            }
            .into());
        }
        let text = fs::read_to_string(&path).map_err(unreadable)?;
        parse(&text, &path)
    }

    /// Replaces the record in a session's folder, durably.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join(FILE);
        let text = self.to_text();
        let new = folder.join("record.json.new");
        let failed = |action| {
            move |source| Repr::Io {
                action,
                path: path.clone(),
                source,
            }
        };
        let mut file = File::create(&new).map_err(failed.clone()("create"))?;
        file.write_all(text.as_bytes())
            .map_err(failed.clone()("write"))?;
        file.sync_all().map_err(failed.clone()("sync"))?;
        fs::rename(&new, folder.join(FILE)).map_err(failed.clone()("replace"))?;
        sync_folder(folder).map_err(failed("sync"))?;
        Ok(())
    }

    fn to_text(&self) -> String {
        let record = serde_json::value::to_raw_value(self)
            .expect("a record is text and numbers: Kernel::check has seen that its paths are text");
        let envelope = Envelope {
            format: FORMAT.to_owned(),
            version: VERSION,
            crc32c: crc32c::crc32c(record.get().as_bytes()),
            record: &record,
        };
        serde_json::to_string(&envelope).expect("an envelope is plain strings and numbers, too")
    }
}

/// Makes new and removed names in `folder` durable.
pub(crate) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

fn parse(text: &str, path: &Path) -> Result<Record, Error> {
    let damaged = |what| {
        Error::from(Repr::RecordDamaged {
            path: path.to_owned(),
            what,
        })
    };
    let preamble: Preamble =
        serde_json::from_str(text).map_err(|_| damaged("it is not JSON of the right form"))?;
    if preamble.format != FORMAT {
        return Err(damaged("its format is another one"));
    }
    if preamble.version != VERSION {
        let found = preamble.version;
        return Err(Repr::RecordVersion {
            path: path.to_owned(),
            found,
            known: VERSION,
        }
        .into());
    }
    let envelope: Envelope<'_> =
        serde_json::from_str(text).map_err(|_| damaged("it has members that are not known"))?;
    if crc32c::crc32c(envelope.record.get().as_bytes()) != envelope.crc32c {
        return Err(damaged("its checksum is wrong"));
    }
    serde_json::from_str(envelope.record.get()).map_err(|_| damaged("its record cannot be read"))
}

#[cfg(test)]
mod tests;
