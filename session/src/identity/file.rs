//! Files that come with a session's description.

use agent::protocol::identity as wire;
use serde::{Deserialize, Serialize};

/// A small file that is put into the guest before its init starts, once: the guest may change it, and keeps it so, in
/// forks too, until this path is described differently.
///
/// It replaces what has its name. Missing directories on the way to it are made. Symbolic links on the way are
/// followed if they are root's, as those of the image are, and never out of the guest's root.
///
/// All files of a session together may have 512 KiB. None lies below `/dev`, `/proc`, `/run` or `/sys`, which
/// no disk keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
#[must_use = "it is given to `SessionBuilder::file`"]
pub struct GuestFile(wire::PlacedFile);

impl GuestFile {
    /// A file that root owns and everybody may read, at this absolute path.
    pub fn new(path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self(wire::PlacedFile {
            path: path.into(),
            bytes: bytes.into(),
            mode: 0o644,
            owner: None,
        })
    }

    /// The permission bits, 0 to `0o7777`.
    pub fn mode(mut self, mode: u32) -> Self {
        self.0.mode = mode;
        self
    }

    /// Whose it is: `user[:group]`, names of the guest or numbers.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.0.owner = Some(owner.into());
        self
    }

    pub(super) fn path(&self) -> &str {
        &self.0.path
    }

    pub(super) fn wire(&self) -> &wire::PlacedFile {
        &self.0
    }
}

impl From<GuestFile> for wire::PlacedFile {
    fn from(file: GuestFile) -> Self {
        file.0
    }
}
