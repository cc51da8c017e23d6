//! Container images as disks, and disks as content-addressed OCI artifacts.
#![forbid(unsafe_code)]

mod blobs;
mod boot_pack;
mod chunk;
mod chunk_source;
mod commit;
mod compact;
mod diff;
mod digest;
mod disk;
mod empty_disk;
mod envelope;
mod export;
pub mod ext4;
mod files;
mod gc;
mod grow;
pub mod image;
mod import;
mod import_disk;
mod index;
mod leases;
mod live;
mod manifest;
mod ordered;
mod pack;
mod places;
mod plain_disk;
mod profile;
mod progress;
mod publish;
mod pull;
mod push;
mod reach;
mod reference;
mod references;
mod registry;
mod remote;
mod repair;
mod seal;
mod store;
#[cfg(test)]
mod testing;
pub mod tree;
mod usage;
mod verify;

/// The formats on disk and in registries, read from bytes that nobody vouches for.
pub mod formats {
    pub use crate::disk::{MapHeader, open_sector, seal_sector};
    pub use crate::envelope::{EnvelopeError, open_envelope, seal_envelope};
    pub use crate::index::{Locator, PackRef, Page};
    pub use crate::manifest::{Manifest, parse_config, parse_manifest};
    pub use crate::pack::{Table, TableEntry};
    pub use crate::registry::{Challenge, parse_challenges};
    pub use crate::remote::RemoteRecord;
}

pub use boot_pack::BootPacked;
pub use chunk::{DEFAULT_CHUNK_BYTES, FrameError};
pub use commit::{CommitError, Committed, Frozen, PreparedFreeze};
pub use compact::Compacted;
pub use diff::{Diff, DiffError};
pub use digest::{BlobDigest, ChunkDigest, DigestError, SnapshotDigest};
pub use disk::{
    BLOCK_BYTES, DiskError, MapError, ReadInto, RemoteTrouble, WritableDisk, WriteFrom,
};
pub use empty_disk::EmptyDiskError;
pub use export::{ExportError, Exported};
pub use files::{Change, FileId, Watch};
pub use gc::Collected;
pub use grow::{GrowError, Grown};
pub use import::{ImportError, ImportOptions, Imported};
pub use import_disk::ImportDiskError;
pub use index::PageError;
pub use leases::Lease;
pub use manifest::{ManifestError, NamedBlob, Pack, Snapshot};
pub use pack::PackError;
pub use profile::{BootProfile, ProfileError};
pub use progress::{Progress, Stage};
pub use publish::{
    LayerSummary, PublishError, PublishOptions, PublishedImage, PublishedLayer, write_plain_layer,
};
pub use pull::{PullError, PullOptions, Pulled};
pub use push::{PushError, Pushed};
pub use reach::{Root, RootError};
pub use reference::{ImageReference, ReferenceError};
pub use references::NamedSnapshot;
pub use registry::{
    Credential, Credentials, ProxySetting, Registries, RegistryError, RegistryMetrics,
    RegistryOptions, RegistryReference, RetryPolicy, Secret,
};
pub use remote::{
    Elsewhere, FillOptions, Filled, MAX_READ_BYTES, Origin, OriginError, Part, Prefetched,
    RemoteError, RemoteStats, Sink, Stop,
};
pub use repair::{NotRepaired, RepairError, RepairSource, Repaired};
pub use store::{Store, StoreError, StoreOptions};
pub use usage::{DiskUsage, Needs, SnapshotUsage, Usage};
pub use verify::{Affected, Fault, Problem, Verified};
