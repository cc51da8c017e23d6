//! Finding the disks of the root and of other drives.

#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::error::StartError;

/// How long the disk may take to show up once its driver is loaded.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

/// Waits for the disk with this serial and returns its device node.
pub(super) fn wait_for(serial: &str) -> Result<PathBuf, StartError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let disks = serials(Path::new("/sys/block"));
        if let Some((name, _)) = disks.iter().find(|(_, found)| found == serial) {
            return Ok(Path::new("/dev").join(name));
        }
        if Instant::now() >= deadline {
            let found = disks.into_iter().map(|(_, serial)| serial).collect();
            return Err(StartError::NoDisk {
                serial: serial.to_owned(),
                found,
            });
        }
        thread::sleep(PAUSE);
    }
}

/// The names and serials of all disks that have a serial.
fn serials(sys_block: &Path) -> Vec<(String, String)> {
    let Ok(entries) = fs::read_dir(sys_block) else {
        return Vec::new();
    };
    let with_serial = |entry: fs::DirEntry| {
        let serial = fs::read_to_string(entry.path().join("serial")).ok()?;
        Some((
            entry.file_name().into_string().ok()?,
            serial.trim().to_owned(),
        ))
    };
    entries.flatten().filter_map(with_serial).collect()
}
