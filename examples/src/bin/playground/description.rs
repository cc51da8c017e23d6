//! What a machine shall be and have besides its disk, from the command line.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use session::{
    About, Error, ExtraDrive, Forward, GuestAddress, Session, SessionBuilder, Store, User,
};

use crate::failure::Failure;
use crate::size;

/// Who the guest is, which drives it has, and how it is reached.
#[derive(Debug, Default, Args)]
pub(crate) struct DescriptionArgs {
    /// A user, who is made if the image has none of this name; with `:sudo`, one who may do anything
    #[arg(long = "user", value_name = "NAME[:sudo]")]
    users: Vec<String>,
    /// A file of SSH public keys that let in all of these users, or root if there are none
    #[arg(long, value_name = "FILE")]
    authorized_keys: Option<PathBuf>,
    /// A variable of every command's environment
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = pair)]
    variables: Vec<(String, String)>,
    /// A further drive: empty and formatted if it is given by its size, else a snapshot; mounted if there is a path
    #[arg(long = "drive", value_name = "NAME=SIZE|SNAPSHOT[:PATH]", value_parser = drive)]
    drives: Vec<DriveArg>,
    /// Passes connections to this address of the host on to the guest's port
    #[arg(long = "forward", value_name = "ADDRESS:PORT:GUEST_PORT", value_parser = forward, requires = "command")]
    forwards: Vec<(SocketAddr, u16)>,
    /// What people shall call the session
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// A label of the session
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct DriveArg {
    name: String,
    content: Content,
    mount: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Empty(u64),
    Snapshot(String),
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=');
    let (name, value) = pair.ok_or_else(|| "it has no =".to_owned())?;
    Ok((name.to_owned(), value.to_owned()))
}

fn drive(text: &str) -> Result<DriveArg, String> {
    let (name, rest) = pair(text)?;
    let (content, mount) = match rest.split_once(":/") {
        Some((content, path)) => (content, Some(format!("/{path}"))),
        None => (&*rest, None),
    };
    if content.is_empty() {
        return Err("it has neither a size nor a snapshot".to_owned());
    }
    let content = match size::parse(content) {
        Ok(bytes) => Content::Empty(bytes),
        Err(_) => Content::Snapshot(content.to_owned()),
    };
    Ok(DriveArg {
        name,
        content,
        mount,
    })
}

fn forward(text: &str) -> Result<(SocketAddr, u16), String> {
    let parts = text.rsplit_once(':');
    let (host, port) = parts.ok_or_else(|| "it has no port of the guest".to_owned())?;
    let host = host
        .parse()
        .map_err(|_| format!("{host:?} is no address and port, such as 127.0.0.1:8080"))?;
    let port = port
        .parse()
        .map_err(|_| format!("{port:?} is no port of the guest"))?;
    Ok((host, port))
}

impl DescriptionArgs {
    /// Describes the machine; what is not given stays as it is.
    pub(crate) fn apply(
        &self,
        mut builder: SessionBuilder,
        store: &Store,
        about: About,
    ) -> Result<SessionBuilder, Failure> {
        for user in self.described_users()? {
            builder = builder.user(user);
        }
        for (name, value) in &self.variables {
            builder = builder.env(name, value);
        }
        for drive in &self.drives {
            builder = builder.drive(drive.resolve(store)?);
        }
        if self.title.is_some() || !self.labels.is_empty() {
            builder = builder.about(self.renewed(about));
        }
        Ok(builder)
    }

    fn renewed(&self, mut about: About) -> About {
        about.title = self.title.clone().or(about.title);
        about.labels.extend(self.labels.iter().cloned());
        about
    }

    fn described_users(&self) -> Result<Vec<User>, Failure> {
        let keys = match &self.authorized_keys {
            None => String::new(),
            Some(path) => fs::read_to_string(path).map_err(|source| {
                let path = path.clone();
                Failure::Read { path, source }
            })?,
        };
        let keys: Vec<_> = keys
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect();
        let mut users: Vec<_> = self.users.iter().map(|text| user(text)).collect();
        if users.is_empty() && !keys.is_empty() {
            users.push(User::new("root"));
        }
        let with_keys = |user| {
            keys.iter()
                .fold(user, |user: User, key| user.authorized_key(*key))
        };
        Ok(users.into_iter().map(with_keys).collect())
    }

    /// Opens the forwards, which end when they are dropped.
    pub(crate) fn open_forwards(&self, session: &Session) -> Result<Vec<Forward>, Error> {
        let open = |(host, port): &(SocketAddr, u16)| {
            session.forward(*host, GuestAddress::Tcp(*port)).wait()
        };
        self.forwards.iter().map(open).collect()
    }
}

fn user(text: &str) -> User {
    match text.strip_suffix(":sudo") {
        Some(name) => User::new(name).sudo(),
        None => User::new(text),
    }
}

impl DriveArg {
    fn resolve(&self, store: &Store) -> Result<ExtraDrive, Error> {
        let drive = match &self.content {
            Content::Empty(bytes) => ExtraDrive::empty(&self.name, *bytes),
            Content::Snapshot(text) => ExtraDrive::from_snapshot(&self.name, store.resolve(text)?),
        };
        Ok(match &self.mount {
            Some(path) => drive.mount(path),
            None => drive,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drives_are_empty_or_come_from_snapshots_and_may_be_mounted() {
        let expected = |content, mount: Option<&str>| DriveArg {
            name: "data".to_owned(),
            content,
            mount: mount.map(str::to_owned),
        };
        let snapshot = |text: &str| Content::Snapshot(text.to_owned());
        for (text, content, mount) in [
            ("data=1GiB", Content::Empty(1 << 30), None),
            (
                "data=1GiB:/srv/data",
                Content::Empty(1 << 30),
                Some("/srv/data"),
            ),
            (
                "data=sha256:12ab:/mnt",
                snapshot("sha256:12ab"),
                Some("/mnt"),
            ),
            ("data=sha256:12ab", snapshot("sha256:12ab"), None),
        ] {
            assert_eq!(drive(text), Ok(expected(content, mount)), "{text}");
        }
        for bad in ["data", "data=", "data=:/mnt"] {
            assert!(drive(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn forwards_name_an_address_a_port_and_a_port_of_the_guest() {
        let v4 = "127.0.0.1:8080".parse().unwrap();
        let v6 = "[::1]:8080".parse().unwrap();
        assert_eq!(forward("127.0.0.1:8080:80"), Ok((v4, 80)));
        assert_eq!(forward("[::1]:8080:80"), Ok((v6, 80)));
        for bad in [
            "",
            "80",
            "8080:80",
            "127.0.0.1:80",
            "127.0.0.1:8080:http",
            "h:1:2",
        ] {
            assert!(forward(bad).is_err(), "{bad}");
        }
    }
}
