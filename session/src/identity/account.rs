//! Users and groups, as an embedder describes them.

use agent::protocol::identity as wire;
use serde::{Deserialize, Serialize};

/// A user of the guest. One that the image has is changed; any other is made, with a home from `/etc/skel`.
///
/// What is not set stays as it is in the image. For a new user it is: the next free number from 1000 up, a
/// group of the same name, `/home/NAME`, `/bin/bash` or `/bin/sh` or no shell, by what the image has, and no
/// password, so that only a key or [`Command::user`](crate::Command::user) gets in.
///
/// ```
/// let user = session::User::new("ann").groups(["docker"]).sudo();
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
#[must_use = "it is given to `SessionBuilder::user`"]
pub struct User(wire::User);

impl User {
    /// A user of this name: a lower-case letter or `_`, then up to 31 of those, digits and `-`.
    pub fn new(name: impl Into<String>) -> Self {
        Self(wire::User {
            name: name.into(),
            ..wire::User::default()
        })
    }

    /// The number. What a user of the image has in its home then goes to the new number.
    pub fn uid(mut self, uid: u32) -> Self {
        self.0.uid = Some(uid);
        self
    }

    /// The primary group, which is made if the image has none of that name.
    pub fn primary_group(mut self, name: impl Into<String>) -> Self {
        self.0.group = Some(name.into());
        self
    }

    /// Further groups, which are made if the image has none of these names. The user stays in those it is in.
    pub fn groups(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.0.groups.extend(names.into_iter().map(Into::into));
        self
    }

    /// The login shell: an absolute path.
    pub fn shell(mut self, path: impl Into<String>) -> Self {
        self.0.shell = Some(path.into());
        self
    }

    /// The home directory: an absolute path. It is made if it is not there. A new drive that is mounted there becomes the
    /// user's, if the user is new, too.
    pub fn home(mut self, path: impl Into<String>) -> Self {
        self.0.home = Some(path.into());
        self
    }

    /// Lets the user become anybody by `sudo`, without a password, where the image has `sudo`: by a file of its own in
    /// `/etc/sudoers.d`, which is made if it is not there. An image whose `sudoers` file does not include that folder, as
    /// those of most distributions do, has to be told to.
    pub fn sudo(mut self) -> Self {
        self.0.sudo = true;
        self
    }

    /// Lets no password in; keys get in.
    pub fn no_password(mut self) -> Self {
        self.0.password = Some(wire::Password::Locked);
        self
    }

    /// Lets anybody in who can reach a login prompt. The image's `sshd` does not take empty passwords by itself.
    pub fn empty_password(mut self) -> Self {
        self.0.password = Some(wire::Password::Empty);
        self
    }

    /// Lets the password in that has this crypt(5) hash: `$6$…`, `$y$…`. It is set once; who changes it in the
    /// guest keeps that, until another one is described.
    pub fn password_hash(mut self, hash: impl Into<String>) -> Self {
        self.0.password = Some(wire::Password::Hash(hash.into()));
        self
    }

    /// Adds an SSH key that gets in: a line of `authorized_keys`, options before the key included.
    pub fn authorized_key(mut self, line: impl Into<String>) -> Self {
        self.0.authorized_keys.push(line.into());
        self
    }

    pub(super) fn name(&self) -> &str {
        &self.0.name
    }

    pub(super) fn wire(&self) -> &wire::User {
        &self.0
    }
}

impl From<User> for wire::User {
    fn from(user: User) -> Self {
        user.0
    }
}

/// A group of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
#[must_use = "it is given to `SessionBuilder::group`"]
pub struct Group(wire::Group);

impl Group {
    /// A group of this name, which follows the rules of [`User::new`]. Without a number it gets the next free one.
    pub fn new(name: impl Into<String>) -> Self {
        let (name, gid) = (name.into(), None);
        Self(wire::Group { name, gid })
    }

    /// The number. A group that the image has must have it already.
    pub fn gid(mut self, gid: u32) -> Self {
        self.0.gid = Some(gid);
        self
    }

    pub(super) fn name(&self) -> &str {
        &self.0.name
    }

    pub(super) fn wire(&self) -> &wire::Group {
        &self.0
    }
}

impl From<Group> for wire::Group {
    fn from(group: Group) -> Self {
        group.0
    }
}
