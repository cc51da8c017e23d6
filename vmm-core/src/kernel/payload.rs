//! Unpacks the ELF kernel inside a bzImage.
//!
//! A payload ends with the unpacked size, four bytes little-endian: that of gzip by its own format, the
//! others as the kernel's build appends it.
//!
//! Invariant: unpacking takes no more memory than a kernel of that size and [`MAX_WINDOW_MIB`], whatever
//! headers say.

use std::io::{self, Read};

use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;

use super::{KernelError, MAX_KERNEL_BYTES};

/// LZ4's legacy frame: this magic, then blocks of a four-byte length and that many packed bytes.
const LZ4_LEGACY_MAGIC: [u8; 4] = 0x184c_2102_u32.to_le_bytes();
/// What a block of a legacy frame unpacks to, but for the last, which may be shorter.
const LZ4_LEGACY_BLOCK: usize = 8 << 20;
const ZSTD_MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
/// RFC 1952: the magic, then deflate, which is the only method.
const GZIP_MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
const XZ_MAGIC: [u8; 6] = *b"\xfd7zXZ\0";
const SIZE_BYTES: usize = 4;

/// How far back in the unpacked kernel a payload may refer (xz's dictionary, zstd's window), in MiB: the most
/// that builds of the kernel ask for.
pub(super) const MAX_WINDOW_MIB: u32 = 128;
/// What xz may take for that and for itself.
const XZ_LIMIT_KIB: u32 = (MAX_WINDOW_MIB + 1) << 10;

/// The compressions that are unpacked on the host.
#[derive(Clone, Copy)]
enum Packing {
    Lz4,
    Zstd,
    Gzip,
    Xz,
}

impl Packing {
    fn of(payload: &[u8]) -> Option<Self> {
        match payload {
            _ if payload.starts_with(&LZ4_LEGACY_MAGIC) => Some(Self::Lz4),
            _ if payload.starts_with(&ZSTD_MAGIC) => Some(Self::Zstd),
            _ if payload.starts_with(&GZIP_MAGIC) => Some(Self::Gzip),
            _ if payload.starts_with(&XZ_MAGIC) => Some(Self::Xz),
            _ => None,
        }
    }
}

/// The unpacked kernel, or `None` if the compression is not one that is unpacked on the host.
pub(super) fn unpack(payload: &[u8]) -> Result<Option<Vec<u8>>, KernelError> {
    let Some(packing) = Packing::of(payload) else {
        return Ok(None);
    };
    let (packed, size) = payload.split_last_chunk::<SIZE_BYTES>().ok_or(DAMAGED)?;
    let size = u32::from_le_bytes(*size) as usize;
    if size > MAX_KERNEL_BYTES {
        return Err(KernelError::TooLarge);
    }
    let kernel = match packing {
        Packing::Lz4 => lz4_legacy(packed, size)?,
        Packing::Zstd => zstd(packed, size).map_err(|_| DAMAGED)?,
        Packing::Gzip => read(GzDecoder::new(payload), size).map_err(|_| DAMAGED)?,
        Packing::Xz => xz(packed, size)?,
    };
    if kernel.len() != size {
        return Err(DAMAGED);
    }
    Ok(Some(kernel))
}

const DAMAGED: KernelError = KernelError::Malformed {
    what: "packed kernel (damaged or cut off; fetch the file again)",
};

fn lz4_legacy(packed: &[u8], size: usize) -> Result<Vec<u8>, KernelError> {
    let mut blocks = packed.get(LZ4_LEGACY_MAGIC.len()..).ok_or(DAMAGED)?;
    let mut kernel = vec![0; size];
    let mut filled = 0;
    while let Some((length, rest)) = blocks.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let (block, rest) = rest.split_at_checked(length).ok_or(DAMAGED)?;
        let room = size.min(filled + LZ4_LEGACY_BLOCK);
        let written = lz4_flex::block::decompress_into(block, &mut kernel[filled..room])
            .map_err(|_| DAMAGED)?;
        if written == 0 {
            return Err(DAMAGED);
        }
        filled += written;
        blocks = rest;
    }
    kernel.truncate(filled);
    Ok(kernel)
}

fn zstd(frame: &[u8], size: usize) -> io::Result<Vec<u8>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(frame)?;
    decoder.window_log_max((MAX_WINDOW_MIB << 20).ilog2())?;
    read(decoder.single_frame(), size)
}

fn xz(stream: &[u8], size: usize) -> Result<Vec<u8>, KernelError> {
    let reader = XzReader::new_mem_limit(stream, false, XZ_LIMIT_KIB);
    read(reader, size).map_err(|error| match error.kind() {
        io::ErrorKind::OutOfMemory => KernelError::WindowTooLarge,
        _ => DAMAGED,
    })
}

/// Reads what should be a kernel of `size` bytes to its end, and no more than a byte past it.
fn read(packed: impl Read, size: usize) -> io::Result<Vec<u8>> {
    let mut kernel = Vec::with_capacity(size + 1);
    packed.take(size as u64 + 1).read_to_end(&mut kernel)?;
    Ok(kernel)
}
