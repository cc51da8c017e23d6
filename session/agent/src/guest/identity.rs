//! Carrying out who the guest is, before its init starts.
//!
//! | when | what |
//! |---|---|
//! | once for a machine | its id, its SSH host key |
//! | once, until it is described differently | each file, each password of a user that is there |
//! | at every start | hostname, name servers, users, groups, keys, sudo |
//!
//! A marker on the disk says what of the first two is done. What is done at every start is only written where it is
//! not so already, so that a start changes nothing on the disk of a guest that is as described.
//!
//! Invariant: what a power cut interrupts is done again: a user's home is in order before the user's row in
//! `/etc/passwd` is, and the marker is written last.

mod accounts;
mod done;
mod files;
mod homes;
mod machine;
mod names;
mod resolver;
mod root;
mod table;
#[cfg(test)]
mod tests;

use std::path::Path;

use agent::protocol::Config;
use agent::protocol::identity::{Identity, PlacedFile};

use super::console;
use super::error::StartError;
pub(super) use accounts::AccountError;
use accounts::{Account, Tables, Wishes};
use done::{Done, Stage};
use root::Kind;
pub(super) use root::{Attributes, Root};
use table::Table;

/// The most bytes that are read of a table.
const MAX_TABLE: u64 = 4 << 20;

/// The shells that a new user may get, the best first.
const SHELLS: [&str; 2] = ["/bin/bash", "/bin/sh"];
/// The shell of new users where the image has none: nobody logs in.
const NO_SHELL: &str = "/sbin/nologin";

/// The root of the guest.
pub(super) fn open_root() -> Result<Root, StartError> {
    Root::open(Path::new("/")).map_err(StartError::step("open", "/"))
}

/// Carries all of it out, and returns what could not be, as lines for people. When a machine or a description is new,
/// a failure ends the start instead.
pub(super) fn carry_out(root: &Root, config: &Config) -> Result<Vec<String>, StartError> {
    if config.root.read_only {
        return Ok(Vec::new());
    }
    let identity = &config.identity;
    let done = Done::read(root, identity.machine.as_ref());
    let mut steps = Steps {
        may_fail: done.stage == Stage::Description,
        complaints: Vec::new(),
    };
    if let Some(hostname) = &config.hostname {
        steps.take(names::settle(root, hostname))?;
    }
    let servers = identity
        .interfaces
        .iter()
        .flat_map(|interface| interface.dns.iter().copied());
    steps.take(resolver::settle(root, &servers.collect::<Vec<_>>()))?;
    if let (Some(machine), Stage::Nothing) = (&identity.machine, done.stage) {
        machine::settle(root, machine)?;
    }
    settle_people(root, identity, &done, &mut steps)?;
    if done.stage != Stage::Description {
        let is_new = |file: &&PlacedFile| done.needs_file(file);
        files::place(root, identity.files.iter().filter(is_new))?;
        if let Some(machine) = &identity.machine {
            done::mark(root, machine, identity)?;
        }
    }
    Ok(steps.complaints)
}

/// What becomes of failures.
#[derive(Debug)]
struct Steps {
    may_fail: bool,
    complaints: Vec<String>,
}

impl Steps {
    fn take(&mut self, result: Result<(), StartError>) -> Result<(), StartError> {
        match result {
            Err(error) if self.may_fail => {
                let line = console::one_line(&error);
                console::say(&line);
                self.complaints.push(line);
                Ok(())
            }
            result => result,
        }
    }
}

/// Sees to users and groups: their rows in tables, and what they have besides.
fn settle_people(
    root: &Root,
    identity: &Identity,
    done: &Done,
    steps: &mut Steps,
) -> Result<(), StartError> {
    if identity.users.is_empty() && identity.groups.is_empty() {
        return Ok(());
    }
    let (old, new, accounts) = match described_tables(root, identity, done) {
        Ok(all) => all,
        Err(error) => return steps.take(Err(error)),
    };
    for account in &accounts {
        steps.take(homes::prepare(root, account))?;
    }
    if let Err(error) = write_tables(root, &old, &new) {
        return steps.take(Err(error));
    }
    for (user, account) in identity.users.iter().zip(&accounts) {
        steps.take(homes::settle(root, user, account))?;
    }
    Ok(())
}

/// The image's tables as they are, as they shall be, and what becomes of each user.
fn described_tables(
    root: &Root,
    identity: &Identity,
    done: &Done,
) -> Result<(Tables, Tables, Vec<Account>), StartError> {
    let old = Tables {
        passwd: read_table(root, "/etc/passwd")?,
        group: read_table(root, "/etc/group")?,
        shadow: read_table(root, "/etc/shadow")?,
        gshadow: read_table(root, "/etc/gshadow")?,
    };
    let mut new = old.clone();
    let accounts = new.settle(Wishes {
        groups: &identity.groups,
        users: &identity.users,
        best_shell: best_shell(root),
        sets_password: &|user| done.needs_password(user),
    })?;
    Ok((old, new, accounts))
}

fn write_tables(root: &Root, old: &Tables, new: &Tables) -> Result<(), StartError> {
    let open = Attributes::of_root(0o644);
    let hidden = match new.group.find("shadow").and_then(|row| row.number(2)) {
        Some(gid) => Attributes {
            gid,
            ..Attributes::of_root(0o640)
        },
        None => Attributes::of_root(0o600),
    };
    // A user is there when the last one is written.
    for (path, old, new, attributes) in [
        ("/etc/group", &old.group, &new.group, open),
        ("/etc/gshadow", &old.gshadow, &new.gshadow, hidden),
        ("/etc/shadow", &old.shadow, &new.shadow, hidden),
        ("/etc/passwd", &old.passwd, &new.passwd, open),
    ] {
        if old != new {
            let written = root.edit(path, &new.to_bytes(), attributes);
            written.map_err(StartError::step("write", path))?;
        }
    }
    Ok(())
}

fn read_table(root: &Root, path: &str) -> Result<Table, StartError> {
    let bytes = root
        .read(path, MAX_TABLE)
        .map_err(StartError::step("read", path))?;
    Ok(Table::parse(&bytes.unwrap_or_default()))
}

fn best_shell(root: &Root) -> &'static str {
    let is_program = |path: &&str| {
        let found = root.find(path);
        found.is_ok_and(|found| {
            found.is_some_and(|(kind, attributes)| {
                kind == Kind::File && attributes.mode & 0o111 != 0
            })
        })
    };
    SHELLS.into_iter().find(is_program).unwrap_or(NO_SHELL)
}
