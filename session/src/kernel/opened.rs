//! Kernels laid out for guests: read once for all sessions of a store that run at the same time.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::error::{Error, Repr};

/// The kernels that sessions hold. None is kept for its own sake: a kernel takes as much memory as it has bytes.
#[derive(Debug, Default)]
pub(crate) struct OpenKernels {
    entries: Mutex<Vec<Entry>>,
}

#[derive(Debug)]
struct Entry {
    file: Identity,
    kernel: Weak<vmm_core::Kernel>,
}

/// What is another file, or another version of it, differs in this.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    path: PathBuf,
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds: of the last write, and of the last change of any kind.
    times: [i64; 4],
}

impl OpenKernels {
    /// The kernel at `path`, read if no session holds it as it is now.
    ///
    /// # Errors
    /// [`ErrorKind::Kernel`](crate::ErrorKind::Kernel) if it can't be read or is none.
    pub(crate) fn open(&self, path: &Path) -> Result<Arc<vmm_core::Kernel>, Error> {
        let unreadable = |source| Repr::KernelUnreadable {
            path: path.to_owned(),
            source,
        };
        let file = Identity::new(path, &path.metadata().map_err(unreadable)?);
        // Held while the kernel is read, so that sessions that start together wait for one reading.
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| entry.kernel.strong_count() > 0);
        let known = entries.iter().find(|entry| entry.file == file);
        if let Some(kernel) = known.and_then(|entry| entry.kernel.upgrade()) {
            return Ok(kernel);
        }
        let kernel = Arc::new(vmm_core::Kernel::open(path)?);
        entries.push(Entry {
            file,
            kernel: Arc::downgrade(&kernel),
        });
        Ok(kernel)
    }
}

impl Identity {
    fn new(path: &Path, metadata: &Metadata) -> Self {
        Self {
            path: path.to_owned(),
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            times: [
                metadata.mtime(),
                metadata.mtime_nsec(),
                metadata.ctime(),
                metadata.ctime_nsec(),
            ],
        }
    }
}

#[cfg(test)]
mod tests;
