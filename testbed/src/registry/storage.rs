//! What a docker-registry has on disk, by its own layout of folders.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Registry;
use crate::error::{BedError, file_error};

impl Registry {
    /// The file with the bytes of the blob or manifest `digest` (`sha256:…`), be it there or not: to be damaged.
    pub fn blob_file(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
        let start = hex.get(..2).unwrap_or(hex);
        self.root()
            .join("blobs/sha256")
            .join(start)
            .join(hex)
            .join("data")
    }

    /// How many blobs and manifests all repositories hold together.
    ///
    /// # Errors
    /// [`BedError::File`] if a folder can't be read.
    pub fn blob_count(&self) -> Result<usize, BedError> {
        Ok(self.blob_files()?.len())
    }

    /// How many bytes blobs and manifests have, each counted once.
    ///
    /// # Errors
    /// [`BedError::File`] if a folder can't be read.
    pub fn blob_bytes(&self) -> Result<u64, BedError> {
        let files = self.blob_files()?;
        let sizes = files.iter().map(|path| {
            let read = fs::metadata(path).map_err(file_error("stat", path))?;
            Ok(read.len())
        });
        sizes.sum()
    }

    /// The digests (`sha256:…`) of the blobs that `repository` may serve, in order. Manifests are not among them.
    ///
    /// # Errors
    /// [`BedError::File`] if a folder can't be read.
    pub fn repository_blobs(&self, repository: &str) -> Result<Vec<String>, BedError> {
        self.links(repository, "_layers/sha256")
    }

    /// The digests (`sha256:…`) of the manifests of `repository`, in order, tagged or not.
    ///
    /// # Errors
    /// [`BedError::File`] if a folder can't be read.
    pub fn repository_manifests(&self, repository: &str) -> Result<Vec<String>, BedError> {
        self.links(repository, "_manifests/revisions/sha256")
    }

    /// The bytes that have arrived of each upload to `repository` that was begun and neither finished nor cancelled.
    ///
    /// # Errors
    /// [`BedError::File`] if a folder can't be read.
    pub fn unfinished_uploads(&self, repository: &str) -> Result<Vec<u64>, BedError> {
        let folder = self.root().join("repositories").join(repository);
        let uploads = list(&folder.join("_uploads"))?.into_iter();
        // The file comes with the first byte.
        let sizes =
            uploads.map(|path| fs::metadata(path.join("data")).map_or(0, |data| data.len()));
        Ok(sizes.collect())
    }

    fn links(&self, repository: &str, kind: &str) -> Result<Vec<String>, BedError> {
        let folder = self.root().join("repositories").join(repository).join(kind);
        let links = list(&folder)?.into_iter();
        // What was removed leaves an empty folder.
        let links = links.filter(|path| path.join("link").exists());
        Ok(links
            .filter_map(|path| Some(format!("sha256:{}", path.file_name()?.to_str()?)))
            .collect())
    }

    fn blob_files(&self) -> Result<Vec<PathBuf>, BedError> {
        let mut files = Vec::new();
        for start in list(&self.root().join("blobs/sha256"))? {
            let blobs = list(&start)?.into_iter().map(|path| path.join("data"));
            files.extend(blobs.filter(|path| path.exists()));
        }
        Ok(files)
    }

    fn root(&self) -> PathBuf {
        self.folder()
            .join(super::config::STORAGE)
            .join("docker/registry/v2")
    }
}

/// What is in `folder`, in order; nothing if there is no such folder.
fn list(folder: &Path) -> Result<Vec<PathBuf>, BedError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(file_error("list", folder)(error)),
    };
    let paths: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.map_err(file_error("list", folder))?;
    paths.sort();
    Ok(paths)
}
