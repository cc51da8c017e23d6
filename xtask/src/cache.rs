//! The folder of things that are slow to make: kernel, images, tools.
//!
//! Invariant: an entry is either absent or complete. It is built beside its place under a lock and renamed. Its name
//! says which version of what it is, so that a changed recipe makes a new one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::file_error::{FileError, file_error};
use crate::mounts::{self, MountError};

/// The variable that moves the cache.
const CACHE_VARIABLE: &str = "VM_SESSIONS_CACHE";

/// A cache folder that can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CacheError {
    #[error("no place for the cache: set VM_SESSIONS_CACHE, XDG_CACHE_HOME or HOME")]
    NoPlace,
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Mount(#[from] MountError),
}

/// Returns the cache folder: `$VM_SESSIONS_CACHE`, or `vm-sessions` in the user's cache folder.
///
/// # Errors
/// [`CacheError::NoPlace`] if none of the variables names an absolute path.
pub(crate) fn root() -> Result<PathBuf, CacheError> {
    place(|name| std::env::var_os(name).map(PathBuf::from)).ok_or(CacheError::NoPlace)
}

fn place(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).filter(|path| path.is_absolute());
    absolute(CACHE_VARIABLE)
        .or_else(|| absolute("XDG_CACHE_HOME").map(|path| path.join("vm-sessions")))
        .or_else(|| absolute("HOME").map(|path| path.join(".cache/vm-sessions")))
}

/// Returns the cache's folder `name` if it is there.
///
/// # Errors
/// [`CacheError::NoPlace`] as for [`root`].
pub(crate) fn find(name: &str) -> Result<Option<PathBuf>, CacheError> {
    let place = root()?.join(name);
    Ok(place.exists().then_some(place))
}

/// Makes sure that the cache folder exists.
///
/// # Errors
/// [`CacheError`] if it can't be made.
pub(crate) fn create() -> Result<(), CacheError> {
    let root = root()?;
    Ok(fs::create_dir_all(&root).map_err(file_error("create", &root))?)
}

/// Returns the cache's folder `name`, which `build` fills first if it is not there.
///
/// Of several processes that ask at once, one builds and the others wait for it. What a build that failed or was
/// killed leaves behind is removed by the next.
///
/// # Errors
/// Whatever `build` returns, and [`CacheError::File`] for the folder itself.
pub(crate) fn ensure<E: From<CacheError>>(
    name: &str,
    build: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<PathBuf, E> {
    ensure_in(&root()?, name, build)
}

fn ensure_in<E: From<CacheError>>(
    root: &Path,
    name: &str,
    build: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<PathBuf, E> {
    let place = root.join(name);
    if place.exists() {
        return Ok(place);
    }
    fs::create_dir_all(root)
        .map_err(file_error("create", root))
        .map_err(CacheError::from)?;
    let _lock = lock(&root.join(format!("{name}.lock")), name)?;
    if place.exists() {
        return Ok(place);
    }
    let partial = root.join(format!("{name}.partial"));
    mounts::remove_folder(&partial).map_err(CacheError::from)?;
    fs::create_dir(&partial)
        .map_err(file_error("create", &partial))
        .map_err(CacheError::from)?;
    build(&partial)?;
    fs::rename(&partial, &place)
        .map_err(file_error("rename", &partial))
        .map_err(CacheError::from)?;
    Ok(place)
}

/// Locks `path` until the returned file is closed.
fn lock(path: &Path, name: &str) -> Result<File, CacheError> {
    let file = File::create(path).map_err(file_error("create", path))?;
    if file.try_lock().is_err() {
        eprintln!("xtask: waiting for another process that makes {name}");
        file.lock().map_err(file_error("lock", path))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests;
