//! What only this machine has: its id and its SSH host key.
//!
//! Images bring those of the machine that they were made on, which all of their guests would then share.

use agent::protocol::identity::Machine;

use super::root::{Attributes, Kind, Root};
use crate::guest::error::StartError;

const ETC_SSH: &str = "/etc/ssh";
const HOST_KEY: &str = "ssh_host_ed25519_key";
const DBUS_ID: &str = "/var/lib/dbus/machine-id";

/// No image has more files than that in `/etc/ssh`.
const MAX_ENTRIES: usize = 10_000;

const FOLDER: Attributes = Attributes::of_root(0o755);

/// Gives the guest its id and its host key, and takes those away that the image brings.
pub(super) fn settle(root: &Root, machine: &Machine) -> Result<(), StartError> {
    let id = format!("{}\n", machine.id);
    let write = |path: &str, text: &str, mode: u32| {
        let written = root.write(path, text.as_bytes(), Attributes::of_root(mode), FOLDER);
        written.map(drop).map_err(StartError::step("write", path))
    };
    write("/etc/machine-id", &id, 0o444)?;
    let dbus = root
        .find_itself(DBUS_ID)
        .map_err(StartError::step("find", DBUS_ID))?;
    if dbus.is_some_and(|(kind, _)| kind == Kind::File) {
        write(DBUS_ID, &id, 0o444)?;
    }
    remove_host_keys(root)?;
    let path = format!("{ETC_SSH}/{HOST_KEY}");
    write(&path, &machine.host_key.0, 0o600)?;
    write(
        &format!("{path}.pub"),
        &format!("{}\n", machine.host_key_public),
        0o644,
    )
}

fn remove_host_keys(root: &Root) -> Result<(), StartError> {
    let entries = root
        .list(ETC_SSH, MAX_ENTRIES)
        .map_err(StartError::step("list", ETC_SSH))?;
    for entry in entries {
        let Some(name) = entry.name.to_str() else {
            continue;
        };
        let stem = name.strip_suffix(".pub").unwrap_or(name);
        let is_key = stem.starts_with("ssh_host_") && stem.ends_with("_key");
        if is_key && stem != HOST_KEY && entry.kind != Kind::Directory {
            let path = format!("{ETC_SSH}/{name}");
            root.remove(&path)
                .map_err(StartError::step("remove", path))?;
        }
    }
    Ok(())
}
