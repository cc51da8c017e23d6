//! SHA-256 digests, by what they are the digest of.

mod zeros;

use std::ffi::OsStr;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
pub(crate) use zeros::is_zero;

const PREFIX: &str = "sha256:";
/// Bytes of a SHA-256.
pub(crate) const DIGEST_BYTES: usize = 32;

/// A text is not `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no digest: it must be `sha256:` and 64 lower-case hexadecimal digits")]
pub struct DigestError {
    /// The text as given.
    pub text: String,
}

macro_rules! digest {
    ($(#[$docs:meta])* $name:ident) => {
        $(#[$docs])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; DIGEST_BYTES]);

        impl $name {
            /// The digest of `bytes`.
            #[must_use]
            pub fn of(bytes: &[u8]) -> Self {
                Self(zeros::sha256(bytes))
            }

            /// Takes the 32 bytes of a SHA-256.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; DIGEST_BYTES]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes of the SHA-256.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; DIGEST_BYTES] {
                &self.0
            }
        }

        /// `sha256:` and 64 hexadecimal digits.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(PREFIX)?;
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = DigestError;

            fn from_str(text: &str) -> Result<Self, DigestError> {
                parse(text).map(Self).ok_or_else(|| DigestError { text: text.to_owned() })
            }
        }

        impl TryFrom<String> for $name {
            type Error = DigestError;

            fn try_from(text: String) -> Result<Self, DigestError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(digest: $name) -> Self {
                digest.to_string()
            }
        }
    };
}

digest! {
    /// The digest of a chunk's or an index page's plain bytes.
    ChunkDigest
}
digest! {
    /// The digest of a blob: a pack, a config or a manifest.
    BlobDigest
}
digest! {
    /// The digest of a snapshot's manifest, which names the snapshot.
    SnapshotDigest
}

impl From<SnapshotDigest> for BlobDigest {
    fn from(digest: SnapshotDigest) -> Self {
        Self(digest.0)
    }
}

impl From<BlobDigest> for SnapshotDigest {
    fn from(digest: BlobDigest) -> Self {
        Self(digest.0)
    }
}

impl BlobDigest {
    /// The 64 digits, which are the blob's file name.
    pub(crate) fn file_name(&self) -> String {
        self.to_string().split_off(PREFIX.len())
    }

    /// The digest of the blob in a file of this name.
    pub(crate) fn of_file_name(name: &OsStr) -> Option<Self> {
        parse(&format!("{PREFIX}{}", name.to_str()?)).map(Self)
    }
}

fn parse(text: &str) -> Option<[u8; DIGEST_BYTES]> {
    let digits = text.strip_prefix(PREFIX)?.as_bytes();
    if digits.len() != 2 * DIGEST_BYTES {
        return None;
    }
    let mut bytes = [0; DIGEST_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = hex_value(pair[0])? << 4 | hex_value(pair[1])?;
    }
    Some(bytes)
}

fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
