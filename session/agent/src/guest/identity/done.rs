//! What of a description was carried out on this disk already, so that a guest keeps what it changed since.
//!
//! The marker's first line names the machine and the description; each line after it is the digest of something that is
//! carried out once: a file, a password.
//!
//! Invariant: the marker is written last, so what a power cut interrupts is done again.

use std::collections::BTreeSet;
use std::fmt::Write;

use agent::protocol::identity::{Identity, Machine, Password, PlacedFile, User};
use sha2::{Digest, Sha256};

use super::root::{Attributes, Root};
use crate::guest::error::StartError;

const MARKER: &str = "/var/lib/vm-session/identity";
const MAX_MARKER: u64 = 4 << 20;

/// A digest would let others guess at what is in a file that they can't read.
const HIDDEN: Attributes = Attributes::of_root(0o600);
const FOLDER: Attributes = Attributes::of_root(0o755);

/// How far the disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is not this machine's yet.
    Nothing,
    /// What is done once for a machine is done.
    Machine,
    /// What is done once for a description, too.
    Description,
}

/// What the marker says.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) stage: Stage,
    carried_out: BTreeSet<String>,
}

impl Done {
    pub(super) fn read(root: &Root, machine: Option<&Machine>) -> Self {
        let nothing = Self {
            stage: Stage::Nothing,
            carried_out: BTreeSet::new(),
        };
        let Some(machine) = machine else {
            return nothing;
        };
        // A marker that can't be read says nothing.
        let found = root.read(MARKER, MAX_MARKER).ok().flatten();
        let text = String::from_utf8(found.unwrap_or_default()).unwrap_or_default();
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        let stage = if first == format!("{} {}", machine.id, machine.revision) {
            Stage::Description
        } else if first.starts_with(&format!("{} ", machine.id)) {
            Stage::Machine
        } else if machine.continues {
            Stage::Nothing
        } else {
            // What another machine was told to be says nothing of this one.
            return nothing;
        };
        Self {
            stage,
            carried_out: lines.map(str::to_owned).collect(),
        }
    }

    pub(super) fn needs_file(&self, file: &PlacedFile) -> bool {
        self.needs(|| of_file(file))
    }

    /// Whether a user's password is to be set, if the user is there.
    pub(super) fn needs_password(&self, user: &User) -> bool {
        self.needs(|| of_password(user).unwrap_or_default())
    }

    fn needs(&self, digest: impl FnOnce() -> String) -> bool {
        self.stage != Stage::Description && !self.carried_out.contains(&digest())
    }
}

/// Notes that all of it is carried out.
pub(super) fn mark(root: &Root, machine: &Machine, identity: &Identity) -> Result<(), StartError> {
    let files = identity.files.iter().map(of_file);
    let passwords = identity.users.iter().filter_map(of_password);
    let digests: BTreeSet<String> = files.chain(passwords).collect();
    let mut text = format!("{} {}\n", machine.id, machine.revision);
    for digest in digests {
        text.push_str(&digest);
        text.push('\n');
    }
    let written = root.write(MARKER, text.as_bytes(), HIDDEN, FOLDER);
    written.map(drop).map_err(StartError::step("write", MARKER))
}

fn of_file(file: &PlacedFile) -> String {
    let owner = file.owner.as_deref().unwrap_or_default();
    let mode = file.mode.to_le_bytes();
    digest(&[
        b"file",
        file.path.as_bytes(),
        &file.bytes,
        &mode,
        owner.as_bytes(),
    ])
}

fn of_password(user: &User) -> Option<String> {
    let (kind, hash): (&[u8], &str) = match user.password.as_ref()? {
        Password::Locked => (b"locked", ""),
        Password::Empty => (b"empty", ""),
        Password::Hash(hash) => (b"hash", hash),
    };
    Some(digest(&[
        b"password",
        user.name.as_bytes(),
        kind,
        hash.as_bytes(),
    ]))
}

/// Their lengths keep fields apart.
fn digest(fields: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for field in fields {
        hash.update((field.len() as u64).to_le_bytes());
        hash.update(field);
    }
    let mut text = String::new();
    for byte in hash.finalize() {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
