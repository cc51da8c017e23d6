//! Why a snapshot does not become an image.

use std::io;
use std::path::PathBuf;

use crate::digest::{BlobDigest, SnapshotDigest};
use crate::ext4::ReadError;
use crate::image::ImageError;
use crate::import::ImportError;
use crate::registry::RegistryError;
use crate::store::StoreError;

/// Why a snapshot does not become an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The snapshot's disk holds no file system that can be read.
    #[error("could not read the files of snapshot {snapshot}")]
    Files {
        /// The snapshot.
        snapshot: SnapshotDigest,
        /// What is wrong with it.
        source: Box<ReadError>,
    },
    /// A disk that is no snapshot's holds no file system that can be read.
    #[error("could not read the files of the disk")]
    Disk {
        /// What is wrong with it.
        source: Box<ReadError>,
    },
    /// The base can't be opened.
    #[error("could not open the image {reference}")]
    Image {
        /// The image.
        reference: String,
        /// What is wrong with it.
        source: ImageError,
    },
    /// The base is not where layers can be copied from.
    #[error("{reference} can't be the base of this image: its layers can't be copied from there")]
    BaseTransport {
        /// The image.
        reference: String,
    },
    /// The base is another image than the one that the snapshot came from.
    #[error(
        "snapshot {snapshot} came from the image {image}, but {reference} is {found}: name that image, or squash"
    )]
    OtherBase {
        /// The snapshot.
        snapshot: SnapshotDigest,
        /// Digest of the manifest of the image that it came from.
        image: String,
        /// The image that was named as the base.
        reference: String,
        /// Digest of that one's manifest.
        found: String,
    },
    /// The base could not be imported, to be compared with.
    #[error("could not import the image {reference}, to compare the snapshot with it")]
    ImportBase {
        /// The image.
        reference: String,
        /// What went wrong.
        source: Box<ImportError>,
    },
    /// A file has a name that means something else in a layer.
    #[error(
        "`{path}` can't be in an image, as names that begin with `.wh.` stand for removed files: exclude or rename it"
    )]
    ReservedName {
        /// The path, with bytes that are not UTF-8 escaped.
        path: String,
    },
    /// A path is longer than unpackers take.
    #[error("`{path}` is too long for an image: exclude or rename it")]
    PathTooLong {
        /// The path, with bytes that are not UTF-8 escaped.
        path: String,
    },
    /// An extended attribute has a name that no layer can hold.
    #[error(
        "`{path}` has an extended attribute `{name}`, whose name can't be in an image: remove it, or exclude the file"
    )]
    XattrName {
        /// The path, with bytes that are not UTF-8 escaped.
        path: String,
        /// The attribute's name, likewise.
        name: String,
    },
    /// A file has more attributes than unpackers take.
    #[error(
        "`{path}` has {bytes} bytes of names and attributes, too many for an image: exclude it"
    )]
    MetadataTooLarge {
        /// The path, with bytes that are not UTF-8 escaped.
        path: String,
        /// What they take in bytes.
        bytes: usize,
    },
    /// The files are larger than what is allowed.
    #[error("the layer would have {bytes} bytes of files, more than {limit}")]
    TooLarge {
        /// Bytes of the files.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The layer could not be written.
    #[error("could not write the layer")]
    Write {
        /// What the operating system said.
        source: io::Error,
    },
    /// A tag breaks the rules of tags.
    #[error(
        "`{tag}` can't be a tag: use up to 255 letters, digits, `.`, `_`, `-`, `+`, `/`, `@` and `:`"
    )]
    BadTag {
        /// The tag.
        tag: String,
    },
    /// The folder holds something else.
    #[error("{dir} is no OCI image layout, and not empty: name another folder")]
    NoLayout {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder is the store's own.
    #[error("{dir} is the store's own folder, which only holds disks: name another folder")]
    OwnFolder {
        /// The folder.
        dir: PathBuf,
    },
    /// The layout's index is not what an OCI image layout has.
    #[error("{path} is no valid index of an OCI image layout")]
    Index {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A document could not be made.
    #[error("could not encode the image's {document}")]
    Encode {
        /// `config`, `manifest` or `index`.
        document: &'static str,
        /// What the encoder said.
        source: serde_json::Error,
    },
    /// A document is larger than registries take.
    #[error("the image's documents are larger than {limit} bytes")]
    DocumentTooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// A layer of the base has other bytes than its digest says.
    #[error(
        "layer {digest} of the base is corrupt, its bytes hash to {actual}: fetch the image again"
    )]
    LayerDamaged {
        /// The digest in the base's manifest.
        digest: String,
        /// The digest of the bytes.
        actual: String,
    },
    /// The layout could not be read or written.
    #[error("could not {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Nobody knows where the image is that the snapshot came from.
    #[error(
        "it is not known where the image is that snapshot {snapshot} came from: name it as the base, or squash"
    )]
    NoBase {
        /// The snapshot.
        snapshot: SnapshotDigest,
    },
    /// An image's digest is only known when it is made.
    #[error("an image can't be published as {reference}, which names a digest: name a tag")]
    NamedByDigest {
        /// Where the image should go.
        reference: String,
    },
    /// A registry did not give a layer of the base.
    #[error("could not fetch layer {digest} of {reference}")]
    BaseLayer {
        /// The base.
        reference: String,
        /// The layer.
        digest: BlobDigest,
        /// What went wrong.
        source: Box<RegistryError>,
    },
    /// A registry did not take the image.
    #[error("could not publish to {reference}")]
    Registry {
        /// Where the image should go.
        reference: String,
        /// What went wrong.
        source: RegistryError,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a layer could not be written, by one who does not know the snapshots' names.
#[derive(Debug)]
pub(super) enum Fault {
    /// The files of the snapshot can't be read.
    New(ReadError),
    /// The files of the base can't be read.
    Base(ReadError),
    Other(PublishError),
}

impl Fault {
    pub(super) fn of_snapshots(
        self,
        new: &SnapshotDigest,
        base: Option<&SnapshotDigest>,
    ) -> PublishError {
        match self {
            Self::New(source) => PublishError::Files {
                snapshot: *new,
                source: Box::new(source),
            },
            Self::Base(source) => PublishError::Files {
                snapshot: *base.unwrap_or(new),
                source: Box::new(source),
            },
            Self::Other(error) => error,
        }
    }
}

impl From<PublishError> for Fault {
    fn from(error: PublishError) -> Self {
        Self::Other(error)
    }
}

impl From<io::Error> for Fault {
    fn from(source: io::Error) -> Self {
        Self::Other(PublishError::Write { source })
    }
}
