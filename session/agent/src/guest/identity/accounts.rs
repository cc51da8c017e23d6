//! Users and groups, entered into the image's tables (passwd(5), group(5), shadow(5), gshadow(5)).
//!
//! Pure: what is read and written is the caller's. Invariant: whoever is described already stays as they are, byte for
//! byte, so that tables that need no change are not written.

mod numbers;
#[cfg(test)]
mod tests;

use agent::protocol::identity::{Group, Password, User};

use super::table::{Row, Table};
use numbers::{FIRST_FREE, LAST_FREE, number};

/// What shadow(5) holds where no password lets anybody in. Unlike `!`, it keeps no key out.
const NO_PASSWORD: &str = "*";

// Fields of passwd(5).
const UID: usize = 2;
const GID: usize = 3;
const HOME: usize = 5;
const SHELL: usize = 6;
/// Field of passwd(5) and of shadow(5).
const PASSWORD: usize = 1;
/// Field of group(5).
const GROUP_GID: usize = 2;
/// Field of group(5) and of gshadow(5).
const MEMBERS: usize = 3;

/// Why a description does not fit the image.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum AccountError {
    #[error("user {user} can't have the number {uid}: it is {owner}'s in the image")]
    UidTaken {
        user: String,
        uid: u32,
        owner: String,
    },
    #[error("group {group} can't have the number {gid}: {reason}")]
    Gid {
        group: String,
        gid: u32,
        reason: String,
    },
    #[error("all numbers from {FIRST_FREE} to {LAST_FREE} are taken")]
    NoNumber,
    #[error("the image's entry of {name} in {table} can't be understood")]
    Damaged { name: String, table: &'static str },
}

/// The four tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tables {
    pub(super) passwd: Table,
    pub(super) group: Table,
    pub(super) shadow: Table,
    pub(super) gshadow: Table,
}

/// A user as the tables have them now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) home: String,
    /// Whether the user was just added.
    pub(super) is_new: bool,
    /// What the number was before.
    pub(super) old_uid: Option<u32>,
}

/// What the tables are changed by.
#[derive(Clone, Copy)]
pub(super) struct Wishes<'a> {
    pub(super) groups: &'a [Group],
    pub(super) users: &'a [User],
    /// The shell of new users.
    pub(super) best_shell: &'a str,
    /// Whether the password is set of a user that is there. It may have been changed since the first time.
    pub(super) sets_password: &'a dyn Fn(&User) -> bool,
}

impl Tables {
    /// Carries all of it out and tells what became of each user, in their order.
    pub(super) fn settle(&mut self, wishes: Wishes<'_>) -> Result<Vec<Account>, AccountError> {
        let nothing = wishes.groups.is_empty() && wishes.users.is_empty();
        if self.passwd.is_empty() && !nothing {
            self.add_root(wishes.best_shell);
        }
        for group in wishes.groups {
            self.settle_group(group, wishes)?;
        }
        let settle = |user| self.settle_user(user, wishes);
        wishes.users.iter().map(settle).collect()
    }

    /// Every machine has root, and programs expect to find it.
    fn add_root(&mut self, shell: &str) {
        let row = |fields: &[&str]| fields.iter().map(|&field| field.to_owned()).collect();
        self.passwd.entry("root", || {
            row(&["root", "x", "0", "0", "root", "/root", shell])
        });
        self.shadow.entry("root", || {
            row(&["root", NO_PASSWORD, "", "0", "99999", "7", "", "", ""])
        });
        self.group.entry("root", || row(&["root", "x", "0", ""]));
        self.gshadow
            .entry("root", || row(&["root", NO_PASSWORD, "", ""]));
    }

    fn settle_group(&mut self, group: &Group, wishes: Wishes<'_>) -> Result<u32, AccountError> {
        if let Some(row) = self.group.find(&group.name) {
            let has = number(row, GROUP_GID, "/etc/group")?;
            return match group.gid {
                Some(gid) if gid != has => Err(AccountError::Gid {
                    group: group.name.clone(),
                    gid,
                    reason: format!("the image has the group with the number {has}"),
                }),
                _ => Ok(has),
            };
        }
        let gid = match group.gid {
            Some(gid) => match self
                .group
                .rows()
                .find(|row| row.number(GROUP_GID) == Some(gid))
            {
                Some(owner) => {
                    let reason = format!("it is {}'s in the image", owner.name());
                    let group = group.name.clone();
                    return Err(AccountError::Gid { group, gid, reason });
                }
                None => gid,
            },
            None => self.free_gid(None, wishes)?,
        };
        self.add_group(&group.name, gid);
        Ok(gid)
    }

    fn add_group(&mut self, name: &str, gid: u32) {
        let new = || {
            vec![
                name.to_owned(),
                "x".to_owned(),
                gid.to_string(),
                String::new(),
            ]
        };
        self.group.entry(name, new);
        let new = || {
            vec![
                name.to_owned(),
                "!".to_owned(),
                String::new(),
                String::new(),
            ]
        };
        self.gshadow.entry(name, new);
    }

    fn settle_user(&mut self, user: &User, wishes: Wishes<'_>) -> Result<Account, AccountError> {
        let account = match self.passwd.find(&user.name).cloned() {
            Some(row) => self.change_user(user, &row, wishes)?,
            None => self.add_user(user, wishes)?,
        };
        for name in &user.groups {
            let gid = None;
            let name = name.clone();
            self.settle_group(
                &Group {
                    name: name.clone(),
                    gid,
                },
                wishes,
            )?;
            for table in [&mut self.group, &mut self.gshadow] {
                if let Some(row) = table.find_mut(&name) {
                    row.add_to_list(MEMBERS, &user.name);
                }
            }
        }
        Ok(account)
    }

    fn add_user(&mut self, user: &User, wishes: Wishes<'_>) -> Result<Account, AccountError> {
        let uid = match user.uid {
            Some(uid) => self.unless_taken(user, uid)?,
            None => self.free_uid(wishes)?,
        };
        let gid = self.primary_group(user, uid, wishes)?;
        let home = user
            .home
            .clone()
            .unwrap_or_else(|| format!("/home/{}", user.name));
        let shell = user.shell.as_deref().unwrap_or(wishes.best_shell);
        let (name, uid_text, gid_text) = (&user.name, uid.to_string(), gid.to_string());
        let fields = [name, "x", &uid_text, &gid_text, name, &home, shell].map(str::to_owned);
        self.passwd.entry(name, || fields.to_vec());
        let password = user.password.as_ref().unwrap_or(&Password::Locked);
        self.set_password(name, password);
        Ok(Account {
            uid,
            gid,
            home,
            is_new: true,
            old_uid: None,
        })
    }

    fn change_user(
        &mut self,
        user: &User,
        row: &Row,
        wishes: Wishes<'_>,
    ) -> Result<Account, AccountError> {
        let has = number(row, UID, "/etc/passwd")?;
        let uid = match user.uid {
            Some(uid) if uid != has => self.unless_taken(user, uid)?,
            _ => has,
        };
        let gid = match &user.group {
            Some(_) => self.primary_group(user, uid, wishes)?,
            None => number(row, GID, "/etc/passwd")?,
        };
        let mut changed = row.clone();
        changed.set(UID, &uid.to_string());
        changed.set(GID, &gid.to_string());
        if let Some(home) = &user.home {
            changed.set(HOME, home);
        }
        if let Some(shell) = &user.shell {
            changed.set(SHELL, shell);
        }
        let home = changed.text(HOME);
        if let Some(entry) = self.passwd.find_mut(&user.name) {
            *entry = changed;
        }
        if let Some(password) = user
            .password
            .as_ref()
            .filter(|_| (wishes.sets_password)(user))
        {
            self.set_password(&user.name, password);
        }
        Ok(Account {
            uid,
            gid,
            home,
            is_new: false,
            old_uid: Some(has).filter(|old| *old != uid),
        })
    }

    fn primary_group(
        &mut self,
        user: &User,
        uid: u32,
        wishes: Wishes<'_>,
    ) -> Result<u32, AccountError> {
        let name = user.group.as_ref().unwrap_or(&user.name);
        if let Some(row) = self.group.find(name) {
            return number(row, GROUP_GID, "/etc/group");
        }
        // A group that is the user's own has the user's number, if it is free.
        let wanted = user.group.is_none().then_some(uid);
        let gid = self.free_gid(wanted, wishes)?;
        self.add_group(name, gid);
        Ok(gid)
    }

    fn set_password(&mut self, name: &str, password: &Password) {
        let text = match password {
            Password::Locked => NO_PASSWORD,
            Password::Empty => "",
            Password::Hash(hash) => hash,
        };
        if let Some(row) = self.passwd.find_mut(name) {
            row.set(PASSWORD, "x");
        }
        // Without the day of the last change nothing ages.
        let new = || {
            [name, "", "", "0", "99999", "7", "", "", ""]
                .map(str::to_owned)
                .to_vec()
        };
        self.shadow.entry(name, new).set(PASSWORD, text);
    }
}
