//! Who a guest is: its names, its people, its keys and its files.
//!
//! The host has checked all of it: names are names, paths are absolute, and no text that goes into a table of the
//! guest's has a separator of that table in it.

use std::fmt;
use std::net::IpAddr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What the guest shall be besides a hostname and a disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// What only this machine has. `None` leaves what the image brings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Machine>,
    /// Groups that there shall be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
    /// Users that there shall be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<User>,
    /// Files to place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<PlacedFile>,
    /// Network interfaces that get addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
}

/// What two machines must never have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// As in `/etc/machine-id`: 32 lower-case hexadecimal digits.
    pub id: String,
    /// Names this description of the machine. If the disk was made by another one, files and passwords that this one
    /// describes differently are carried out anew.
    pub revision: String,
    /// Whether it goes on with what another machine was described as, on that one's disk: what was carried out for that
    /// one counts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub continues: bool,
    /// The SSH host key as a file in OpenSSH's format.
    pub host_key: Secret,
    /// Its public half as one line.
    pub host_key_public: String,
}

/// A text that messages don't show.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its number; `None` is that of the image's group, or the next free one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

/// A user. What is `None` stays as it is if the image has the user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The login name.
    pub name: String,
    /// The number; for a new user, `None` is the next free one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The primary group's name; for a new user, `None` is a group of the user's own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Names of further groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The login shell; for a new user, `None` is the best that the image has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// The home directory; for a new user, `None` is `/home/NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// Whether the user may become anybody, without a password. `false` takes back only what was given this way.
    #[serde(default)]
    pub sudo: bool,
    /// The password; for a new user, `None` is none that could be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Password>,
    /// Lines for `~/.ssh/authorized_keys`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorized_keys: Vec<String>,
}

/// What a user has to say to log in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Password {
    /// No password lets the user in; keys do.
    Locked,
    /// The empty one.
    Empty,
    /// One that has this crypt(5) hash.
    Hash(String),
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Locked => "Locked",
            Self::Empty => "Empty",
            Self::Hash(_) => "Hash",
        })
    }
}

/// A file to be put into the guest.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedFile {
    /// Where, from the guest's root.
    pub path: String,
    /// What is in it.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub bytes: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
    /// `user[:group]`, names or numbers; `None` is root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

impl fmt::Debug for PlacedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlacedFile")
            .field("path", &self.path)
            .field("bytes", &self.bytes.len())
            .field("mode", &format_args!("{:o}", self.mode))
            .field("owner", &self.owner)
            .finish()
    }
}

/// A network interface, known by its Ethernet address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Its addresses, with the lengths of their networks' prefixes in bits.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Where everything else is reached through; one for each version of IP at most.
    pub gateways: Vec<IpAddr>,
    /// Name servers for `/etc/resolv.conf`.
    pub dns: Vec<IpAddr>,
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    BASE64_STANDARD.decode(text).map_err(D::Error::custom)
}
