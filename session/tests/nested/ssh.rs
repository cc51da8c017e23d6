//! The SSH server of a real guest, reached by a real client. The test that boots the guest is in `identity`.

use std::fs;
use std::io;
use std::net::{Shutdown, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

use session::{ErrorKind, Session, Store};

use super::bed::{Bed, sh_as_root};

/// Connects clients of a port to the session's socket, as another process of this user would.
fn bridge(store: &Store, id: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let store = store.clone();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut socket = store.connect_ssh(id).unwrap();
            let (mut from, mut to) = (client.try_clone().unwrap(), socket.try_clone().unwrap());
            thread::spawn(move || {
                drop(io::copy(&mut from, &mut to));
                drop(to.shutdown(Shutdown::Write));
            });
            drop(io::copy(&mut socket, &mut client));
            drop(client.shutdown(Shutdown::Both));
        }
    });
    port
}

/// A client of the image's own server, with a key of its own.
pub(crate) struct Client<'a> {
    folder: &'a Path,
    /// The public half of its key.
    pub(crate) key: String,
    port: u16,
}

impl<'a> Client<'a> {
    /// A client of the session with this id.
    pub(crate) fn new(bed: &'a Bed, id: &'static str) -> Self {
        let folder = bed.folder.path();
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(folder.join("key"))
            .status()
            .unwrap();
        assert!(made.success());
        let key = fs::read_to_string(folder.join("key.pub")).unwrap();
        Self {
            folder,
            key: key.trim().to_owned(),
            port: bridge(&bed.store, id),
        }
    }

    /// Runs a command as a user. `known` is the key that the server must have, if it must have a certain one.
    pub(crate) fn ssh(&self, user: &str, known: Option<&str>, command: &str) -> Output {
        let proxy = format!("busybox nc 127.0.0.1 {}", self.port);
        let known_hosts = self.folder.join("known_hosts");
        let line = known.map_or_else(String::new, |key| format!("guest {key}\n"));
        fs::write(&known_hosts, line).unwrap();
        let is_strict = if known.is_some() { "yes" } else { "no" };
        let mut ssh = Command::new("ssh");
        ssh.arg("-i").arg(self.folder.join("key"));
        for option in [
            format!("ProxyCommand={proxy}"),
            format!("StrictHostKeyChecking={is_strict}"),
            format!("UserKnownHostsFile={}", known_hosts.display()),
            "BatchMode=yes".to_owned(),
            "ConnectTimeout=60".to_owned(),
        ] {
            ssh.args(["-o", &option]);
        }
        let login = format!("{user}@guest");
        ssh.args([&login, command]).output().unwrap()
    }
}

/// A described user logs in by the described key, at a server that proves to be the session's, and becomes root.
pub(crate) fn check_user(client: &Client<'_>, session: &Session, user: &str) {
    let who = "id -un; sudo -n id -un; hostname";
    let known = session.ssh_host_key();
    let output = client.ssh(user, Some(known), who);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(text, format!("{user}\nroot\nlab-9\n"), "{complaint}");
    let other = client.ssh(user, Some(&client.key), who);
    assert_eq!(other.status.code(), Some(255));
}

fn allow(session: &Session, folder: &Path, key: &str) {
    let keys = folder.join("authorized_keys");
    fs::write(&keys, key).unwrap();
    fs::set_permissions(&keys, PermissionsExt::from_mode(0o600)).unwrap();
    sh_as_root(session, "mkdir -p -m 700 /root/.ssh");
    let to = "/root/.ssh/authorized_keys";
    session.copy_in(&keys, to).start().wait().unwrap();
}

/// Reaches the image's own server, whether it listens or not. No server is left afterwards.
pub(crate) fn check(client: &Client<'_>, bed: &Bed, session: &Session, id: &str) {
    allow(session, bed.folder.path(), &client.key);
    let mode = fs::metadata(socket(bed, id)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for listens in [true, false] {
        if !listens {
            sh_as_root(
                session,
                "systemctl stop ssh ssh.socket 2>/dev/null; ! ss -tln | grep -q ':22 '",
            );
        }
        let output = client.ssh("root", None, "echo over ssh as $(id -un); cat; exit 7");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            output.status.code(),
            Some(7),
            "{listens}: {text}{complaint}"
        );
        assert_eq!(text, "over ssh as root\n", "{complaint}");
    }
    // Without keys the server makes some; without a server there is none.
    sh_as_root(session, "rm /etc/ssh/ssh_host_*");
    assert_eq!(client.ssh("root", None, "true").status.code(), Some(0));
    sh_as_root(session, "mv /usr/sbin/sshd /usr/sbin/sshd.away");
    let refused = session.connect_ssh().wait().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
    assert!(refused.to_string().contains("no sshd"), "{refused}");
}

/// There is no way to a session that is shut down.
pub(crate) fn check_closed(bed: &Bed, id: &str) {
    assert!(!socket(bed, id).exists());
    let stopped = bed.store.connect_ssh(id).unwrap_err();
    assert_eq!(stopped.kind(), ErrorKind::InvalidInput, "{stopped}");
}

fn socket(bed: &Bed, id: &str) -> PathBuf {
    bed.store.dir().join("sessions").join(id).join("ssh.sock")
}
