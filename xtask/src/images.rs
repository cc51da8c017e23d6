//! The images that tests import, as OCI layouts in the cache.
//!
//! - `busybox`: three small layers with everything that layers can say: whiteouts, hard links, extended attributes,
//!   device nodes, odd permissions. No init.
//! - `debian`: a Debian with systemd, openssh-server and python3, as people have it.

use std::fmt;
use std::path::PathBuf;

use crate::cache::{self, CacheError};
use crate::command::{self, CommandError};
use crate::packages::{self, PackageError};
use crate::root;

mod busybox;
mod debian;
mod layout;

pub(crate) use debian::bootstrap;
pub(crate) use layout::{Layout, LayoutError};

/// An image in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Image {
    /// Small, and quick to import and boot.
    Busybox,
    /// Large and real.
    Debian,
}

/// All of them.
pub(crate) const ALL: [Image; 2] = [Image::Busybox, Image::Debian];

/// What to print.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Prints one JSON object from names to references.
    #[arg(long)]
    json: bool,
}

/// An image that could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ImageError {
    #[error(
        "making images needs root; run `cargo xtask images` as root or allow sudo without a password"
    )]
    NotRoot,
    #[error("could not make {image} as root")]
    AsRoot { image: Image, source: CommandError },
    #[error("could not make {image}")]
    Layout { image: Image, source: LayoutError },
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Package(#[from] PackageError),
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busybox => "busybox",
            Self::Debian => "debian",
        })
    }
}

impl Image {
    /// The folder's name in the cache.
    fn entry(self) -> String {
        format!("image-{self}-v{}", self.recipe())
    }

    /// The version of what makes the image: one more with every change that makes another image.
    fn recipe(self) -> u32 {
        match self {
            Self::Busybox => 1,
            Self::Debian => 2,
        }
    }

    fn needs(self) -> &'static [&'static str] {
        match self {
            Self::Busybox => &["umoci", "busybox-static", "attr"],
            Self::Debian => &["umoci", "debootstrap", "debian-archive-keyring"],
        }
    }
}

/// Makes what is missing of all images, and prints where they are.
pub(crate) fn main(args: &Args) -> Result<(), ImageError> {
    let mut references = serde_json::Map::new();
    for image in ALL {
        let reference = reference(&ensure(image)?);
        if !args.json {
            println!("{image} {reference}");
        }
        references.insert(image.to_string(), reference.into());
    }
    if args.json {
        println!("{}", serde_json::Value::Object(references));
    }
    Ok(())
}

/// How playground and skopeo call the image in `folder`.
pub(crate) fn reference(folder: &std::path::Path) -> String {
    format!("oci:{}:{}", folder.display(), layout::TAG)
}

/// Returns the layout of `image`, which is made first if it is not there.
///
/// # Errors
/// [`ImageError`]; the cache is then as it was.
pub(crate) fn ensure(image: Image) -> Result<PathBuf, ImageError> {
    let entry = image.entry();
    if let Some(place) = cache::find(&entry)? {
        return Ok(place);
    }
    packages::ensure(image.needs())?;
    if !root::is_root() {
        return make_as_root(image);
    }
    cache::ensure(&entry, |partial| {
        eprintln!("xtask: making the image {image}");
        let made = match image {
            Image::Busybox => busybox::make(partial),
            Image::Debian => debian::make(partial),
        };
        made.map_err(|source| ImageError::Layout { image, source })
    })
}

fn make_as_root(image: Image) -> Result<PathBuf, ImageError> {
    // The cache itself stays the caller's.
    cache::create()?;
    let mut command = root::this_program().ok_or(ImageError::NotRoot)?;
    command::run(command.arg("images")).map_err(|source| ImageError::AsRoot { image, source })?;
    cache::find(&image.entry())?.ok_or(ImageError::NotRoot)
}
