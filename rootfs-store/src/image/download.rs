//! Layers that are read while they come from a registry.
//!
//! A layer is kept in a file until its image has become a disk, so that whoever tries again after a failure goes on where
//! it ended. Its bytes are verified by who reads them.
//!
//! Invariant: a download's file only grows, and nobody reads a byte before it is in the file.

mod together;

use std::fs::{self, TryLockError};
use std::io::{self, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tempfile::TempPath;

use crate::blobs::{Blobs, hash, open_blob};
use crate::digest::BlobDigest;
use crate::files::StoreFile;
use crate::registry::{RegistryError, Repository};
pub(crate) use together::while_downloading;

/// The folder of a store for layers on their way.
const DOWNLOADS: &str = "downloads";

/// A layer that comes from a registry.
#[derive(Debug)]
pub struct Download {
    repository: Repository,
    digest: BlobDigest,
    size: u64,
    /// Where it is kept, unless somebody else downloads it there.
    path: PathBuf,
    staging: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    file: Option<Arc<StoreFile>>,
    /// Its name, if it goes when the download does.
    temporary: Option<TempPath>,
    written: u64,
    /// Nothing more will be written.
    end: Option<Result<(), Arc<Failure>>>,
}

/// Why a layer did not come.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The work that it was for has ended.
    #[error("nobody waits for it any more")]
    Unwanted,
}

impl Download {
    /// One that was not begun.
    pub(super) fn new(
        repository: Repository,
        digest: BlobDigest,
        size: u64,
        blobs: &Blobs,
        root: &Path,
    ) -> Self {
        Self {
            repository,
            digest,
            size,
            path: root.join(DOWNLOADS).join(digest.file_name()),
            staging: blobs.staging().to_owned(),
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// The file that messages name.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads from `position` on, as soon as there is something; nothing at the end.
    pub(crate) fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let waits = |state: &mut State| state.written <= position && state.end.is_none();
        let state = self.changed.wait_while(self.state(), waits);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        let there = state.written.saturating_sub(position);
        match (&state.file, &state.end) {
            (Some(file), _) if there > 0 => {
                let file = Arc::clone(file);
                drop(state);
                let len = buf.len().min(usize::try_from(there).unwrap_or(usize::MAX));
                file.get().read_at(&mut buf[..len], position)
            }
            (_, Some(Err(failure))) => Err(io::Error::other(Arc::clone(failure))),
            _ => Ok(0),
        }
    }

    /// Downloads what is missing.
    fn fetch(&self, blobs: &Blobs) -> Result<(), Failure> {
        let (file, from) = self.open(blobs)?;
        let span = tracing::debug_span!(
            "registry.layer",
            digest = %self.digest,
            bytes = self.size,
            from,
            reached = from,
        );
        let mut at = from;
        let mut append = |bytes: &[u8]| {
            file.write_all_at(bytes, at)?;
            at += bytes.len() as u64;
            self.state().written = at;
            self.changed.notify_all();
            Ok(())
        };
        let read = span.in_scope(|| {
            let (digest, size) = (&self.digest, self.size);
            self.repository.read_blob(digest, size, from, &mut append)
        });
        span.record("reached", at);
        Ok(read?)
    }

    /// Nothing more comes.
    fn end(&self, outcome: Result<(), Arc<Failure>>) {
        self.state().end = Some(outcome);
        self.changed.notify_all();
    }

    /// Opens the file, and says how much of the layer is in it already.
    fn open(&self, blobs: &Blobs) -> Result<(Arc<StoreFile>, u64), Failure> {
        let files = blobs.files();
        let opened = match files.open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => files.create(&self.path),
            opened => opened,
        };
        let (file, temporary) = match opened {
            Ok(file) => match file.get().try_lock() {
                Ok(()) => (file, None),
                Err(TryLockError::Error(error)) => return Err(error.into()),
                Err(TryLockError::WouldBlock) => stage(blobs, &self.staging)?,
            },
            // Another process was faster to make it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                stage(blobs, &self.staging)?
            }
            Err(error) => return Err(error.into()),
        };
        let mut there = file.get().metadata()?.len();
        if there > self.size {
            file.set_len(0)?;
            there = 0;
        }
        let file = Arc::new(file);
        let mut state = self.state();
        state.file = Some(Arc::clone(&file));
        state.temporary = temporary;
        state.written = there;
        drop(state);
        self.changed.notify_all();
        Ok((file, there))
    }

    /// Whether it ended early for another reason than that nobody wanted it any more.
    fn has_failed(&self) -> bool {
        let state = self.state();
        let failure = state.end.as_ref().and_then(|end| end.as_ref().err());
        failure.is_some_and(|failure| !matches!(**failure, Failure::Unwanted))
    }

    /// Whether what came is of use to the next try: a part, or all of it if that is right.
    fn is_of_use(&self) -> bool {
        let state = self.state();
        let (Some(file), Some(Ok(()))) = (&state.file, &state.end) else {
            return true;
        };
        let mut file = file.get();
        let hashed = file.rewind().and_then(|()| hash(file));
        hashed.is_ok_and(|digest| digest == self.digest)
    }

    /// Forgets what was downloaded, which is of no more use.
    fn remove(&self, blobs: &Blobs) {
        let mut state = self.state();
        if state.file.take().is_none() || state.temporary.is_some() {
            return;
        }
        if let Err(error) = blobs.files().remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "could not remove a layer");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stage(blobs: &Blobs, staging: &Path) -> Result<(StoreFile, Option<TempPath>), Failure> {
    let (file, path) = blobs.files().stage(staging)?.into_parts();
    Ok((file, Some(path)))
}

/// Removes what failed imports left of layers, if it is older than `grace` and nobody is at it.
pub(crate) fn remove_old_downloads(blobs: &Blobs, root: &Path, grace: Duration) -> io::Result<u64> {
    let entries = match fs::read_dir(root.join(DOWNLOADS)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut freed = 0;
    for entry in entries {
        let entry = entry?;
        if BlobDigest::of_file_name(&entry.file_name()).is_none() {
            continue;
        }
        let (file, bytes) = open_blob(&entry.path())?;
        let age = file.metadata()?.modified()?.elapsed().unwrap_or_default();
        if age < grace || file.try_lock().is_err() {
            continue;
        }
        blobs.files().remove_file(&entry.path())?;
        freed += bytes;
    }
    Ok(freed)
}
