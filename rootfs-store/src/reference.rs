//! Names of images, written as skopeo writes them.
//!
//! Invariant: what [`ImageReference`] displays parses back to the same value.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::registry::RegistryReference;

/// Longest reference that is parsed, in bytes.
const MAX_REFERENCE_LEN: usize = 8192;

/// Where an image is found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ImageReference {
    /// `oci:DIR[:TAG]`: an OCI image layout in a folder.
    Oci {
        /// The folder that holds `oci-layout` and `index.json`.
        dir: PathBuf,
        /// The value of `org.opencontainers.image.ref.name`; needed only where the layout holds several images.
        tag: Option<String>,
    },
    /// `docker://[HOST/]REPOSITORY[:TAG][@DIGEST]`: an image in a registry.
    Docker {
        /// What follows `docker://`, with all that it leaves out.
        reference: RegistryReference,
    },
    /// `docker-archive:FILE[:IMAGE]`: the output of `docker save`.
    DockerArchive {
        /// The archive: a tar stream, plain or compressed.
        file: PathBuf,
        /// `NAME`, `NAME:TAG`, `TAG`, or `@N` for the archive's Nth image from zero; needed only where the archive
        /// holds several images.
        image: Option<String>,
    },
}

/// Why a text is no image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// The text starts with none of the known transports.
    #[error(
        "`{reference}` names no image: write docker://NAME[:TAG], oci:DIR[:TAG] or docker-archive:FILE[:IMAGE]"
    )]
    UnknownTransport {
        /// The text as given.
        reference: String,
    },
    /// Nothing follows the transport.
    #[error("`{reference}` names no image after its transport")]
    Empty {
        /// The text as given.
        reference: String,
    },
    /// The text is no name of an image in a registry.
    #[error("`{reference}` names no image in a registry: {problem}")]
    BadName {
        /// The text as given, without its transport.
        reference: String,
        /// Which part is wrong.
        problem: &'static str,
    },
    /// The text is longer than any sensible name.
    #[error("an image reference of {len} bytes is longer than {MAX_REFERENCE_LEN} bytes")]
    TooLong {
        /// Length of the text in bytes.
        len: usize,
    },
}

impl FromStr for ImageReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.len() > MAX_REFERENCE_LEN {
            return Err(ReferenceError::TooLong { len: text.len() });
        }
        let not_empty = |rest: &str| match rest {
            "" => Err(ReferenceError::Empty {
                reference: text.to_owned(),
            }),
            rest => Ok(rest.to_owned()),
        };
        if let Some(rest) = text.strip_prefix("docker://") {
            let reference = not_empty(rest)?.parse()?;
            return Ok(Self::Docker { reference });
        }
        if let Some(rest) = text.strip_prefix("docker-archive:") {
            let (file, image) = split_path(rest);
            let file = not_empty(file)?.into();
            return Ok(Self::DockerArchive { file, image });
        }
        let Some(rest) = text.strip_prefix("oci:") else {
            return Err(ReferenceError::UnknownTransport {
                reference: text.to_owned(),
            });
        };
        let (dir, tag) = split_path(rest);
        let dir = not_empty(dir)?.into();
        Ok(Self::Oci { dir, tag })
    }
}

/// Splits `PATH[:WHICH]`. Like skopeo, the first colon ends the path, so a path can't hold one.
fn split_path(text: &str) -> (&str, Option<String>) {
    match text.split_once(':') {
        Some((path, "")) => (path, None),
        Some((path, which)) => (path, Some(which.to_owned())),
        None => (text, None),
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Oci { dir, tag: None } => write!(f, "oci:{}", dir.display()),
            Self::Oci {
                dir,
                tag: Some(tag),
            } => write!(f, "oci:{}:{tag}", dir.display()),
            Self::Docker { reference } => write!(f, "docker://{reference}"),
            Self::DockerArchive { file, image: None } => {
                write!(f, "docker-archive:{}", file.display())
            }
            Self::DockerArchive {
                file,
                image: Some(image),
            } => write!(f, "docker-archive:{}:{image}", file.display()),
        }
    }
}

#[cfg(test)]
mod tests;
