//! Why a measurement failed.

use std::io;
use std::path::{Path, PathBuf};

use rootfs_store::image::ImageError;
use rootfs_store::{
    CommitError, DiskError, ExportError, ImportDiskError, ImportError, PackError, PullError,
    PushError, ReferenceError, RegistryError, StoreError,
};

/// A measurement that could not be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// The operating system refused something.
    #[error("could not {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// An image's name can't be understood.
    #[error("{text} names no image: give oci:DIR or oci:DIR:TAG")]
    Reference {
        /// The name.
        text: String,
        /// What is wrong.
        source: ReferenceError,
    },
    /// The file holds nothing that could be read for a measurement.
    #[error("{path} holds no data: give it the export of a snapshot that does")]
    NoData {
        /// The file.
        path: PathBuf,
    },
    /// The floor is only defined for some layers.
    #[error(
        "{path} is neither a plain nor a gzip layer in a file of its own: the floor is measured over such only"
    )]
    NoFloor {
        /// The layer's blob.
        path: PathBuf,
    },
    /// There is no memory for a compressor.
    #[error("could not set up zstd")]
    Compressor {
        /// What zstd said.
        source: io::Error,
    },
    /// A pack's table can't be read.
    #[error("could not read the table of pack {path}")]
    Pack {
        /// The pack.
        path: PathBuf,
        /// What is wrong.
        source: PackError,
    },
    /// The image can't be opened.
    #[error(transparent)]
    Image(Box<ImageError>),
    /// An import failed.
    #[error(transparent)]
    Import(Box<ImportError>),
    /// An import of a raw disk failed.
    #[error(transparent)]
    ImportDisk(#[from] ImportDiskError),
    /// A commit failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// An export failed.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A push failed.
    #[error(transparent)]
    Push(Box<PushError>),
    /// A pull failed.
    #[error(transparent)]
    Pull(Box<PullError>),
    /// The options for registries can't be used.
    #[error(transparent)]
    Registries(Box<RegistryError>),
    /// A registry to test against could not be started.
    #[error(transparent)]
    Bed(Box<testbed::BedError>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl MeasureError {
    /// Turns what the operating system said about `path` into an error that names it.
    pub fn io<E: Into<io::Error>>(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(E) -> Self + use<E> {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source: source.into(),
        }
    }
}

impl From<ImageError> for MeasureError {
    fn from(error: ImageError) -> Self {
        Self::Image(Box::new(error))
    }
}

impl From<ImportError> for MeasureError {
    fn from(error: ImportError) -> Self {
        Self::Import(Box::new(error))
    }
}

impl From<PushError> for MeasureError {
    fn from(error: PushError) -> Self {
        Self::Push(Box::new(error))
    }
}

impl From<PullError> for MeasureError {
    fn from(error: PullError) -> Self {
        Self::Pull(Box::new(error))
    }
}

impl From<RegistryError> for MeasureError {
    fn from(error: RegistryError) -> Self {
        Self::Registries(Box::new(error))
    }
}

impl From<testbed::BedError> for MeasureError {
    fn from(error: testbed::BedError) -> Self {
        Self::Bed(Box::new(error))
    }
}
