//! The layers of a base on their way to the layout that an image is published to.

use std::io::{self, Read as _, Write as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::PublishError;
use super::layout::{LayoutDir, io_error};
use crate::blobs::open_blob;
use crate::digest::BlobDigest;
use crate::image::{BlobPlace, Layer};
use crate::progress::{Progress, Stage};
use crate::reference::ImageReference;
use crate::registry::{Registries, RegistryReference};

/// Bytes that are copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// Copies layers of a base to a layout.
pub(super) struct Below<'a> {
    pub(super) registries: &'a Registries,
    /// Where the layers are that no file has.
    pub(super) base: Option<&'a ImageReference>,
    pub(super) layout: &'a LayoutDir,
    pub(super) progress: &'a dyn Progress,
}

impl Below<'_> {
    /// Makes sure that the layout has all of these layers.
    pub(super) fn copy(&self, layers: &[Layer]) -> Result<(), PublishError> {
        let total = layers.iter().map(|layer| layer.size).sum();
        let mut begins = 0;
        for layer in layers {
            let came = |count| self.progress.advance(Stage::Fetch, begins + count, total);
            self.copy_layer(layer, &came)?;
            begins += layer.size;
            self.progress.advance(Stage::Fetch, begins, total);
        }
        Ok(())
    }

    fn copy_layer(&self, layer: &Layer, came: &dyn Fn(u64)) -> Result<(), PublishError> {
        let not_copied = || PublishError::BaseTransport {
            reference: layer.name().to_owned(),
        };
        let digest = layer.name().parse().map_err(|_| not_copied())?;
        if self.layout.has(&digest, layer.size) {
            return Ok(());
        }
        let mut incoming = Incoming {
            file: self.layout.stage()?,
            hasher: Sha256::new(),
            bytes: 0,
            came,
        };
        match (&layer.place, self.base) {
            (BlobPlace::File(from), _) => copy_file(from, &mut incoming)?,
            (BlobPlace::Download(_), Some(ImageReference::Docker { reference })) => {
                self.fetch(reference, &digest, layer.size, &mut incoming)?;
            }
            _ => return Err(not_copied()),
        }
        incoming.keep(self.layout, &digest)
    }

    fn fetch(
        &self,
        base: &RegistryReference,
        digest: &BlobDigest,
        bytes: u64,
        incoming: &mut Incoming<'_>,
    ) -> Result<(), PublishError> {
        let repository = self.registries.repository(base.host(), base.repository());
        let mut sink = |piece: &[u8]| incoming.take(piece);
        repository.read_whole_blob(digest, bytes, &mut sink, |source| PublishError::BaseLayer {
            reference: base.to_string(),
            digest: *digest,
            source: Box::new(source),
        })
    }
}

fn copy_file(from: &Path, incoming: &mut Incoming<'_>) -> Result<(), PublishError> {
    let (mut file, _) = open_blob(from).map_err(io_error("open", from))?;
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(len) => incoming.take(&buffer[..len])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(io_error("read", from)(error)),
        }
    }
}

/// A layer that is being written to a layout.
struct Incoming<'a> {
    file: NamedTempFile,
    hasher: Sha256,
    bytes: u64,
    /// Told how many bytes have come.
    came: &'a dyn Fn(u64),
}

impl Incoming<'_> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), PublishError> {
        self.hasher.update(bytes);
        let written = self.file.write_all(bytes);
        written.map_err(io_error("write", self.file.path()))?;
        self.bytes += bytes.len() as u64;
        (self.came)(self.bytes);
        Ok(())
    }

    /// Gives it its name, if it has the bytes that the name says.
    fn keep(self, layout: &LayoutDir, digest: &BlobDigest) -> Result<(), PublishError> {
        let actual = BlobDigest::from_bytes(self.hasher.finalize().into());
        match actual == *digest {
            true => layout.keep(self.file, digest),
            false => Err(PublishError::LayerDamaged {
                digest: digest.to_string(),
                actual: actual.to_string(),
            }),
        }
    }
}
