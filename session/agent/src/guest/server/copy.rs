//! Files to the host, and from it.

#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::path::{Component, Path};

use agent::archive::{self, ArchiveError, Ownership, Unpacker};
use agent::protocol::{DataReader, DataWriter, FailureKind, Frame, Owner, Pack, Unpack};
use nix::unistd::{getegid, geteuid};

use super::job::failed;
use super::link::Link;
use super::users;
use crate::guest::console;
use crate::guest::identity::{Attributes, Root};

/// Sends files; returns the last frame, or `None` if the host is gone.
pub(super) fn pack(link: &mut Link, pack: &Pack) -> Option<Frame> {
    let path = Path::new(&pack.path);
    // The root has no name of its own.
    let own = path.file_name().unwrap_or(OsStr::new("."));
    let name = pack.name.as_ref().map_or(own, OsStr::new);
    let mut stream = DataWriter::new(link);
    match archive::pack(path, name, &mut stream, &mut |_| ()) {
        Ok(copied) => stream.finish().is_ok().then_some(Frame::Copied(copied)),
        Err(error) => Some(failure(&error)),
    }
}

/// Makes the files that the host sends; returns the last frame, or `None` if the host is gone.
pub(super) fn unpack(link: &mut Link, unpack: &Unpack) -> Option<Frame> {
    let ownership = match &unpack.owner {
        Owner::Stream => Ownership::Stream,
        Owner::User(user) => match users::resolve(user) {
            Ok(identity) => Ownership::Fixed {
                uid: identity.uid,
                gid: identity.gid,
            },
            Err(failure) => return Some(Frame::Failed(failure)),
        },
    };
    let directory = &unpack.directory;
    // Links that users made lead to what root alone may write.
    let own = Attributes {
        mode: 0o755,
        uid: geteuid().as_raw(),
        gid: getegid().as_raw(),
    };
    let opened = Root::open(Path::new("/")).and_then(|root| root.directory(directory, own));
    let folder = match opened {
        Ok(folder) => folder,
        Err(error) => {
            let message = format!("could not open or make the directory {directory:?}: {error}");
            return Some(failed(FailureKind::NoDirectory, message));
        }
    };
    let unpacker = match Path::new(directory)
        .components()
        .all(|part| part == Component::RootDir)
    {
        true => Unpacker::as_root(folder, ownership),
        false => Unpacker::beneath(folder, ownership),
    };
    match unpacker.run(DataReader::new(link)) {
        Ok(copied) => Some(Frame::Copied(copied)),
        Err(error) => Some(failure(&error)),
    }
}

/// What to say of a copy that failed.
fn failure(error: &ArchiveError) -> Frame {
    let kind = match error {
        ArchiveError::Entry {
            action: "examine",
            source,
            ..
        } if source.kind() == std::io::ErrorKind::NotFound => FailureKind::NotFound,
        ArchiveError::Refused { .. } | ArchiveError::TooMuch { .. } => FailureKind::Invalid,
        _ => FailureKind::System,
    };
    failed(kind, console::one_line(error))
}
