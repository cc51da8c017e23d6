//! Takes files out of the operating system's page cache, which needs no privilege and leaves other files alone.

use std::fs::{self, File};
use std::path::Path;

use rustix::fs::{Advice, fadvise};

use crate::MeasureError;

/// Makes the next reads of the file at `path`, or of all files below it, come from the device.
///
/// # Errors
/// [`MeasureError::Io`].
pub fn forget(path: &Path) -> Result<(), MeasureError> {
    if path.is_dir() {
        for entry in fs::read_dir(path).map_err(MeasureError::io("list", path))? {
            forget(&entry.map_err(MeasureError::io("list", path))?.path())?;
        }
        return Ok(());
    }
    let file = File::open(path).map_err(MeasureError::io("open", path))?;
    // Only pages that are on the device can be dropped.
    file.sync_all().map_err(MeasureError::io("sync", path))?;
    fadvise(&file, 0, None, Advice::DontNeed).map_err(MeasureError::io("drop the pages of", path))
}
