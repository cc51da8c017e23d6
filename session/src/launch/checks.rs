//! What can be wrong with a start, before anything is made.

use std::fs::File;
use std::io;
use std::path::Path;

use rootfs_store::SnapshotDigest;
use vmm_core::{MAX_VCPUS, MIN_MEMORY_MIB, StartError};

use crate::about::About;
use crate::builder::Settings;
use crate::drive;
use crate::error::{Error, Repr};
use crate::id;
use crate::store::Store;

/// What guests can run, as Go names it.
const ARCHITECTURES: [&str; 2] = ["amd64", "386"];

/// Checks what can be checked without touching the store.
pub(super) fn check(settings: &Settings) -> Result<(), Error> {
    settings.id.as_deref().map_or(Ok(()), id::check)?;
    settings
        .hostname
        .as_deref()
        .map_or(Ok(()), id::check_hostname)?;
    settings
        .limits
        .as_ref()
        .map_or(Ok(()), |limits| limits.check())?;
    let about = settings.about.as_ref();
    about.map_or(Ok(()), About::check)?;
    settings.description.check()?;
    drive::check(&settings.drives)?;
    if let Some(asked) = settings.vcpus
        && !(1..=MAX_VCPUS).contains(&asked)
    {
        return Err(StartError::Vcpus { asked }.into());
    }
    if let Some(asked_mib) = settings.memory_mib
        && asked_mib < MIN_MEMORY_MIB
    {
        return Err(StartError::TooLittleMemory { asked_mib }.into());
    }
    Ok(())
}

/// Refuses a snapshot whose programs the guest's processor can't run.
pub(super) fn check_machine(store: &Store, snapshot: &SnapshotDigest) -> Result<(), Error> {
    check_architecture(store.snapshot(snapshot)?.machine.architecture())
}

pub(super) fn check_architecture(architecture: &str) -> Result<(), Error> {
    match ARCHITECTURES.contains(&architecture) {
        true => Ok(()),
        false => Err(Repr::OtherMachine {
            architecture: architecture.to_owned(),
        }
        .into()),
    }
}

/// Fails early where no VM can run, before an image is imported for nothing.
pub(super) fn check_kvm(device: &Path) -> Result<(), Error> {
    match File::options().read(true).write(true).open(device) {
        Ok(_) => Ok(()),
        Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
            Err(StartError::KvmPermission { source }.into())
        }
        Err(source) => Err(StartError::NoKvm { source }.into()),
    }
}
