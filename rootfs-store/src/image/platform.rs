//! The machine that an image is for.

use std::fmt;
use std::str::FromStr;

use super::ImageError;

/// What is meant where nothing is said.
pub(super) const DEFAULT_ARCHITECTURE: &str = "amd64";

/// The machine that an image was built for.
///
/// Windows tells its versions apart by `os.version`; nothing here does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// Operating system as Go names it: `linux`.
    pub os: String,
    /// Architecture as Go names it: `amd64`.
    pub architecture: String,
    /// Variant of the architecture: `v7`. Without one, the architecture's usual variant is meant.
    pub variant: Option<String>,
}

impl Platform {
    /// Whether both mean the same machine: `linux/arm64` is `linux/arm64/v8`.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.os == other.os
            && self.architecture == other.architecture
            && self.full_variant() == other.full_variant()
    }

    /// The variant, or what it is where none is given (as containerd has it).
    fn full_variant(&self) -> &str {
        match (&self.variant, &*self.architecture) {
            (Some(variant), _) => variant,
            (None, "amd64") => "v1",
            (None, "arm") => "v7",
            (None, "arm64") => "v8",
            (None, _) => "",
        }
    }
}

impl Default for Platform {
    fn default() -> Self {
        Self {
            os: "linux".to_owned(),
            architecture: DEFAULT_ARCHITECTURE.to_owned(),
            variant: None,
        }
    }
}

impl FromStr for Platform {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let parts: Vec<_> = text.split('/').collect();
        let (os, architecture, variant) = match parts.as_slice() {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some((*variant).to_owned())),
            _ => (&"", &"", None),
        };
        if os.is_empty() || architecture.is_empty() || variant.as_deref() == Some("") {
            let platform = text.to_owned();
            return Err(ImageError::BadPlatform { platform });
        }
        Ok(Self {
            os: (*os).to_owned(),
            architecture: (*architecture).to_owned(),
            variant,
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
