//! What a machine shall be and have besides its disk, from the command line.

mod drives;
mod networks;
mod notes;
mod tasks;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use session::{About, Error, Forward, GuestAddress, Session, SessionBuilder, Store, User};

use crate::failure::Failure;
use drives::{DriveArg, drive};
use networks::{NetworkArg, network};
pub(crate) use notes::NoteArgs;
use tasks::{TaskArg, task};

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
    #[arg(long = "forward", value_name = "ADDRESS:PORT:GUEST_PORT", value_parser = forward, requires = "work")]
    forwards: Vec<(SocketAddr, u16)>,
    /// A network interface: on a TAP interface of the host's, or behind a `passt` that listens on a socket
    #[arg(
        long = "network",
        value_name = "tap:NAME|passt:SOCKET[,ADDRESS/PREFIX][,via=GATEWAY][,dns=SERVER]",
        value_parser = network
    )]
    networks: Vec<NetworkArg>,
    /// A script that root runs before the command, once in the session's life, when the tasks that it needs have succeeded
    #[arg(long = "task", value_name = "NAME[:NEED,…]=SCRIPT", value_parser = task)]
    tasks: Vec<TaskArg>,
    #[command(flatten)]
    notes: NoteArgs,
}

/// `NAME=VALUE`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=');
    let (name, value) = pair.ok_or_else(|| "it has no =".to_owned())?;
    Ok((name.to_owned(), value.to_owned()))
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
        for network in &self.networks {
            builder = builder.network(network.network());
        }
        for task in &self.tasks {
            builder = builder.task(task.task());
        }
        if !self.notes.is_empty() {
            let mut about = about;
            self.notes.apply(&mut about);
            builder = builder.about(about);
        }
        Ok(builder)
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

#[cfg(test)]
mod tests {
    use super::*;

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
