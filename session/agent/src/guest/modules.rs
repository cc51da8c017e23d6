//! Kernel modules out of the initramfs.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

use super::console;
use super::error::StartError;

/// The file that names the modules. A kernel that needs none has no such file.
pub(super) const LIST: &str = "/modules.list";

/// Loads the modules that `list` names, and frees the memory that their files take.
pub(super) fn load_listed(list: &Path) -> Result<(), StartError> {
    let text = match fs::read_to_string(list) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StartError::step("read", LIST)(error)),
    };
    let paths: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    for path in &paths {
        load(path).map_err(StartError::step("load the module", *path))?;
    }
    for path in &paths {
        // The list may name a file twice, so removal waits until all are loaded, and may find nothing.
        drop(fs::remove_file(path));
    }
    console::say(&format!("{} modules loaded", paths.len()));
    Ok(())
}

fn load(path: &str) -> io::Result<()> {
    match finit_module(File::open(path)?, c"", ModuleInitFlags::empty()) {
        // Loaded already, or built into this kernel.
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
