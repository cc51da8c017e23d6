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
    place: Weak<Place>,
}

/// Where a kernel is once it has been read.
type Place = Mutex<Option<vmm_core::Kernel>>;

/// A kernel that a session holds.
#[derive(Debug)]
pub(crate) struct HeldKernel {
    kernel: vmm_core::Kernel,
    /// Keeps it for others.
    _place: Arc<Place>,
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
    pub(crate) fn open(&self, path: &Path) -> Result<HeldKernel, Error> {
        let unreadable = |source| Repr::KernelUnreadable {
            path: path.to_owned(),
            source,
        };
        let file = Identity::new(path, &path.metadata().map_err(unreadable)?);
        let place = self.place(file);
        // Held while the kernel is read, so that sessions that start together wait for one reading.
        let mut known = place.lock().unwrap_or_else(PoisonError::into_inner);
        let kernel = match &*known {
            Some(kernel) => kernel.clone(),
            None => known.insert(vmm_core::Kernel::open(path)?).clone(),
        };
        drop(known);
        Ok(HeldKernel {
            kernel,
            _place: place,
        })
    }

    fn place(&self, file: Identity) -> Arc<Place> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| entry.place.strong_count() > 0);
        let known = entries.iter().find(|entry| entry.file == file);
        known
            .and_then(|entry| entry.place.upgrade())
            .unwrap_or_else(|| {
                let place = Arc::default();
                entries.push(Entry {
                    file,
                    place: Arc::downgrade(&place),
                });
                place
            })
    }
}

impl HeldKernel {
    /// The kernel, for a VM.
    pub(crate) fn kernel(&self) -> vmm_core::Kernel {
        self.kernel.clone()
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
