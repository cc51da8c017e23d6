//! What users have besides their rows in tables: a home, keys, and the right to become anybody.

#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::io;
use std::ops::Range;

use agent::protocol::identity::User;

use super::accounts::Account;
use super::root::{Attributes, Kind, Root};
use crate::guest::error::StartError;

const SKELETON: &str = "/etc/skel";
/// What is at the top of a new ext4.
const LOST_AND_FOUND: &str = "lost+found";
/// Homes that are none: what distributions give users that have none.
const NO_HOMES: [&str; 4] = ["/", "", "/nonexistent", "/dev/null"];

/// What a skeleton may be, at most.
const MAX_DEPTH: u32 = 16;
const MAX_ENTRIES: usize = 4096;
const MAX_FILE: u64 = 16 << 20;

/// How many entries a folder of a home may have whose owner's number changes.
const MAX_OWNED: usize = 1 << 20;
const MAX_OWNED_DEPTH: u32 = 128;

/// The most bytes that are read of a user's keys.
const MAX_KEYS: u64 = 4 << 20;
/// The lines between which the described keys are.
const KEYS_BEGIN: &[u8] = b"# begin: keys of this session";
const KEYS_END: &[u8] = b"# end: keys of this session";

/// Whether a path is one below a user's home.
pub(super) fn is_below(path: &str, home: &str) -> bool {
    !NO_HOMES.contains(&home)
        && path
            .strip_prefix(home.trim_end_matches('/'))
            .is_some_and(|rest| rest.starts_with('/'))
}

/// Makes a user's home and gives the user all that is the user's in it, before the tables say who that is: what a power
/// cut interrupts then is begun again.
pub(super) fn prepare(root: &Root, account: &Account) -> Result<(), StartError> {
    let home = account.home.as_str();
    if NO_HOMES.contains(&home) {
        return Ok(());
    }
    if let Some(old_uid) = account.old_uid {
        hand_over(root, home, old_uid, account, MAX_OWNED_DEPTH)
            .map_err(StartError::step("change the owner of", home))?;
    }
    // It is root's until it is filled, which says where a power cut left it.
    let is_made = root
        .make_directory(home, Attributes::of_root(0o700), Attributes::of_root(0o755))
        .map_err(StartError::step("make the home", home))?;
    let is_unfilled = is_made
        || account.is_new
            && is_as_new(root, account).map_err(StartError::step("look at the home", home))?;
    if is_unfilled {
        copy(root, SKELETON, home, account, MAX_DEPTH)
            .map_err(StartError::step("copy /etc/skel to", home))?;
        root.set_directory(home, of_home(account))
            .map_err(StartError::step("give away", home))?;
    }
    Ok(())
}

/// Whether the directory in the place of a new user's home is one to be filled and given away: root's, with nothing in it
/// but what a new drive has that is mounted there, or what was filled in before a power cut.
fn is_as_new(root: &Root, account: &Account) -> io::Result<bool> {
    let home = account.home.as_str();
    let is_roots = root
        .find(home)?
        .is_some_and(|(_, attributes)| attributes.uid == 0);
    if !is_roots || account.uid == 0 {
        return Ok(false);
    }
    let skeleton = root.list(SKELETON, MAX_ENTRIES)?;
    let is_expected =
        |name: &OsStr| name == LOST_AND_FOUND || skeleton.iter().any(|entry| entry.name == name);
    // One name more than that is something.
    Ok(match root.list(home, skeleton.len() + 1) {
        Ok(entries) => entries.iter().all(|entry| is_expected(&entry.name)),
        Err(_) => false,
    })
}

fn of_home(account: &Account) -> Attributes {
    let (mode, uid, gid) = (0o700, account.uid, account.gid);
    Attributes { mode, uid, gid }
}

/// Gives a user that the tables have what is described besides.
pub(super) fn settle(root: &Root, user: &User, account: &Account) -> Result<(), StartError> {
    settle_sudo(root, user)?;
    let home = account.home.as_str();
    if NO_HOMES.contains(&home) {
        return Ok(());
    }
    settle_keys(root, user, of_home(account), home)
        .map_err(StartError::step("write the SSH keys in", home))
}

fn settle_sudo(root: &Root, user: &User) -> Result<(), StartError> {
    // sudo passes over files with a dot or a tilde in their names, which names of users have not.
    let path = format!("/etc/sudoers.d/vm-session-{}", user.name);
    let settled = if user.sudo {
        let rule = format!("{} ALL=(ALL:ALL) NOPASSWD: ALL\n", user.name);
        let folder = Attributes::of_root(0o750);
        root.write(&path, rule.as_bytes(), Attributes::of_root(0o440), folder)
    } else {
        root.remove(&path)
    };
    settled.map(drop).map_err(StartError::step("settle", path))
}

/// Copies what a folder holds, as the user's own.
fn copy(root: &Root, from: &str, to: &str, account: &Account, depth: u32) -> io::Result<()> {
    for entry in root.list(from, MAX_ENTRIES)? {
        // Names that are no text are not worth a failure.
        let Some(name) = entry.name.to_str() else {
            continue;
        };
        let (from, to) = (format!("{from}/{name}"), format!("{to}/{name}"));
        let attributes = Attributes {
            mode: entry.attributes.mode & 0o777,
            uid: account.uid,
            gid: account.gid,
        };
        match entry.kind {
            Kind::File => {
                let bytes = root.read(&from, MAX_FILE)?.unwrap_or_default();
                root.write(&to, &bytes, attributes, attributes)?;
            }
            Kind::Directory if depth > 0 => {
                root.make_directory(&to, attributes, attributes)?;
                copy(root, &from, &to, account, depth - 1)?;
            }
            Kind::Link => {
                let target = root.link_target(&from)?;
                match root.link(&to, &target, account.uid, account.gid) {
                    // From a start that was cut off.
                    Err(error)
                        if error.kind() == io::ErrorKind::AlreadyExists
                            && root.link_target(&to)? == target => {}
                    made => made?,
                }
            }
            Kind::Directory | Kind::Other => {}
        }
    }
    Ok(())
}

/// Gives the account what its old number owns in a tree.
fn hand_over(
    root: &Root,
    path: &str,
    old_uid: u32,
    account: &Account,
    depth: u32,
) -> io::Result<()> {
    let Some((kind, attributes)) = root.find_itself(path)? else {
        return Ok(());
    };
    if kind == Kind::Directory && depth > 0 {
        for entry in root.list(path, MAX_OWNED)? {
            if let Some(name) = entry.name.to_str() {
                hand_over(root, &format!("{path}/{name}"), old_uid, account, depth - 1)?;
            }
        }
    }
    // Last, so that what a power cut interrupts is not taken for done.
    if attributes.uid == old_uid {
        root.change_owner(path, account.uid, account.gid)?;
    }
    Ok(())
}

fn settle_keys(root: &Root, user: &User, home: Attributes, path: &str) -> io::Result<()> {
    let file = format!("{path}/.ssh/authorized_keys");
    let old = root.read(&file, MAX_KEYS)?;
    let new = with_keys(old.as_deref().unwrap_or_default(), &user.authorized_keys);
    if new == old.as_deref().unwrap_or_default() {
        return Ok(());
    }
    root.make_directory(&format!("{path}/.ssh"), home, home)?;
    let attributes = Attributes {
        mode: 0o600,
        ..home
    };
    root.edit(&file, &new, attributes).map(drop)
}

/// The file with the described keys in it, and no others that were described before. What else is in it stays.
fn with_keys(old: &[u8], keys: &[String]) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = old
        .strip_suffix(b"\n")
        .unwrap_or(old)
        .split(|byte| *byte == b'\n')
        .filter(|_| !old.is_empty())
        .collect();
    let mut place = None;
    while let Some(block) = find_block(&lines) {
        place = Some(block.start);
        lines.drain(block);
    }
    if place.is_none() && keys.is_empty() {
        return old.to_vec();
    }
    let place = place.unwrap_or(lines.len());
    let mut block: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
    if !block.is_empty() {
        block.insert(0, KEYS_BEGIN);
        block.push(KEYS_END);
    }
    lines.splice(place..place, block);
    let mut new = lines.join(&b'\n');
    if !new.is_empty() {
        new.push(b'\n');
    }
    new
}

/// The first lines that lie between marks, with these.
fn find_block(lines: &[&[u8]]) -> Option<Range<usize>> {
    let mut ends = (0..lines.len()).filter(|at| lines[*at] == KEYS_END);
    let block_to = |end: usize| {
        let begin = lines[..end].iter().rposition(|line| *line == KEYS_BEGIN)?;
        Some(begin..end + 1)
    };
    ends.find_map(block_to)
}
