//! Why a Docker archive can't be used.

use std::io;
use std::path::PathBuf;

use super::members::MAX_NAMES_BYTES;
use crate::tree::TarFault;

/// What is wrong with a Docker archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The archive is compressed by something that can't be read.
    #[error("it is compressed with {format}; decompress it, or compress it with gzip or zstd")]
    Compression {
        /// The compression's name.
        format: &'static str,
    },
    /// A layer is compressed by something that can't be read.
    #[error("its layer `{name}` is compressed with {format}, which can't be read")]
    LayerCompression {
        /// Name of the layer's member.
        name: String,
        /// The compression's name.
        format: &'static str,
    },
    /// The archive does not decompress.
    #[error("it does not decompress")]
    Decompress(#[source] io::Error),
    /// The archive decompresses to more than allowed.
    #[error("it decompresses to more than the limit of {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The decompressed archive could not be kept.
    #[error("could not write it decompressed to a temporary file in {dir}")]
    Spool {
        /// The folder of the temporary file.
        dir: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The archive is no valid tar stream.
    #[error("it is no valid tar stream at byte {offset}")]
    Tar {
        /// Where in the decompressed stream the fault was noticed.
        offset: u64,
        /// What is wrong.
        source: TarFault,
    },
    /// The names of the archive's members are too many or too long.
    #[error("the names of its members take more than {MAX_NAMES_BYTES} bytes")]
    TooManyNames,
    /// A document names a member that is not there.
    #[error("it has no member `{name}`")]
    MissingMember {
        /// Name of the member.
        name: String,
    },
    /// A document names a member that is there more than once.
    #[error("it has several members `{name}`")]
    DuplicateMember {
        /// Name of the member.
        name: String,
    },
    /// A member that should be a file is none.
    #[error("its member `{name}` is neither a plain file nor a link to one")]
    NotAFile {
        /// Name of the member.
        name: String,
    },
    /// Links lead round, or over more other links than any writer makes.
    #[error("its member `{name}` is a link to too many other links")]
    TooManyLinks {
        /// Name of the first link.
        name: String,
    },
    /// The archive ends within a member.
    #[error("it ends in the middle of its member `{name}`: fetch it again")]
    Truncated {
        /// Name of the member.
        name: String,
    },
    /// A member could not be read.
    #[error("could not read its member `{name}`")]
    Read {
        /// Name of the member.
        name: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The archive holds no image at all.
    #[error("it holds no image")]
    Empty,
    /// The archive holds no image of that name.
    #[error("it holds no image `{image}`; it holds: {available}")]
    NoSuchImage {
        /// The name that was asked for.
        image: String,
        /// The names that are there, comma separated.
        available: String,
    },
    /// The archive holds several images that fit.
    #[error(
        "it holds several images that fit; name one as docker-archive:FILE:NAME:TAG or docker-archive:FILE:@N. It holds: {available}"
    )]
    Ambiguous {
        /// The names that are there, comma separated.
        available: String,
    },
}
