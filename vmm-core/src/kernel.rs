//! Kernel images: from a file's bytes to pages that guests map.
//!
//! A bzImage's payload is unpacked on the host where its compression is known (LZ4, Zstandard, gzip and xz),
//! since that takes much longer in a guest that has just been switched on. Any other bzImage is loaded as it
//! is and unpacks itself.
//!
//! Invariant: a parsed image names only bytes that its file has, and loads only above the first MiB.

mod bzimage;
mod elf;
mod image;
mod payload;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use linux_loader::loader;

use crate::error::StartError;

pub(crate) use image::{KernelImage, Placement};

/// The largest kernel, packed or unpacked, that is read into the host's memory.
pub(crate) const MAX_KERNEL_BYTES: usize = 512 << 20;

const ELF_MAGIC: &[u8] = b"\x7fELF";

/// Why a file can't be booted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A folder, pipe or device.
    #[error("it is not a regular file: give the path of a vmlinux or vmlinuz file")]
    NotAFile,
    /// Neither ELF nor bzImage.
    #[error(
        "it is not a kernel: neither an x86-64 vmlinux (an ELF file that loads above 1 MiB) nor a bzImage (vmlinuz)"
    )]
    NotAKernel,
    /// The file ends before its own headers say.
    #[error(
        "it is truncated: {what} should reach to byte {expected}, but there are {actual}; fetch the file again"
    )]
    Truncated {
        /// Which part is cut off.
        what: &'static str,
        /// Where it should end.
        expected: u64,
        /// Where it ends.
        actual: u64,
    },
    /// A header has a value that makes no sense.
    #[error("its {what} is not valid")]
    Malformed {
        /// Which part.
        what: &'static str,
    },
    /// The kernel was built without the 64-bit boot protocol.
    #[error("it has no 64-bit entry point: use a kernel for x86-64")]
    No64BitEntry,
    /// The file or the kernel in it is past all reason.
    #[error("it is larger than {max_mib} MiB", max_mib = MAX_KERNEL_BYTES >> 20)]
    TooLarge,
    /// It is packed in a way that takes too much memory to unpack.
    #[error(
        "unpacking it takes a dictionary of more than {max_mib} MiB: pack it with a smaller one, as the kernel's own \
         build does",
        max_mib = payload::MAX_WINDOW_MIB
    )]
    WindowTooLarge,
    /// The guest's memory can't hold it.
    #[error(
        "it needs memory up to {needs_mib} MiB, and the VM has {memory_mib} MiB below the device hole: raise the memory"
    )]
    DoesNotFit {
        /// Where the kernel ends.
        needs_mib: u64,
        /// What there is.
        memory_mib: u64,
    },
    /// There is no entry point for the protocol that was asked for.
    #[error(
        "it has no PVH entry point: use a kernel with CONFIG_PVH, uncompressed or packed with LZ4, Zstandard, gzip or \
         xz, or the Linux boot protocol"
    )]
    NoPvhEntry,
    /// Laying out its parts failed.
    #[error("it could not be loaded")]
    Load {
        /// What the loader says.
        source: loader::Error,
    },
    /// The host could not hold its pages, or not map them into the guest.
    #[error(
        "its pages could not be {action}: check the host's memory and this process's limit on descriptors (ulimit -n)"
    )]
    Pages {
        /// What was tried.
        action: &'static str,
        /// The host's answer.
        source: io::Error,
    },
}

/// A kernel that has been read, checked and unpacked: made once, it starts any number of VMs.
///
/// VMs share the pages that they don't change, so that more VMs of one `Kernel` take less memory than the same number
/// with a kernel each. Guests can then tell by timing which pages of the kernel others use; where that matters, start
/// them by the file's path. Clones are the same kernel. The file is not looked at again; one that is replaced on disk needs a
/// new `Kernel`.
#[derive(Clone, Debug)]
pub struct Kernel {
    path: PathBuf,
    image: Arc<KernelImage>,
}

impl Kernel {
    /// Reads a kernel: an ELF `vmlinux`, or a bzImage (`vmlinuz` of a distribution).
    ///
    /// # Errors
    /// [`StartError::ReadKernel`] and [`StartError::Kernel`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StartError> {
        let path = path.into();
        let read = |source| StartError::ReadKernel {
            path: path.clone(),
            source,
        };
        let wrong = |source| StartError::Kernel {
            path: path.clone(),
            source,
        };
        // Opening a pipe or reading a device could last for ever.
        if !std::fs::metadata(&path).map_err(read)?.is_file() {
            return Err(wrong(KernelError::NotAFile));
        }
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|file| {
                file.take(MAX_KERNEL_BYTES as u64 + 1)
                    .read_to_end(&mut bytes)
            })
            .map_err(read)?;
        if bytes.len() > MAX_KERNEL_BYTES {
            return Err(wrong(KernelError::TooLarge));
        }
        let image = KernelImage::parse(&bytes).map_err(wrong)?;
        Ok(Self {
            image: Arc::new(image),
            path,
        })
    }

    /// The file that it was read from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn image(&self) -> &KernelImage {
        &self.image
    }
}

/// Where a VM's kernel comes from.
#[derive(Clone, Debug)]
pub enum KernelSource {
    /// A file that is read for this VM alone.
    Path(PathBuf),
    /// One that was read before.
    Open(Kernel),
}

impl KernelSource {
    /// What becomes of the kernel's pages in a guest.
    pub(crate) fn placement(&self) -> Placement {
        match self {
            Self::Path(_) => Placement::Copied,
            Self::Open(_) => Placement::Shared,
        }
    }

    /// The kernel, read now if it was not before.
    pub(crate) fn open(&self) -> Result<Kernel, StartError> {
        match self {
            Self::Path(path) => Kernel::open(path),
            Self::Open(kernel) => Ok(kernel.clone()),
        }
    }
}

impl From<Kernel> for KernelSource {
    fn from(kernel: Kernel) -> Self {
        Self::Open(kernel)
    }
}

impl<P: AsRef<Path> + ?Sized> From<&P> for KernelSource {
    fn from(path: &P) -> Self {
        Self::Path(path.as_ref().to_owned())
    }
}

impl From<PathBuf> for KernelSource {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

/// The little-endian value of `N` bytes at `offset`.
fn bytes_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    let end = offset.checked_add(N)?;
    bytes.get(offset..end)?.try_into().ok()
}

#[cfg(test)]
mod tests;
