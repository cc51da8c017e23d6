//! Session records: what a session is, kept on disk so that it outlives every process.
//!
//! A record is one JSON file, `sessions/ID/record.json` below the store's folder:
//!
//! | member | meaning |
//! |---|---|
//! | `format` | `vm-sessions.session`, the magic |
//! | `version` | [`VERSION`]; older ones are read, with what they lack at its default |
//! | `crc32c` | checksum of the bytes of `record` |
//! | `record` | the session itself, see [`Record`] |
//!
//! Invariant: the file is replaced as a whole, only its user may read it, and a record that was written survives power
//! loss.

use std::fs;
use std::io::Write;
use std::ops::RangeInclusive;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rootfs_store::SnapshotDigest;
use rootfs_store::formats::{EnvelopeError, open_envelope, seal_envelope};
use serde::{Deserialize, Serialize};

use crate::about::About;
use crate::drive::DriveRecord;
use crate::error::{Error, Repr};
use crate::identity::Identity;
use crate::limits::Limits;

const FORMAT: &str = "vm-sessions.session";

/// The version of the format that this code writes.
pub(crate) const VERSION: u32 = 2;

/// The versions that it reads. Version 1 had none of the members that have a default.
const READABLE: RangeInclusive<u32> = 1..=VERSION;

/// Records are a few kilobytes, and at most what an identity may have; a longer file is not one of ours.
const MAX_BYTES: u64 = 2 << 20;

/// Records hold the guest's SSH host key.
const MODE: u32 = 0o600;

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
    #[serde(default, skip_serializing_if = "Identity::is_empty")]
    pub(crate) identity: Identity,
    /// Seconds since 1970.
    pub(crate) created: u64,
    /// Seconds since 1970 of the last change of state.
    pub(crate) changed: u64,
    /// Seconds since 1970 of the start of the last run, which may go on; nothing if there was none.
    #[serde(default)]
    pub(crate) started: Option<u64>,
    /// What ended the last run, if nobody had asked for that.
    #[serde(default)]
    pub(crate) failure: Option<String>,
    #[serde(default)]
    pub(crate) limits: Limits,
    #[serde(default)]
    pub(crate) about: About,
    /// Drives besides the root.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) drives: Vec<DriveRecord>,
}

/// How the session was left, by what was last written of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RecordState {
    /// Its disk is open: it runs, or it was cut off.
    Open,
    /// The same, while its guest stands still.
    Paused,
    /// The same, while it is being shut down.
    ShuttingDown,
    /// Its disk is `snapshot`.
    Stopped,
}

impl RecordState {
    /// Whether the session has a disk that is newer than its snapshot.
    pub(crate) fn has_disk(self) -> bool {
        self != Self::Stopped
    }
}

impl Record {
    /// Notes a change of state at `now`, in seconds since 1970. A clock that was set back makes no session older than it is.
    pub(crate) fn enter(&mut self, state: RecordState, now: u64) {
        self.state = state;
        self.changed = now.max(self.changed).max(self.created);
    }

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
        let bytes = fs::read(&path).map_err(unreadable)?;
        parse(&bytes, &path)
    }

    /// Replaces the record in a session's folder, durably.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join(FILE);
        let bytes = self.to_bytes();
        let new = folder.join("record.json.new");
        let failed = |action| {
            move |source| Repr::Io {
                action,
                path: path.clone(),
                source,
            }
        };
        // What a process that died left behind may be readable to others.
        drop(fs::remove_file(&new));
        let mut options = fs::File::options();
        let options = options.write(true).create_new(true).mode(MODE);
        let mut file = options.open(&new).map_err(failed.clone()("create"))?;
        file.write_all(&bytes).map_err(failed.clone()("write"))?;
        file.sync_all().map_err(failed.clone()("sync"))?;
        fs::rename(&new, folder.join(FILE)).map_err(failed.clone()("replace"))?;
        sync_folder(folder).map_err(failed("sync"))?;
        Ok(())
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        seal_envelope(self, FORMAT, VERSION)
            .expect("a record is text and numbers: Kernel::check has seen that its paths are text")
    }
}

/// Makes new and removed names in `folder` durable.
pub(crate) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

pub(crate) fn parse(bytes: &[u8], path: &Path) -> Result<Record, Error> {
    let path = path.to_owned();
    open_envelope(bytes, FORMAT, &READABLE).map_err(|error| {
        let repr = match error {
            EnvelopeError::Version { found, known } => Repr::RecordVersion { path, found, known },
            EnvelopeError::Damaged { what } => Repr::RecordDamaged { path, what },
            _ => Repr::RecordDamaged {
                path,
                what: "it can't be read",
            },
        };
        repr.into()
    })
}

#[cfg(test)]
mod tests;
