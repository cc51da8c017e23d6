//! The kernel that a session boots, and the modules that go with it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Repr};

mod opened;

pub(crate) use opened::{HeldKernel, OpenKernels};

/// The folder of a store that holds an unpacked kernel package.
const STORE_FOLDER: &str = "kernel";

/// How distributions name kernel images; the version follows.
const IMAGE_PREFIX: &str = "vmlinuz-";

/// A kernel image, and the folder of its modules if it has any.
///
/// Sessions of one store that run at the same time read a kernel once and share the pages of it that they don't change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    image: PathBuf,
    modules: Option<PathBuf>,
}

impl Kernel {
    /// Takes a kernel image (`vmlinux` or `bzImage`), or the folder of an unpacked distribution package with
    /// `boot/vmlinuz-VERSION` and `lib/modules/VERSION` in it.
    ///
    /// The modules of an image at `…/boot/vmlinuz-VERSION` are looked for at `…/lib/modules/VERSION`; a
    /// kernel without modules must have the virtio drivers and ext4 built in.
    ///
    /// # Errors
    /// [`ErrorKind::Kernel`](crate::ErrorKind::Kernel) if `path` does not exist or the folder holds no kernel.
    pub fn from_path(path: impl AsRef<Path>) -> Result<Kernel, Error> {
        // A record outlives the working directory of the process that writes it.
        let path = absolute(path.as_ref());
        let metadata = fs::metadata(&path).map_err(|source| Repr::KernelUnreadable {
            path: path.to_owned(),
            source,
        })?;
        let image = if metadata.is_dir() {
            newest_image(&path.join("boot"))?
        } else {
            path
        };
        let modules = modules_beside(&image);
        Ok(Kernel { image, modules })
    }

    /// Replaces the folder of modules: the one that is called after the kernel's version.
    #[must_use]
    pub fn with_modules(mut self, folder: impl Into<PathBuf>) -> Kernel {
        self.modules = Some(absolute(&folder.into()));
        self
    }

    /// The kernel that the host itself runs on, from its `/boot` and `/lib/modules`.
    ///
    /// # Errors
    /// [`ErrorKind::Kernel`](crate::ErrorKind::Kernel) if the host keeps none there.
    pub fn host() -> Result<Kernel, Error> {
        let image = host_image();
        if !image.is_file() {
            return Err(Repr::NoHostKernel { image }.into());
        }
        Kernel::from_path(image)
    }

    /// What a session boots that names no kernel: the package in the store's `kernel` folder, else the host's own.
    pub(crate) fn default_for(store: &Path) -> Result<Kernel, Error> {
        let folder = store.join(STORE_FOLDER);
        if folder.is_dir() {
            return Kernel::from_path(folder);
        }
        let image = host_image();
        if !image.is_file() {
            return Err(Repr::NoKernel { folder, image }.into());
        }
        Kernel::from_path(image)
    }

    /// A kernel that a record names; only looked at again when it is started.
    pub(crate) fn recorded(image: PathBuf, modules: Option<PathBuf>) -> Kernel {
        Kernel { image, modules }
    }

    /// Fails if the image is gone, or could not be named in a record, before anything else is made ready for it.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let unreadable = |source| Repr::KernelUnreadable {
            path: self.image.clone(),
            source,
        };
        for path in self.modules.iter().chain([&self.image]) {
            // Records are JSON, which holds text.
            if path.to_str().is_none() {
                return Err(Repr::KernelName { path: path.clone() }.into());
            }
        }
        Ok(fs::File::open(&self.image).map(drop).map_err(unreadable)?)
    }

    /// The image file.
    #[must_use]
    pub fn image(&self) -> &Path {
        &self.image
    }

    /// The folder of modules.
    #[must_use]
    pub fn modules(&self) -> Option<&Path> {
        self.modules.as_deref()
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn host_image() -> PathBuf {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    PathBuf::from(format!("/boot/vmlinuz-{release}"))
}

/// The one with the highest version.
fn newest_image(boot: &Path) -> Result<PathBuf, Error> {
    let unreadable = |source| Repr::KernelUnreadable {
        path: boot.to_owned(),
        source,
    };
    let mut newest = None;
    for entry in fs::read_dir(boot).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        if let Some(version) = name
            .to_str()
            .and_then(|name| name.strip_prefix(IMAGE_PREFIX))
        {
            newest = newest.max(Some((version_parts(version), boot.join(&name))));
        }
    }
    let none = || Repr::NoKernelInFolder {
        folder: boot.to_owned(),
    };
    Ok(newest.ok_or_else(none)?.1)
}

/// A piece of a version: numbers compare as numbers, so that 6.1.0-9 is older than 6.1.0-37.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum VersionPart {
    Text(String),
    Number(u64),
}

fn version_parts(version: &str) -> Vec<VersionPart> {
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let parts = version
        .as_bytes()
        .chunk_by(|a, b| is_digit(a) == is_digit(b));
    let part = |bytes| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        text.parse()
            .map_or(VersionPart::Text(text), VersionPart::Number)
    };
    parts.map(part).collect()
}

fn modules_beside(image: &Path) -> Option<PathBuf> {
    let version = image.file_name()?.to_str()?.strip_prefix(IMAGE_PREFIX)?;
    let root = image.parent()?.parent()?;
    let modules = root.join("lib/modules").join(version);
    modules.is_dir().then_some(modules)
}

#[cfg(test)]
mod tests;
