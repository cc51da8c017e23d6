//! Why a tree does not become a disk.

/// Why a tree does not become a disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The files don't fit.
    #[error("the files need a disk of {needed} bytes, but it has {disk_bytes}")]
    DiskTooSmall {
        /// Size that was asked for, in bytes.
        disk_bytes: u64,
        /// Size of the smallest disk that holds them, in bytes.
        needed: u64,
    },
    /// Block numbers would pass 32 bits.
    #[error("a disk of {disk_bytes} bytes is larger than {limit} bytes")]
    DiskTooLarge {
        /// Size that was asked for, or that the files would need, in bytes.
        disk_bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The chunk size is no power of two, or out of range.
    #[error("chunks of {chunk_bytes} bytes: the size must be a power of two from 4 KiB to 64 MiB")]
    ChunkSize {
        /// The size in bytes.
        chunk_bytes: u32,
    },
    /// Inode numbers would pass 32 bits.
    #[error("the tree has more than {limit} files and large extended attributes")]
    TooManyInodes {
        /// The limit.
        limit: u32,
    },
    /// A file has more names than its link count can say.
    #[error("`{path}` has {links} names, more than {limit}")]
    TooManyLinks {
        /// One of its names, with bytes that are not UTF-8 escaped.
        path: String,
        /// How many names it has.
        links: u32,
        /// The limit.
        limit: u32,
    },
    /// A directory's index would need a third level.
    #[error("the directory `{path}` has more entries than its index can hold")]
    DirectoryTooLarge {
        /// Its name, with bytes that are not UTF-8 escaped.
        path: String,
    },
    /// The names of a file's extended attributes alone fill more than a block.
    #[error("`{path}` has more extended attributes than fit into a block")]
    XattrsTooLarge {
        /// One of its names, with bytes that are not UTF-8 escaped.
        path: String,
    },
    /// An access control list has not the form that Linux gives it.
    #[error("the access control list `{name}` of `{path}` is malformed")]
    Acl {
        /// One of the file's names, with bytes that are not UTF-8 escaped.
        path: String,
        /// Name of the extended attribute.
        name: &'static str,
    },
    /// Something that is no directory has the name that file system checkers need.
    #[error("`/lost+found` is no directory")]
    LostAndFound,
}
