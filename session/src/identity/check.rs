//! What a description may say. All of it goes into files and tables of the guest, so nothing is let through that means
//! something else there.

mod keys;

use std::collections::BTreeSet;
use std::fmt::Display;

use agent::protocol::identity::{Group, Password, PlacedFile, User};

use super::Description;
use crate::error::{Error, Repr};

/// The most bytes that all files together may have.
const MAX_FILE_BYTES: usize = 512 << 10;
/// The most bytes that a description may have as JSON: less than the agent takes at once.
const MAX_DESCRIPTION_BYTES: usize = 900 << 10;

/// Folders of the root that are made anew at each start.
const FLEETING: [&str; 4] = ["dev", "proc", "run", "sys"];

const MAX_NAME: usize = 32;
const MAX_PATH: usize = 4095;
const MAX_PATH_PART: usize = 255;
const MAX_HASH: usize = 384;
/// The kernel takes one variable of 128 KiB with its name.
const MAX_VARIABLE: usize = 128 << 10;

/// Numbers that Linux and its tools take for something else than a user or a group.
const NO_NUMBERS: [u32; 2] = [0xffff, u32::MAX];

pub(crate) fn bad(setting: &'static str, value: impl Display, problem: &'static str) -> Error {
    let value = value.to_string();
    Repr::BadSetting {
        setting,
        value,
        problem,
    }
    .into()
}

pub(super) fn check(description: &Description) -> Result<(), Error> {
    for group in &description.groups {
        check_group(group.wire())?;
    }
    for user in &description.users {
        check_user(user.wire())?;
    }
    check_numbers(description)?;
    for file in &description.files {
        check_file(file.wire())?;
    }
    let bytes = description.files.iter().map(|file| file.wire().bytes.len());
    if bytes.sum::<usize>() > MAX_FILE_BYTES {
        let problem =
            "they have more than 512 KiB together: copy large files once the session runs";
        return Err(bad("files", description.files.len(), problem));
    }
    for (name, value) in &description.env {
        check_variable(name, value)?;
    }
    if let Some(path) = &description.working_dir {
        check_path("working directory", path)?;
    }
    if let Some(user) = &description.run_as {
        check_owner("user of commands", user)?;
    }
    let unique = [
        (
            "group",
            repeated(description.groups.iter().map(super::Group::name)),
        ),
        (
            "user",
            repeated(description.users.iter().map(super::User::name)),
        ),
        (
            "file",
            repeated(description.files.iter().map(super::GuestFile::path)),
        ),
    ];
    for (setting, repeated) in unique {
        if let Some(value) = repeated {
            return Err(bad(setting, value, "it is described twice"));
        }
    }
    match serde_json::to_vec(description) {
        Ok(json) if json.len() <= MAX_DESCRIPTION_BYTES => Ok(()),
        _ => {
            let problem = "it is longer than 900 KiB";
            Err(bad("description", "of the session", problem))
        }
    }
}

fn repeated<T: Ord + Copy>(items: impl Iterator<Item = T>) -> Option<T> {
    let mut seen = BTreeSet::new();
    let mut items = items;
    items.find(|item| !seen.insert(*item))
}

/// Names as useradd(8) takes them. None of them means anything in sudoers(5), or has a dot, which sudo passes over.
fn check_name(setting: &'static str, name: &str) -> Result<(), Error> {
    let is_first = |c: char| c.is_ascii_lowercase() || c == '_';
    let is_other = |c: char| is_first(c) || c.is_ascii_digit() || c == '-';
    if name.len() <= MAX_NAME && name.starts_with(is_first) && name.chars().all(is_other) {
        return Ok(());
    }
    let problem = "a name is a lower-case letter or '_', then up to 31 of those, digits and '-'";
    Err(bad(setting, name, problem))
}

fn check_group(group: &Group) -> Result<(), Error> {
    check_name("group", &group.name)?;
    match group.gid {
        Some(gid) if NO_NUMBERS.contains(&gid) => {
            Err(bad("number of a group", gid, "it is no group's number"))
        }
        _ => Ok(()),
    }
}

fn check_user(user: &User) -> Result<(), Error> {
    check_name("user", &user.name)?;
    match user.uid {
        Some(uid) if NO_NUMBERS.contains(&uid) => {
            return Err(bad("number of a user", uid, "it is no user's number"));
        }
        Some(uid) if (uid == 0) != (user.name == "root") => {
            return Err(bad(
                "number of a user",
                uid,
                "0 is root's, and root has no other",
            ));
        }
        _ => {}
    }
    if let Some(group) = &user.group {
        check_name("primary group", group)?;
    }
    for group in &user.groups {
        check_name("group of a user", group)?;
    }
    for (setting, path) in [("shell", &user.shell), ("home", &user.home)] {
        if let Some(path) = path {
            check_path(setting, path)?;
            // They are fields of a table, and root's home is where the agent writes.
            if path.contains(':') || path.contains(char::is_control) {
                return Err(bad(
                    setting,
                    path.escape_debug(),
                    "it has a colon or a control character",
                ));
            }
        }
    }
    if let Some(Password::Hash(hash)) = &user.password {
        check_hash(&user.name, hash)?;
    }
    for line in &user.authorized_keys {
        keys::check(&user.name, line)?;
    }
    Ok(())
}

fn check_hash(user: &str, hash: &str) -> Result<(), Error> {
    let is_hash = hash.starts_with('$')
        && hash.len() <= MAX_HASH
        && hash.chars().all(|c| c.is_ascii_graphic() && c != ':');
    if is_hash {
        return Ok(());
    }
    // The hash is a secret, even one that is none.
    let problem = "a hash begins with '$', and has no colon, space or control character";
    Err(bad("password hash of user", user, problem))
}

fn check_numbers(description: &Description) -> Result<(), Error> {
    let uids = description.users.iter().filter_map(|user| user.wire().uid);
    if let Some(uid) = repeated(uids) {
        return Err(bad("number of a user", uid, "two users are to have it"));
    }
    let gids = description
        .groups
        .iter()
        .filter_map(|group| group.wire().gid);
    match repeated(gids) {
        Some(gid) => Err(bad("number of a group", gid, "two groups are to have it")),
        None => Ok(()),
    }
}

pub(crate) fn check_path(setting: &'static str, path: &str) -> Result<(), Error> {
    let fits = path.len() <= MAX_PATH && path.split('/').all(|part| part.len() <= MAX_PATH_PART);
    let problem = if !path.starts_with('/') {
        "it is no absolute path"
    } else if path.contains('\0') {
        "it has a NUL"
    } else if path.split('/').any(|part| part == "..") {
        "it leads upwards"
    } else if !fits {
        "it, or a name in it, is too long"
    } else {
        return Ok(());
    };
    Err(bad(setting, path.escape_debug(), problem))
}

fn check_file(file: &PlacedFile) -> Result<(), Error> {
    check_path("file", &file.path)?;
    if file.path.ends_with('/') || file.path.ends_with("/.") {
        return Err(bad("file", &file.path, "it has the name of a directory"));
    }
    let mut names = file
        .path
        .split('/')
        .filter(|name| !matches!(*name, "" | "."));
    if names.next().is_some_and(|first| FLEETING.contains(&first)) {
        return Err(bad(
            "file",
            &file.path,
            "what is there is gone at the next start",
        ));
    }
    if file.mode > 0o7777 {
        let mode = format!("{:o}", file.mode);
        return Err(bad("mode of a file", mode, "permission bits are 0 to 7777"));
    }
    match &file.owner {
        Some(owner) => check_owner("owner of a file", owner),
        None => Ok(()),
    }
}

/// `user[:group]`, each a number or a name, which may be one that the image brings.
pub(crate) fn check_owner(setting: &'static str, owner: &str) -> Result<(), Error> {
    let (user, group) = owner.split_once(':').unwrap_or((owner, ""));
    let is_plain = |name: &str| {
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, ':' | '/' | ',');
        name.len() <= MAX_NAME && name.chars().all(plain)
    };
    if !owner.is_empty() && is_plain(user) && is_plain(group) {
        return Ok(());
    }
    let problem = "it is not of the form user[:group], names or numbers";
    Err(bad(setting, owner.escape_debug(), problem))
}

pub(crate) fn check_variable(name: &str, value: &str) -> Result<(), Error> {
    let setting = "environment variable";
    if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
        let problem = "a name is not empty and has no '=', and neither it nor its value has a NUL";
        return Err(bad(setting, name.escape_debug(), problem));
    }
    if name.len() + value.len() + 2 > MAX_VARIABLE {
        return Err(bad(setting, name, "it is longer than the kernel takes"));
    }
    Ok(())
}
