//! Folders that inputs have filled, for targets that unpack.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Makes folders that can't be listed so that they can.
pub fn open_up(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).expect("permissions");
    for entry in fs::read_dir(folder).expect("a listing").flatten() {
        if entry.file_type().expect("a kind").is_dir() {
            open_up(&entry.path());
        }
    }
}
