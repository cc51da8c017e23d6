//! Who the guest of a session is: its people, keys, files, and what commands find.
//!
//! Invariant: a description that is in a record was checked; the machine that it belongs to has its id and its host key
//! from the day that the session was created.

mod account;
pub(crate) mod check;
mod file;
mod machine;
#[cfg(test)]
mod tests;

use agent::protocol::identity as wire;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::network::{self, Card};
use crate::tasks::{self, Task};

pub use account::{Group, User};
pub use file::GuestFile;

/// What a session's record has of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    /// `None` in records of sessions from before there were identities, until they are resumed.
    machine: Option<wire::Machine>,
    #[serde(default)]
    description: Description,
}

/// What was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Description {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) groups: Vec<Group>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) users: Vec<User>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) files: Vec<GuestFile>,
    /// On top of the image's: names and values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) env: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) working_dir: Option<String>,
    /// As whom commands run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) run_as: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tasks: Vec<Task>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) networks: Vec<Card>,
}

impl Description {
    /// Checks it as a whole.
    pub(crate) fn check(&self) -> Result<(), Error> {
        tasks::check(&self.tasks)?;
        network::check(&self.networks)?;
        check::check(self)
    }

    /// What the guest's disk holds of it. Changes of the rest are none for that.
    fn on_disk(&self) -> (&[Group], &[User], &[GuestFile]) {
        (&self.groups, &self.users, &self.files)
    }

    /// The same with what `more` says: of what both describe, `more` wins.
    fn with(mut self, more: Self) -> Self {
        merge(&mut self.groups, more.groups, Group::name);
        merge(&mut self.users, more.users, User::name);
        merge(&mut self.files, more.files, GuestFile::path);
        merge(&mut self.env, more.env, |(name, _)| name.as_str());
        merge(&mut self.tasks, more.tasks, Task::name);
        if !more.networks.is_empty() {
            self.networks = more.networks;
        }
        self.working_dir = more.working_dir.or(self.working_dir);
        self.run_as = more.run_as.or(self.run_as);
        self
    }
}

/// Replaces what has the same key, and appends the rest.
fn merge<T>(old: &mut Vec<T>, new: Vec<T>, key: impl Fn(&T) -> &str) {
    for item in new {
        match old.iter_mut().find(|there| key(there) == key(&item)) {
            Some(there) => *there = item,
            None => old.push(item),
        }
    }
}

impl Identity {
    /// That of a new session.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the description is not acceptable.
    pub(crate) fn create(description: Description) -> Result<Self, Error> {
        description.check()?;
        Ok(Self {
            machine: Some(machine::create()?),
            description,
        })
    }

    /// That of a new session whose guest is described as this one's, and by `more`, and whose disk is this one's.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub(crate) fn of_another(&self, more: Description) -> Result<Self, Error> {
        let mut new = Self::create(self.description.clone().with(more))?;
        if let Some(machine) = &mut new.machine {
            machine.continues = true;
        }
        Ok(new)
    }

    /// Adds to the description when a session is resumed. What is as it was described before is not carried out again.
    ///
    /// # Errors
    /// As [`create`](Self::create); it is then as it was.
    pub(crate) fn describe(&mut self, more: Description) -> Result<(), Error> {
        let described = self.description.clone().with(more);
        described.check()?;
        match &mut self.machine {
            Some(machine) if described.on_disk() != self.description.on_disk() => {
                machine.revision = machine::revision()?;
            }
            Some(_) => {}
            None => self.machine = Some(machine::create()?),
        }
        self.description = described;
        Ok(())
    }

    /// Whether nothing is known, as of a session from before there were identities.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn description(&self) -> &Description {
        &self.description
    }

    /// The guest's id, as in its `/etc/machine-id`.
    pub(crate) fn machine_id(&self) -> Option<&str> {
        self.machine.as_ref().map(|machine| machine.id.as_str())
    }

    /// The public half of the guest's SSH host key.
    pub(crate) fn ssh_host_key(&self) -> Option<&str> {
        self.machine
            .as_ref()
            .map(|machine| machine.host_key_public.as_str())
    }

    /// What the agent is told.
    pub(crate) fn to_wire(&self) -> wire::Identity {
        let Description {
            groups,
            users,
            files,
            networks,
            ..
        } = self.description.clone();
        let machine_id = self.machine_id().unwrap_or_default();
        let interface = |(index, card): (usize, Card)| card.interface(machine_id, index);
        let interfaces = networks.into_iter().enumerate().map(interface).collect();
        wire::Identity {
            machine: self.machine.clone(),
            groups: groups.into_iter().map(Into::into).collect(),
            users: users.into_iter().map(Into::into).collect(),
            files: files.into_iter().map(Into::into).collect(),
            interfaces,
        }
    }
}
