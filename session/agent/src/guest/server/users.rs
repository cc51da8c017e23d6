//! Users and groups by the image's own tables.
//!
//! Read from `/etc/passwd` and `/etc/group` alone: a static program has no name service switch. The rules are
//! those that container engines follow for an image's `User`.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read;

use agent::protocol::{Failure, FailureKind};

/// The most bytes that are read of a table.
const MAX_TABLE: u64 = 4 << 20;
/// The most supplementary groups that the kernel takes (`NGROUPS_MAX`).
const MAX_GROUPS: usize = 65536;

/// As whom a command runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::guest) struct Identity {
    pub(in crate::guest) uid: u32,
    pub(in crate::guest) gid: u32,
    /// Supplementary groups.
    pub(in crate::guest) groups: Vec<u32>,
    pub(in crate::guest) home: String,
}

/// Resolves `user[:group]`, names or numbers; empty is root.
pub(super) fn resolve(spec: &str) -> Result<Identity, Failure> {
    resolve_in(spec, &table("/etc/passwd"), &table("/etc/group"))
}

/// A table that can't be read is empty: numbers and root work without.
fn table(path: &str) -> String {
    let mut bytes = Vec::new();
    drop(File::open(path).and_then(|file| file.take(MAX_TABLE).read_to_end(&mut bytes)));
    String::from_utf8_lossy(&bytes).into_owned()
}

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn users(passwd: &str) -> impl Iterator<Item = User<'_>> {
    passwd.lines().filter_map(|line| {
        let fields: Vec<&str> = line.splitn(7, ':').collect();
        let [name, _, uid, gid, _, home, ..] = fields[..] else {
            return None;
        };
        Some(User {
            name,
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            home,
        })
    })
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn groups(group: &str) -> impl Iterator<Item = Group<'_>> {
    group.lines().filter_map(|line| {
        let fields: Vec<&str> = line.splitn(4, ':').collect();
        let [name, _, gid, members] = fields[..] else {
            return None;
        };
        Some(Group {
            name,
            gid: gid.parse().ok()?,
            members,
        })
    })
}

/// As [`resolve`], by the tables' texts.
pub(in crate::guest) fn resolve_in(
    spec: &str,
    passwd: &str,
    group: &str,
) -> Result<Identity, Failure> {
    let (user, wanted_group) = match spec.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (spec, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let known = users(passwd).find(|entry| entry.name == user);
    let number = user.parse::<u32>().ok();
    let known = known.or_else(|| users(passwd).find(|entry| Some(entry.uid) == number));
    let uid = known
        .as_ref()
        .map(|entry| entry.uid)
        .or(number)
        .ok_or_else(|| unknown("user", user, "/etc/passwd"))?;
    let home = known
        .as_ref()
        .map(|entry| entry.home)
        .filter(|home| !home.is_empty())
        .unwrap_or("/")
        .to_owned();
    if let Some(wanted) = wanted_group {
        let gid = groups(group)
            .find(|entry| entry.name == wanted)
            .map(|entry| entry.gid);
        let gid = gid
            .or_else(|| wanted.parse().ok())
            .ok_or_else(|| unknown("group", wanted, "/etc/group"))?;
        return Ok(Identity {
            uid,
            gid,
            groups: Vec::new(),
            home,
        });
    }
    let gid = known.as_ref().map_or(0, |entry| entry.gid);
    let groups = known
        .map(|entry| groups_of(entry.name, group))
        .unwrap_or_default();
    Ok(Identity {
        uid,
        gid,
        groups,
        home,
    })
}

fn groups_of(user: &str, group: &str) -> Vec<u32> {
    let has_user = |entry: &Group<'_>| entry.members.split(',').any(|member| member == user);
    groups(group)
        .filter(has_user)
        .map(|entry| entry.gid)
        .take(MAX_GROUPS)
        .collect()
}

fn unknown(what: &str, name: &str, table: &str) -> Failure {
    Failure {
        kind: FailureKind::NoUser,
        message: format!("the image has no {what} {name:?} in {table}"),
    }
}
