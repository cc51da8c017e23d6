//! From a snapshot to a raw disk file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::blobs::sync_dir;
use crate::digest::SnapshotDigest;
use crate::files::{Files, parent};
use crate::index::Locator;
use crate::manifest::Snapshot;
use crate::ordered::ordered;
use crate::progress::{Progress, Stage};
use crate::store::{Store, StoreError};

/// What an export wrote.
#[derive(Debug, Clone, Copy)]
pub struct Exported {
    /// Size of the file in bytes.
    pub disk_bytes: u64,
    /// Bytes of it that are no holes.
    pub written_bytes: u64,
}

/// Why a snapshot could not be exported; no file was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// There is a file of that name already.
    #[error("{path} exists already: remove it first, or export to another name")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file could not be written.
    #[error("could not {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Writes a snapshot's disk to `path` as a sparse raw file, which appears when it is complete and durable.
    ///
    /// # Errors
    /// [`ExportError::Exists`] if there is something at `path`; others leave nothing behind.
    pub fn export(
        &self,
        digest: &SnapshotDigest,
        path: &Path,
        progress: &dyn Progress,
    ) -> Result<Exported, ExportError> {
        let (_lease, snapshot) = self.to_read(digest)?;
        if path.symlink_metadata().is_ok() {
            return Err(ExportError::Exists {
                path: path.to_owned(),
            });
        }
        let io_error = |action, source| ExportError::Io {
            action,
            path: path.to_owned(),
            source,
        };
        let dir = &parent(path);
        // As any other new file; the umask takes off what it should.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        let file = tempfile::Builder::new()
            .prefix(".export-")
            .permissions(mode)
            .tempfile_in(dir);
        let file = file.map_err(|error| io_error("create", error))?;
        file.as_file()
            .set_len(snapshot.disk_bytes)
            .map_err(|error| io_error("size", error))?;
        let written_bytes = self.copy_chunks(&snapshot, file.as_file(), path, progress)?;
        file.as_file()
            .sync_all()
            .map_err(|error| io_error("sync", error))?;
        file.persist_noclobber(path)
            .map_err(|error| match error.error.kind() {
                io::ErrorKind::AlreadyExists => ExportError::Exists {
                    path: path.to_owned(),
                },
                _ => io_error("rename a file to", error.error),
            })?;
        sync_dir(&Files::default(), dir)?;
        Ok(Exported {
            disk_bytes: snapshot.disk_bytes,
            written_bytes,
        })
    }

    fn copy_chunks(
        &self,
        snapshot: &Snapshot,
        file: &File,
        path: &Path,
        progress: &dyn Progress,
    ) -> Result<u64, ExportError> {
        let (source, chunk_bytes) = (&self.inner.source, snapshot.chunk_bytes as usize);
        let mut written_bytes = 0;
        let copy = |(): &mut (), found: Result<(u64, Locator), StoreError>| {
            let (number, at) = found?;
            let plain = source.read_chunk(&at, chunk_bytes)?;
            let offset = number * chunk_bytes as u64;
            let io_error = |source| ExportError::Io {
                action: "write",
                path: path.to_owned(),
                source,
            };
            file.write_all_at(&plain, offset).map_err(io_error)?;
            Ok::<_, ExportError>(offset + chunk_bytes as u64)
        };
        ordered(
            snapshot.index().iter(source),
            || Ok(()),
            copy,
            |end| {
                written_bytes += chunk_bytes as u64;
                progress.advance(Stage::Export, end, snapshot.disk_bytes);
                Ok(())
            },
        )?;
        Ok(written_bytes)
    }
}
