//! Numbers of users and groups: which are free, and whose the others are.

use std::collections::BTreeSet;

use agent::protocol::identity::User;

use super::super::table::Row;
use super::{AccountError, GROUP_GID, Tables, UID, Wishes};

/// The numbers that new users and groups get, as in most distributions' `login.defs`.
pub(super) const FIRST_FREE: u32 = 1000;
pub(super) const LAST_FREE: u32 = 59_999;

impl Tables {
    pub(super) fn unless_taken(&self, user: &User, uid: u32) -> Result<u32, AccountError> {
        let other = |row: &&Row| row.number(UID) == Some(uid) && row.name() != user.name;
        match self.passwd.rows().find(other) {
            Some(owner) => Err(AccountError::UidTaken {
                user: user.name.clone(),
                uid,
                owner: owner.name(),
            }),
            None => Ok(uid),
        }
    }

    pub(super) fn free_uid(&self, wishes: Wishes<'_>) -> Result<u32, AccountError> {
        let there = self.passwd.rows().filter_map(|row| row.number(UID));
        let wished = wishes.users.iter().filter_map(|user| user.uid);
        first_free(&there.chain(wished).collect())
    }

    pub(super) fn free_gid(
        &self,
        wanted: Option<u32>,
        wishes: Wishes<'_>,
    ) -> Result<u32, AccountError> {
        let there = self.group.rows().filter_map(|row| row.number(GROUP_GID));
        let wished = wishes.groups.iter().filter_map(|group| group.gid);
        let taken: BTreeSet<u32> = there.chain(wished).collect();
        match wanted.filter(|gid| !taken.contains(gid)) {
            Some(gid) => Ok(gid),
            None => first_free(&taken),
        }
    }
}

fn first_free(taken: &BTreeSet<u32>) -> Result<u32, AccountError> {
    let is_free = |number: &u32| !taken.contains(number);
    (FIRST_FREE..=LAST_FREE)
        .find(is_free)
        .ok_or(AccountError::NoNumber)
}

pub(super) fn number(row: &Row, at: usize, table: &'static str) -> Result<u32, AccountError> {
    row.number(at).ok_or_else(|| AccountError::Damaged {
        name: row.name(),
        table,
    })
}
