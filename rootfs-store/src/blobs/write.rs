//! Writing of blobs: staged, synced, then given their names.

use std::io::{BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::writeback::Writeback;
use super::{BUFFER_BYTES, Blobs, Published, io_error};
use crate::digest::BlobDigest;
use crate::files::StoreFile;
use crate::leases::Lease;
use crate::store::StoreError;

/// A blob that is being written; dropping it leaves nothing.
pub(crate) struct NewBlob<'a> {
    blobs: &'a Blobs,
    pub(super) file: BufWriter<NamedTempFile<StoreFile>>,
    writeback: Writeback,
    hasher: Sha256,
    len: u64,
}

impl<'a> NewBlob<'a> {
    pub(super) fn new(blobs: &'a Blobs, file: NamedTempFile<StoreFile>) -> Self {
        Self {
            blobs,
            file: BufWriter::with_capacity(BUFFER_BYTES, file),
            writeback: Writeback::new(),
            hasher: Sha256::new(),
            len: 0,
        }
    }

    /// Bytes written so far.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        let file = self.file.get_ref().as_file().get();
        self.writeback
            .advance(file, self.len)
            .and_then(|()| self.file.write_all(bytes))
            .map_err(io_error("write a blob to", &self.blobs.staging))
    }

    /// Reads what was written.
    pub(crate) fn read_at(&mut self, buf: &mut [u8], offset: u64) -> Result<(), StoreError> {
        let read = self.file.flush().and_then(|()| {
            let file = self.file.get_ref().as_file().get();
            file.read_exact_at(buf, offset)
        });
        read.map_err(io_error("read a blob in", &self.blobs.staging))
    }

    /// Syncs the blob's bytes, so that it can be published.
    pub(crate) fn finish(mut self) -> Result<StagedBlob<'a>, StoreError> {
        let staging = &self.blobs.staging;
        self.writeback
            .finish()
            .map_err(io_error("sync a blob in", staging))?;
        let file = self
            .file
            .into_inner()
            .map_err(|error| io_error("write a blob to", staging)(error.into_error()))?;
        // Temporary files are the owner's alone; blobs are as public as the folder that they are in.
        file.as_file()
            .set_mode(0o444)
            .map_err(io_error("set the mode of a blob in", staging))?;
        file.as_file()
            .sync_all()
            .map_err(io_error("sync a blob in", staging))?;
        let digest = BlobDigest::from_bytes(self.hasher.finalize().into());
        Ok(StagedBlob {
            blobs: self.blobs,
            file,
            digest,
            bytes: self.len,
        })
    }
}

/// A blob that is complete and durable, but has no name yet; dropping it leaves nothing.
pub(crate) struct StagedBlob<'a> {
    blobs: &'a Blobs,
    file: NamedTempFile<StoreFile>,
    pub(crate) digest: BlobDigest,
    pub(crate) bytes: u64,
}

impl StagedBlob<'_> {
    pub(crate) fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), StoreError> {
        let file = self.file.as_file().get();
        let read = file.read_exact_at(buf, offset);
        read.map_err(io_error("read a blob in", &self.blobs.staging))
    }

    /// Gives the blob its name, and keeps it by `lease`; [`Blobs::sync`] makes the name durable.
    ///
    /// A file that has the name already is replaced: its bytes may have been damaged since it was written.
    pub(crate) fn publish(self, lease: &Lease) -> Result<Published, StoreError> {
        lease.add_blob(self.digest)?;
        let path = self.blobs.path(&self.digest);
        let new = !path
            .metadata()
            .is_ok_and(|metadata| metadata.len() == self.bytes);
        self.blobs
            .files
            .keep(self.file, &path)
            .map_err(io_error("rename a blob to", &path))?;
        Ok(Published {
            digest: self.digest,
            bytes: self.bytes,
            new,
        })
    }
}
