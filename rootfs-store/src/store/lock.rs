//! The one lock of a store, which makes its processes take turns.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::blobs::io_error;
use crate::files::Files;
use crate::store::StoreError;

const LOCK: &str = "lock";

/// Held while `index.json` or leases change, and while `gc` decides and removes. Dropping it lets the next one in.
///
/// Whoever holds it must not ask for it again, as by making a lease: that would wait for ever.
#[derive(Debug)]
pub(crate) struct StoreLock {
    _file: File,
}

impl StoreLock {
    /// Waits for the lock of the store in `root`.
    pub(crate) fn wait(files: &Files, root: &Path) -> Result<Self, StoreError> {
        let path = root.join(LOCK);
        let open = || -> io::Result<File> {
            let file = files.open_lock(&path)?;
            file.lock()?;
            Ok(file)
        };
        let file = open().map_err(io_error("lock", &path))?;
        Ok(Self { _file: file })
    }
}
