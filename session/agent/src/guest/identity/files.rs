//! Files that the host puts into the guest.

use std::io;

use agent::protocol::identity::PlacedFile;

use super::root::{Attributes, Root};
use super::{MAX_TABLE, homes};
use crate::guest::error::StartError;
use crate::guest::server::users::{Identity, resolve_in};

/// Puts each file in its place. Directories on the way that are missing are root's.
pub(super) fn place<'a>(
    root: &Root,
    files: impl IntoIterator<Item = &'a PlacedFile>,
) -> Result<(), StartError> {
    for file in files {
        let owner = owner(root, file.owner.as_deref().unwrap_or_default())?;
        let attributes = Attributes {
            mode: file.mode,
            uid: owner.uid,
            gid: owner.gid,
        };
        // A directory below a user's home is the user's own.
        let parents = match homes::is_below(&file.path, &owner.home) {
            true => Attributes {
                mode: 0o755,
                ..attributes
            },
            false => Attributes::of_root(0o755),
        };
        let written = root.write(&file.path, &file.bytes, attributes, parents);
        written.map_err(|error| match error.kind() {
            io::ErrorKind::IsADirectory => StartError::Directory {
                path: file.path.clone(),
            },
            _ => StartError::step("place", file.path.as_str())(error),
        })?;
    }
    Ok(())
}

fn owner(root: &Root, spec: &str) -> Result<Identity, StartError> {
    let table = |path: &str| -> Result<String, StartError> {
        let bytes = root
            .read(path, MAX_TABLE)
            .map_err(StartError::step("read", path))?;
        Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
    };
    let (passwd, group) = (table("/etc/passwd")?, table("/etc/group")?);
    resolve_in(spec, &passwd, &group).map_err(|failure| StartError::Owner {
        spec: spec.to_owned(),
        reason: failure.message,
    })
}
