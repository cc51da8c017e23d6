//! What can be wrong with a layer.

use std::io;
use std::path::PathBuf;

use super::path::{MAX_DEPTH, MAX_NAME_LEN, MAX_PATH_LEN, MAX_SYMLINK_HOPS, MAX_WALKED};
use super::tar_stream::{MAX_PAX_BYTES, MAX_SPARSE_RUNS};

/// Why the layers of an image could not be applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// The host gave no thread.
    #[error("could not start a thread: allow this process more")]
    Thread {
        /// What the operating system said.
        source: io::Error,
    },
    /// The blob's file could not be read.
    #[error("could not read layer {layer} from {path}")]
    ReadBlob {
        /// Digest of the layer's blob.
        layer: String,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The blob has not the size that its descriptor says.
    #[error(
        "layer {layer} has {actual} bytes, but its descriptor says {expected}: fetch the image again"
    )]
    SizeMismatch {
        /// Digest of the layer's blob.
        layer: String,
        /// Size in the descriptor, in bytes.
        expected: u64,
        /// Bytes that were there.
        actual: u64,
    },
    /// The blob's bytes don't hash to its digest.
    #[error("layer {layer} is corrupt, its bytes hash to {actual}: fetch the image again")]
    DigestMismatch {
        /// Digest in the descriptor.
        layer: String,
        /// Digest of the bytes.
        actual: String,
    },
    /// The plain tar stream doesn't hash to the `diff_id` of the image's config.
    #[error("layer {layer} unpacks to {actual}, but the image's config says {expected}")]
    DiffIdMismatch {
        /// Digest of the layer's blob.
        layer: String,
        /// The `diff_id` in the config.
        expected: String,
        /// Digest of the unpacked bytes.
        actual: String,
    },
    /// The blob is authentic, but not compressed as its media type says.
    #[error("layer {layer} does not decompress")]
    Decompress {
        /// Digest of the layer's blob.
        layer: String,
        /// What the decompressor said.
        source: io::Error,
    },
    /// The unpacked layers pass the limit of bytes.
    #[error("layer {layer} brings the image over the limit of {limit} unpacked bytes")]
    TooManyBytes {
        /// Digest of the layer's blob.
        layer: String,
        /// The limit in bytes, of all layers together.
        limit: u64,
    },
    /// The tar stream is malformed.
    #[error("layer {layer} is no valid tar stream at byte {offset}, in or after entry `{entry}`")]
    Tar {
        /// Digest of the layer's blob.
        layer: String,
        /// Name of the entry that was read last, with bytes that are not UTF-8 escaped; empty before the first.
        entry: String,
        /// Where in the unpacked stream the fault was noticed.
        offset: u64,
        /// What is wrong.
        source: TarFault,
    },
    /// An entry can't be applied.
    #[error("layer {layer}: entry `{entry}` can't be applied")]
    Entry {
        /// Digest of the layer's blob.
        layer: String,
        /// Name of the entry, with bytes that are not UTF-8 escaped.
        entry: String,
        /// What is wrong.
        source: EntryFault,
    },
    /// The file that holds contents could not be written.
    #[error("could not write file contents to a temporary file in {dir}")]
    Spool {
        /// The folder of the temporary file.
        dir: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// What is wrong with a tar stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TarFault {
    /// The stream ended inside a header or an entry's data.
    #[error("the stream ends in the middle of an entry")]
    Truncated,
    /// Reading the stream failed.
    #[error("reading the stream failed")]
    Read(#[source] io::Error),
    /// The checksum of a header is wrong.
    #[error("the header's checksum is wrong")]
    Checksum,
    /// A number in a header is neither octal nor base 256.
    #[error("the header's {field} is no number")]
    Number {
        /// Name of the field.
        field: &'static str,
    },
    /// An extended header is larger than allowed.
    #[error("an extended header of {size} bytes is larger than {MAX_PAX_BYTES} bytes")]
    ExtensionTooLarge {
        /// Its size in bytes.
        size: u64,
    },
    /// Extended headers are followed by no entry, or come twice.
    #[error("extended headers belong to no entry or come twice for one entry")]
    StrayExtension,
    /// A PAX record has not the form `LENGTH KEY=VALUE\n`.
    #[error("a PAX record is malformed")]
    PaxRecord,
    /// A PAX record's value can't be what its key says.
    #[error("the PAX record `{key}` has a value that is out of place")]
    PaxValue {
        /// Key of the record.
        key: String,
    },
    /// A global PAX header would change what entries mean.
    #[error("a global PAX header sets `{key}`, which may be set for one entry only")]
    GlobalPax {
        /// Key of the record.
        key: String,
    },
    /// The map of a sparse file contradicts itself or its data.
    #[error("the map of a sparse file is malformed")]
    SparseMap,
    /// A sparse file has too many pieces.
    #[error("a sparse file has more than {MAX_SPARSE_RUNS} pieces")]
    TooManySparseRuns,
    /// The type of an entry is unknown.
    #[error("entries of type {code:#04x} are not supported")]
    UnknownType {
        /// The type flag of the header.
        code: u8,
    },
}

/// What is wrong with one entry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EntryFault {
    /// The name contains `..`.
    #[error("its name contains `..`")]
    ParentComponent,
    /// The name or link contains a NUL byte.
    #[error("its name or link contains a NUL byte")]
    Nul,
    /// A name is longer than a directory entry can hold.
    #[error("a name of {len} bytes is longer than {MAX_NAME_LEN}")]
    NameTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// A path is longer than Linux accepts.
    #[error("a path of {len} bytes is longer than {MAX_PATH_LEN}")]
    PathTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// Directories are nested too deeply.
    #[error("it is nested more than {MAX_DEPTH} directories deep")]
    TooDeep,
    /// A symbolic link on the way points to itself or to a long chain.
    #[error("more than {MAX_SYMLINK_HOPS} symbolic links lead to it")]
    TooManySymlinks,
    /// Paths and links of the image lead over too many directories.
    #[error("the image's paths and links lead over more than {MAX_WALKED} directories")]
    TooManySteps,
    /// Something on the way is no directory.
    #[error("`{parent}` on the way to it is no directory")]
    NotADirectory {
        /// Name of what is in the way.
        parent: String,
    },
    /// The root can only be a directory.
    #[error("it would replace the root directory by something else")]
    ReplacesRoot,
    /// A whiteout names nothing.
    #[error("a whiteout must name what it removes")]
    BareWhiteout,
    /// A whiteout's name is used as a directory.
    #[error("`{component}` is a whiteout, not a directory")]
    WhiteoutDirectory {
        /// The component of the path.
        component: String,
    },
    /// The target of a hard link is not there.
    #[error(
        "its hard link target `{target}` does not exist in this layer so far, nor in a lower one"
    )]
    MissingTarget {
        /// Name of the target.
        target: String,
    },
    /// The target of a hard link is a directory.
    #[error("its hard link target `{target}` is a directory")]
    TargetIsDirectory {
        /// Name of the target.
        target: String,
    },
    /// A symbolic or hard link has no target.
    #[error("it is a link without a target")]
    EmptyLink,
    /// The entry's user or group id has more than 32 bits.
    #[error("its {field} {value} has more than 32 bits")]
    IdTooLarge {
        /// `uid` or `gid`.
        field: &'static str,
        /// The number.
        value: u64,
    },
    /// A device number that Linux can't represent.
    #[error("device {major}:{minor} has a number that Linux can't represent")]
    Device {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A file is longer than ext4 can hold.
    #[error("its {len} bytes are more than the {limit} that a file may have")]
    FileTooLarge {
        /// Its length in bytes.
        len: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// An extended attribute's name or value is too long, or its name empty.
    #[error("its extended attribute `{name}` has a name or value that is empty or too long")]
    Xattr {
        /// Name of the attribute.
        name: String,
    },
    /// The image has more entries than allowed.
    #[error("the image has more than {limit} entries")]
    TooManyEntries {
        /// The limit.
        limit: u64,
    },
    /// Names, links, attributes and sparse maps take more memory than allowed.
    #[error("names, links, attributes and sparse maps take more than {limit} bytes")]
    TooMuchMetadata {
        /// The limit in bytes.
        limit: u64,
    },
}
