//! Unpacks the ELF kernel inside a bzImage.
//!
//! The kernel's build appends the unpacked size, four bytes little-endian, to what the packer wrote.

use std::io::Read;

use super::{KernelError, MAX_KERNEL_BYTES, bytes_at};

/// LZ4's legacy frame: this magic, then blocks of a four-byte length and that many packed bytes.
const LZ4_LEGACY_MAGIC: [u8; 4] = 0x184c_2102_u32.to_le_bytes();
/// What a block of a legacy frame unpacks to, but for the last, which may be shorter.
const LZ4_LEGACY_BLOCK: usize = 8 << 20;
const ZSTD_MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
const SIZE_BYTES: usize = 4;

/// The unpacked kernel, or `None` if the compression is not one that is unpacked on the host.
pub(super) fn unpack(payload: &[u8]) -> Result<Option<Vec<u8>>, KernelError> {
    let unpack = match bytes_at(payload, 0) {
        Some(LZ4_LEGACY_MAGIC) => lz4_legacy,
        Some(ZSTD_MAGIC) => zstd,
        _ => return Ok(None),
    };
    let (packed, size) = payload.split_last_chunk::<SIZE_BYTES>().ok_or(DAMAGED)?;
    let size = u32::from_le_bytes(*size) as usize;
    if size > MAX_KERNEL_BYTES {
        return Err(KernelError::TooLarge);
    }
    let blocks = packed.get(LZ4_LEGACY_MAGIC.len()..).ok_or(DAMAGED)?;
    let kernel = unpack(blocks, packed, size)?;
    if kernel.len() != size {
        return Err(DAMAGED);
    }
    Ok(Some(kernel))
}

const DAMAGED: KernelError = KernelError::Malformed {
    what: "packed kernel (damaged or cut off; fetch the file again)",
};

fn lz4_legacy(mut blocks: &[u8], _: &[u8], size: usize) -> Result<Vec<u8>, KernelError> {
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

fn zstd(_: &[u8], frame: &[u8], size: usize) -> Result<Vec<u8>, KernelError> {
    let mut kernel = Vec::with_capacity(size);
    zstd::stream::read::Decoder::with_buffer(frame)
        .and_then(|decoder| {
            decoder
                .single_frame()
                .take(size as u64 + 1)
                .read_to_end(&mut kernel)
        })
        .map_err(|_| DAMAGED)?;
    Ok(kernel)
}
