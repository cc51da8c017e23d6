//! Packs that are elsewhere: a snapshot that was pulled lazily has its documents here, and its packs in a registry.
//!
//! | path below the store's folder | content |
//! |---|---|
//! | `remote/<64 digits>.json` | where a pack is to be had, see [`RemoteRecord`]; while it is there, so is the pack |
//! | `cache/<64 digits>` | what was fetched of it, with holes for the rest; may be removed at any time |
//!
//! Invariant: a record is there before anybody relies on its pack, and goes only after the pack is a durable blob, or
//! when nothing needs it. Nothing that was fetched is believed before it was hashed.

mod ahead;
mod cache;
mod collect;
mod counters;
mod crew;
mod error;
mod fill;
mod origin;
mod pack;
mod patience;
mod prefetch;
mod ranges;
mod record;
mod whereabouts;

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use cache::CacheFile;
use counters::Counters;
use ranges::Ranges;
use record::MAX_RECORD_BYTES;

use crate::blobs::{create_dir, io_error, open_blob, replace_file};
use crate::digest::BlobDigest;
use crate::envelope::EnvelopeError;
use crate::files::Files;
use crate::manifest::Pack;
use crate::store::StoreError;
pub use counters::RemoteStats;
pub use error::RemoteError;
pub use fill::{FillOptions, Filled};
pub use origin::{Origin, OriginError, Part, Sink, Stop};
pub(crate) use pack::{Kind, RemotePack};
pub use prefetch::Prefetched;
pub use record::RemoteRecord;
pub use whereabouts::Elsewhere;

const REMOTE: &str = "remote";
const CACHE: &str = "cache";
const SUFFIX: &str = ".json";

/// Most bytes that one [`Origin::read`] is asked for.
pub const MAX_READ_BYTES: u64 = 4 << 20;

/// The packs of one store that are elsewhere.
#[derive(Debug)]
pub(crate) struct Remotes {
    dir: PathBuf,
    staging: PathBuf,
    access: Arc<Access>,
    /// Those in use, so that all readers of a pack share what is known of it.
    open: Mutex<HashMap<BlobDigest, Weak<RemotePack>>>,
    /// Some pack was read from elsewhere.
    are_used: AtomicBool,
}

/// What all packs of a store need.
#[derive(Debug)]
struct Access {
    files: Files,
    root: PathBuf,
    cache_dir: PathBuf,
    origin: Arc<dyn Origin>,
    /// How long a read waits without anything that comes.
    patience: Duration,
    counters: Counters,
}

impl Remotes {
    /// The packs of the store in `root`; temporary files are made in `staging`.
    pub(crate) fn new(
        files: Files,
        root: &Path,
        staging: &Path,
        origin: Arc<dyn Origin>,
        patience: Duration,
    ) -> Self {
        let access = Access {
            files,
            root: root.to_owned(),
            cache_dir: root.join(CACHE),
            origin,
            patience,
            counters: Counters::default(),
        };
        Self {
            dir: root.join(REMOTE),
            staging: staging.to_owned(),
            access: Arc::new(access),
            open: Mutex::default(),
            are_used: AtomicBool::new(false),
        }
    }

    /// Whether any pack was opened that is elsewhere; cheap enough for every read.
    pub(crate) fn are_used(&self) -> bool {
        self.are_used.load(Ordering::Relaxed)
    }

    pub(crate) fn stats(&self) -> RemoteStats {
        self.access.counters.stats()
    }

    /// The file of a pack's record.
    pub(crate) fn record_path(&self, pack: &BlobDigest) -> PathBuf {
        self.dir.join(record_name(pack))
    }

    /// Where a pack is to be had, if that is recorded.
    pub(crate) fn record(&self, pack: &BlobDigest) -> Result<Option<RemoteRecord>, StoreError> {
        let path = self.record_path(pack);
        let mut bytes = Vec::new();
        let read = open_blob(&path)
            .map(|(file, _)| file)
            .and_then(|file| file.take(MAX_RECORD_BYTES + 1).read_to_end(&mut bytes));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(io_error("read", &path))?,
        };
        let damaged = |what, path| RemoteError::Record { path, what };
        match RemoteRecord::parse(&bytes) {
            Ok(record) if record.pack == *pack => Ok(Some(record)),
            Ok(_) => Err(damaged("it is the record of another pack", path).into()),
            Err(EnvelopeError::Damaged { what }) => Err(damaged(what, path).into()),
            Err(EnvelopeError::Version { found, .. }) => {
                Err(RemoteError::RecordVersion { path, found }.into())
            }
        }
    }

    /// Whether a pack of this size is elsewhere.
    pub(crate) fn has(&self, pack: &Pack) -> Result<bool, StoreError> {
        let record = self.record(&pack.digest)?;
        Ok(record.is_some_and(|record| record.bytes == pack.bytes))
    }

    /// The pack, if it is elsewhere.
    pub(crate) fn open(&self, pack: &BlobDigest) -> Result<Option<Arc<RemotePack>>, StoreError> {
        let Some(record) = self.record(pack)? else {
            return Ok(None);
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let known = open.get(pack).and_then(Weak::upgrade);
        if let Some(known) = known.filter(|known| known.bytes == record.bytes) {
            known.set_origins(record.origins);
            return Ok(Some(known));
        }
        self.are_used.store(true, Ordering::Relaxed);
        open.retain(|_, known| known.strong_count() > 0);
        let new = Arc::new(RemotePack::new(record, Arc::clone(&self.access)));
        open.insert(*pack, Arc::downgrade(&new));
        Ok(Some(new))
    }

    /// Records durably that a pack is to be had from `origin`, besides where it was before. The caller has a lease on
    /// it, and has made the folder.
    fn add(&self, pack: &Pack, origin: &str) -> Result<(), StoreError> {
        let bounds = |what| RemoteError::Bounds {
            pack: pack.digest,
            origin: origin.to_owned(),
            what,
        };
        let mut record = match self.record(&pack.digest) {
            Ok(Some(known)) if known.bytes == pack.bytes => known,
            // One of the two lies, and others may rely on the first.
            Ok(Some(_)) => {
                return Err(bounds("size, as another snapshot has it with another size").into());
            }
            Err(error) if !is_of_damage(&error) => return Err(error),
            // What is damaged is written anew.
            Ok(None) | Err(_) => RemoteRecord {
                pack: pack.digest,
                bytes: pack.bytes,
                origins: Vec::new(),
            },
        };
        if !record.add_origin(origin) {
            return self.sync_names();
        }
        record.check().map_err(bounds)?;
        let bytes = record.to_bytes();
        let bytes = bytes.map_err(|source| StoreError::Encode { source })?;
        let name = record_name(&pack.digest);
        replace_file(&self.access.files, &self.staging, &self.dir, &name, &bytes)
    }

    /// Makes durable which records there are: who wrote one may have been killed before it was.
    fn sync_names(&self) -> Result<(), StoreError> {
        crate::blobs::sync_dir(&self.access.files, &self.dir)
    }

    /// Bytes that the cache file of a pack takes.
    pub(crate) fn cached_bytes(&self, pack: &BlobDigest) -> u64 {
        let metadata = self.access.cache_path(pack).metadata();
        metadata.map_or(0, |metadata| metadata.blocks() * 512)
    }
}

impl Access {
    fn cache_path(&self, pack: &BlobDigest) -> PathBuf {
        self.cache_dir.join(pack.file_name())
    }

    fn open_cache(&self, path: &Path, bytes: u64) -> io::Result<(CacheFile, Ranges)> {
        if !self.cache_dir.exists() {
            match create_dir(&self.files, &self.root, CACHE) {
                Err(StoreError::Io { source, .. }) => return Err(source),
                Err(error) => return Err(io::Error::other(error)),
                Ok(()) => {}
            }
        }
        CacheFile::open(&self.files, path, bytes)
    }
}

fn is_of_damage(error: &StoreError) -> bool {
    matches!(error, StoreError::Remote(error) if matches!(**error, RemoteError::Record { .. }))
}

fn record_name(pack: &BlobDigest) -> String {
    pack.file_name() + SUFFIX
}

/// The names of the files in a folder, sorted; none if there is no folder.
fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io_error("list", dir))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(io_error("list", dir))?.file_name();
        // What is not called like one is not ours.
        names.extend(name.into_string());
    }
    names.sort_unstable();
    Ok(names)
}
