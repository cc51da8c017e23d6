//! A layer's blob: compressed while it is written, and hashed before and after.

use std::io::{self, BufWriter, Write};

use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::PublishError;
use crate::digest::BlobDigest;
use crate::image::Compression;

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;
/// Higher ones take much longer for a few per cent.
const ZSTD_LEVEL: i32 = 3;

/// Passes on what it hashes and counts.
struct Hashing<W> {
    inner: W,
    hasher: Sha256,
    bytes: u64,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            hasher: Sha256::new(),
            bytes: 0,
        }
    }

    /// What it wrote to, the digest of what that got, and how much it was.
    fn finish(self) -> (W, BlobDigest, u64) {
        let digest = BlobDigest::from_bytes(self.hasher.finalize().into());
        (self.inner, digest, self.bytes)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

type Compressed = Hashing<BufWriter<NamedTempFile>>;

enum Encoder {
    Plain(Compressed),
    Gzip(GzEncoder<Compressed>),
    Zstd(zstd::Encoder<'static, Compressed>),
}

impl Encoder {
    fn new(out: Compressed, compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::Plain(out),
            Compression::Gzip => Self::Gzip(GzEncoder::new(out, flate2::Compression::default())),
            Compression::Zstd => Self::Zstd(zstd::Encoder::new(out, ZSTD_LEVEL)?),
        })
    }

    fn finish(self) -> io::Result<Compressed> {
        match self {
            Self::Plain(out) => Ok(out),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl Write for Encoder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    /// Does nothing, as compressors would end a block: what was written is complete after [`LayerBlob::finish`] only.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A layer's blob that is being written; takes the plain tar stream.
pub(super) struct LayerBlob {
    plain: Hashing<Encoder>,
}

/// A layer's blob that is complete.
pub(super) struct WrittenBlob {
    pub(super) file: NamedTempFile,
    pub(super) digest: BlobDigest,
    pub(super) bytes: u64,
    pub(super) diff_id: BlobDigest,
}

impl LayerBlob {
    pub(super) fn create(
        file: NamedTempFile,
        compression: Compression,
    ) -> Result<Self, PublishError> {
        let compressed = Hashing::new(BufWriter::with_capacity(BUFFER_BYTES, file));
        let encoder = Encoder::new(compressed, compression);
        let encoder = encoder.map_err(|source| PublishError::Write { source })?;
        Ok(Self {
            plain: Hashing::new(encoder),
        })
    }

    pub(super) fn finish(self) -> Result<WrittenBlob, PublishError> {
        let write_error = |source| PublishError::Write { source };
        let (encoder, diff_id, _) = self.plain.finish();
        let (file, digest, bytes) = encoder.finish().map_err(write_error)?.finish();
        let file = file.into_inner();
        let file = file.map_err(|error| write_error(error.into_error()))?;
        Ok(WrittenBlob {
            file,
            digest,
            bytes,
            diff_id,
        })
    }
}

impl Write for LayerBlob {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.plain.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.plain.flush()
    }
}
