//! Which kind the errors of other crates are.

use std::io;

use rootfs_store::ext4::LayoutError;
use rootfs_store::image::ImageError;
use rootfs_store::tree::TreeError;
use rootfs_store::{
    DiffError, DiskError, EmptyDiskError, ExportError, ImportDiskError, ImportError, PublishError,
    PullError, PushError, RegistryError, RemoteError, RepairError, StoreError,
};
use vmm_core::StartError;

use super::ErrorKind;

pub(super) fn store_kind(error: &StoreError) -> ErrorKind {
    match error {
        StoreError::NotFound { .. } => ErrorKind::NotFound,
        StoreError::Remote(error) => remote_kind(error),
        StoreError::AmbiguousPrefix { .. } | StoreError::BadName { .. } => ErrorKind::InvalidInput,
        _ => ErrorKind::Storage,
    }
}

pub(super) fn import_kind(error: &ImportError) -> ErrorKind {
    match error {
        ImportError::DiskSize { .. }
        | ImportError::ChunkSize { .. }
        | ImportError::ParentChunkSize { .. }
        | ImportError::Layout {
            source: LayoutError::DiskTooSmall { .. },
            ..
        } => ErrorKind::InvalidInput,
        ImportError::Spool { .. }
        | ImportError::ParentDamaged { .. }
        | ImportError::Tree {
            source: TreeError::Spool { .. },
            ..
        } => ErrorKind::Storage,
        ImportError::Store(error) => store_kind(error),
        ImportError::Image { source, .. } => image_kind(source),
        _ => ErrorKind::Image,
    }
}

pub(super) fn disk_kind(error: &DiskError) -> ErrorKind {
    match error {
        DiskError::InUse { .. } => ErrorKind::Busy,
        DiskError::Store(error) => store_kind(error),
        _ => ErrorKind::Storage,
    }
}

pub(super) fn empty_disk_kind(error: &EmptyDiskError) -> ErrorKind {
    match error {
        EmptyDiskError::Scratch(_) => ErrorKind::Storage,
        EmptyDiskError::Store(error) => store_kind(error),
        _ => ErrorKind::InvalidInput,
    }
}

pub(super) fn export_kind(error: &ExportError) -> ErrorKind {
    match error {
        ExportError::Exists { .. } => ErrorKind::InvalidInput,
        ExportError::Store(error) => store_kind(error),
        _ => ErrorKind::Storage,
    }
}

pub(super) fn repair_kind(error: &RepairError) -> ErrorKind {
    match error {
        RepairError::NoLayout { .. } => ErrorKind::InvalidInput,
        RepairError::Registry { source, .. } => registry_kind(source),
        RepairError::Store(error) => store_kind(error),
        _ => ErrorKind::Storage,
    }
}

pub(super) fn import_disk_kind(error: &ImportDiskError) -> ErrorKind {
    match error {
        ImportDiskError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            ErrorKind::NotFound
        }
        ImportDiskError::NoDisk { .. } | ImportDiskError::Size { .. } => ErrorKind::InvalidInput,
        ImportDiskError::Store(error) => store_kind(error),
        _ => ErrorKind::Storage,
    }
}

pub(super) fn diff_kind(error: &DiffError) -> ErrorKind {
    match error {
        DiffError::ChunkSizes { .. } => ErrorKind::InvalidInput,
        DiffError::Store(error) => store_kind(error),
        _ => ErrorKind::Storage,
    }
}

pub(super) fn start_kind(error: &StartError) -> ErrorKind {
    match error {
        StartError::NoKvm { .. }
        | StartError::KvmPermission { .. }
        | StartError::KvmVersion { .. }
        | StartError::KvmCapability { .. }
        | StartError::Kvm { .. } => ErrorKind::Kvm,
        StartError::ReadKernel { .. } | StartError::Kernel { .. } => ErrorKind::Kernel,
        StartError::MapMemory { .. } | StartError::Host { .. } => ErrorKind::Host,
        _ => ErrorKind::InvalidInput,
    }
}

pub(super) fn push_kind(error: &PushError) -> ErrorKind {
    match error {
        PushError::OtherDigest { .. } => ErrorKind::InvalidInput,
        PushError::Store(error) => store_kind(error),
        _ => ErrorKind::Registry,
    }
}

fn remote_kind(error: &RemoteError) -> ErrorKind {
    match error {
        RemoteError::Record { .. }
        | RemoteError::RecordVersion { .. }
        | RemoteError::Bounds { .. } => ErrorKind::Storage,
        _ => ErrorKind::Registry,
    }
}

pub(super) fn publish_kind(error: &PublishError) -> ErrorKind {
    match error {
        PublishError::Registry { source, .. } => registry_kind(source),
        PublishError::BaseLayer { source, .. } => registry_kind(source),
        PublishError::Image { source, .. } => image_kind(source),
        PublishError::Files { .. } | PublishError::Io { .. } => ErrorKind::Storage,
        PublishError::Store(error) => store_kind(error),
        _ => ErrorKind::InvalidInput,
    }
}

pub(super) fn pull_kind(error: &PullError) -> ErrorKind {
    match error {
        PullError::Registry { source, .. } if source.is_not_found() => ErrorKind::NotFound,
        PullError::NoSnapshot { .. } => ErrorKind::InvalidInput,
        PullError::Store(error) => store_kind(error),
        _ => ErrorKind::Registry,
    }
}

/// An image that the registry does not have is missing, as one that a folder does not have.
fn image_kind(error: &ImageError) -> ErrorKind {
    match error {
        ImageError::Registry(error) => registry_kind(error),
        _ => ErrorKind::Image,
    }
}

pub(super) fn registry_kind(error: &RegistryError) -> ErrorKind {
    match error {
        RegistryError::BadHost { .. }
        | RegistryError::BadProxy
        | RegistryError::CaFile { .. }
        | RegistryError::NoCertificate { .. } => ErrorKind::InvalidInput,
        error if error.is_not_found() => ErrorKind::Image,
        _ => ErrorKind::Registry,
    }
}
