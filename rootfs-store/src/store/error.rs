//! What can be wrong with a store.

use std::error::Error;
use std::io;
use std::iter;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::chunk::FrameError;
use crate::digest::{BlobDigest, ChunkDigest, SnapshotDigest};
use crate::image::MAX_DOCUMENT_BYTES;
use crate::index::PageError;
use crate::manifest::ManifestError;
use crate::pack::PackError;
use crate::registry::RegistryError;
use crate::remote::RemoteError;

/// Why a store could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Nothing is called like this.
    #[error("no snapshot is called `{text}`")]
    NotFound {
        /// The name or digest that was asked for.
        text: String,
    },
    /// More than one digest begins like this.
    #[error("several snapshots begin with `{text}`: give more digits")]
    AmbiguousPrefix {
        /// The digits that were given.
        text: String,
    },
    /// A name breaks the rules of names.
    #[error(
        "`{name}` can't be a snapshot's name: use up to 128 letters, digits, `.`, `_`, `-`, `/` and `:`, \
         beginning with a letter or digit; not what looks like a digest, nor a prefix like `oci:`"
    )]
    BadName {
        /// The name.
        name: String,
    },
    /// The operating system refused.
    #[error("could not {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// No more files can be opened, which says nothing of the one that was to be.
    #[error(
        "could not open {path}, as too many files are open: raise the limit (`ulimit -n`), or stop what holds them"
    )]
    TooManyFiles {
        /// The file.
        path: PathBuf,
    },
    /// Something lies where only folders of disks do.
    #[error(
        "{path} is no folder, so it can't be told whether a disk is there: move it out of the store; a disk's folder can't be a link"
    )]
    NoDisk {
        /// What is there.
        path: PathBuf,
    },
    /// `index.json` is not what an OCI image layout has.
    #[error("{path} is no valid index of an OCI image layout: restore it from a copy")]
    Index {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// An entry of `index.json` has a digest that is not of SHA-256.
    #[error(
        "index.json has an entry `{text}`, whose blobs can't be told from others: copy it to another layout, and remove it here"
    )]
    ForeignDigest {
        /// The digest as it is there.
        text: String,
    },
    /// `index.json`, or another file of names, is larger than any that is read.
    #[error("{path} is larger than {limit} bytes: restore it from a copy")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Most bytes that are read.
        limit: u64,
    },
    /// `index.json` would be larger than any that is read.
    #[error(
        "{path} would have {bytes} bytes, more than the {limit} that can be read: remove names that nobody needs, or collect what is unused"
    )]
    IndexFull {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        bytes: u64,
        /// Most bytes that are read.
        limit: u64,
    },
    /// A document is not JSON of its kind.
    #[error("blob {digest} is no manifest or index, though it is named as one")]
    Document {
        /// Digest of the blob.
        digest: BlobDigest,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// An index leads to more documents than any has.
    #[error("blob {digest} leads to more than {limit} manifests")]
    TooManyDocuments {
        /// Digest of the index.
        digest: BlobDigest,
        /// Most that are followed.
        limit: usize,
    },
    /// A document's bytes don't hash to its name.
    #[error(
        "blob {digest} is damaged, {path} holds other bytes: import the image again, or restore the file from a copy"
    )]
    BlobDamaged {
        /// Digest of the blob.
        digest: BlobDigest,
        /// Its file.
        path: PathBuf,
    },
    /// What should be a document is something else, or larger than any document is.
    #[error("blob {digest} at {path} is no file of a document's size")]
    NoDocument {
        /// Digest of the blob.
        digest: BlobDigest,
        /// Where it is.
        path: PathBuf,
    },
    /// A disk holds more than a snapshot can name.
    #[error("the snapshot would need {packs} packs, more than {limit}: the disk holds too much")]
    TooManyPacks {
        /// How many packs it would need.
        packs: usize,
        /// How many a snapshot may have.
        limit: usize,
    },
    /// What the image says about running it does not fit into a document that registries take.
    #[error(
        "a snapshot's document would have {bytes} bytes, more than {MAX_DOCUMENT_BYTES}: the image's config is too large"
    )]
    DocumentTooLarge {
        /// Its size in bytes.
        bytes: usize,
    },
    /// The store's folder is a layout of a version that can't be read.
    #[error("{path} is an OCI layout of version {found}; this version reads 1.0.0")]
    LayoutVersion {
        /// The `oci-layout` file.
        path: PathBuf,
        /// The version that it names.
        found: String,
    },
    /// Another tool's entry in the layout has the name.
    #[error("`{name}` is the name of something that is no snapshot; choose another one")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// A blob that a snapshot needs is not there, or has another size.
    #[error(
        "snapshot {snapshot} is not whole, blob {digest} is missing or cut off: import the image again, or restore the file from a copy"
    )]
    BlobMissing {
        /// The snapshot.
        snapshot: SnapshotDigest,
        /// Digest of the blob.
        digest: BlobDigest,
    },
    /// A snapshot's documents can't be used.
    #[error("snapshot {digest} can't be read")]
    Manifest {
        /// The snapshot.
        digest: SnapshotDigest,
        /// What is wrong.
        source: ManifestError,
    },
    /// A pack can't be used.
    #[error("pack {path} can't be read")]
    Pack {
        /// The file of the pack.
        path: PathBuf,
        /// What is wrong.
        source: PackError,
    },
    /// An index page can't be used.
    #[error("index page {digest} in pack {pack} can't be read")]
    Page {
        /// Digest of the page.
        digest: ChunkDigest,
        /// The pack that holds it.
        pack: BlobDigest,
        /// What is wrong.
        source: PageError,
    },
    /// A frame of a pack is not the chunk or page that the index says.
    #[error(
        "pack {pack} is damaged at byte {offset}: import the image with the option `again`, or restore the file from a copy"
    )]
    Frame {
        /// The pack.
        pack: BlobDigest,
        /// Where the frame starts.
        offset: u64,
        /// What is wrong.
        source: FrameError,
    },
    /// A chunk has not the size that all of its disk's chunks have.
    #[error("chunk {digest} has {len} bytes, but the disk's chunks have {chunk_bytes}")]
    ChunkLength {
        /// Digest of the chunk.
        digest: ChunkDigest,
        /// Its length in bytes.
        len: usize,
        /// The length that it must have.
        chunk_bytes: usize,
    },
    /// An index names chunks past the end of the disk.
    #[error("the index names chunk {chunk} of a disk of {chunks} chunks")]
    IndexTooLarge {
        /// Number of the chunk.
        chunk: u64,
        /// Chunks that the disk has.
        chunks: u64,
    },
    /// A pack that is elsewhere could not be read.
    #[error(transparent)]
    Remote(Box<RemoteError>),
    /// A defect: something was read from a pack that is not complete.
    #[error("pack {number} was read before it was complete")]
    UnfinishedPack {
        /// Number of the pack among those being written.
        number: usize,
    },
    /// zstd refused to compress.
    #[error("could not compress")]
    Compress {
        /// What zstd said.
        source: io::Error,
    },
    /// The options for registries can't be used.
    #[error("can't use the options for registries")]
    Registries {
        /// What is wrong with them.
        source: RegistryError,
    },
    /// A document could not be written as JSON.
    #[error("could not encode a document")]
    Encode {
        /// What the encoder said.
        source: serde_json::Error,
    },
    /// A document could not be put together.
    #[error("could not build an OCI document")]
    Oci {
        /// What the builder said.
        source: oci_spec::OciSpecError,
    },
}

impl From<RemoteError> for StoreError {
    fn from(error: RemoteError) -> Self {
        Self::Remote(Box::new(error))
    }
}

impl StoreError {
    /// Whether an error, or what caused it, is that too many files are open.
    pub(crate) fn is_of_too_many_files(error: &(dyn Error + 'static)) -> bool {
        let is_it = |error: &(dyn Error + 'static)| {
            let code = error.downcast_ref::<io::Error>()?.raw_os_error()?;
            Some([Errno::MFILE, Errno::NFILE].contains(&Errno::from_raw_os_error(code)))
        };
        let causes = iter::successors(Some(error), |error| Error::source(*error));
        causes
            .into_iter()
            .any(|cause| is_it(cause).unwrap_or(false))
    }
}
