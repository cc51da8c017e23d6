//! The SSH server of a real guest, reached by a real client. The test that boots the guest is in `identity`.

use std::fs;
use std::io;
use std::net::{Shutdown, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
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

struct Client<'a> {
    folder: &'a Path,
    port: u16,
}

impl Client<'_> {
    fn key(&self) -> PathBuf {
        self.folder.join("key")
    }

    fn make_key(&self) -> String {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(self.key())
            .status()
            .unwrap();
        assert!(made.success());
        fs::read_to_string(self.key().with_extension("pub")).unwrap()
    }

    fn ssh(&self, command: &str) -> std::process::Output {
        let proxy = format!("busybox nc 127.0.0.1 {}", self.port);
        let mut ssh = Command::new("ssh");
        ssh.arg("-i").arg(self.key());
        ssh.arg("-o").arg(format!("ProxyCommand={proxy}"));
        for option in [
            "BatchMode=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "ConnectTimeout=60",
        ] {
            ssh.args(["-o", option]);
        }
        ssh.args(["root@guest", command]).output().unwrap()
    }
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
pub(crate) fn check(bed: &Bed, session: &Session, id: &'static str) {
    let client = Client {
        folder: bed.folder.path(),
        port: bridge(&bed.store, id),
    };
    let key = client.make_key();
    allow(session, bed.folder.path(), &key);
    let mode = fs::metadata(socket(bed, id)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for listens in [true, false] {
        if !listens {
            sh_as_root(
                session,
                "systemctl stop ssh ssh.socket 2>/dev/null; ! ss -tln | grep -q ':22 '",
            );
        }
        let output = client.ssh("echo over ssh as $(id -un); cat; exit 7");
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
    assert_eq!(client.ssh("true").status.code(), Some(0));
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
