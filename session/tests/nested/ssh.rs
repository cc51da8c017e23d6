//! The SSH server of a real guest, reached by a real client.

use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use session::{ErrorKind, Session, Store};

use super::bed::{Bed, sh};

/// Set for this very test binary when `ssh` runs it as its ProxyCommand: the store's folder.
const PROXY_STORE: &str = "SSH_TEST_PROXY_STORE";

/// The session's id.
const ID: &str = "ssh";

/// Not a test of its own: what `ssh` runs, in another process than the session's.
#[test]
fn proxy_of_the_ssh_test() {
    let Some(store) = std::env::var_os(PROXY_STORE) else {
        return;
    };
    let store = Store::open(store).unwrap();
    let mut socket = store.connect_ssh(ID).unwrap();
    let mut input = socket.try_clone().unwrap();
    thread::spawn(move || {
        io::copy(&mut io::stdin(), &mut input).unwrap();
        input.shutdown(Shutdown::Write).unwrap();
    });
    // Behind the test harness's own words, which went to the standard output before.
    let mut output = fs::File::options()
        .write(true)
        .open("/proc/self/fd/3")
        .unwrap();
    let mut buffer = [0; 32 << 10];
    loop {
        match socket.read(&mut buffer).unwrap() {
            0 => std::process::exit(0),
            count => output.write_all(&buffer[..count]).unwrap(),
        }
    }
}

struct Client<'a> {
    folder: &'a Path,
    store: PathBuf,
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
        let exe = std::env::current_exe().unwrap();
        let exe = exe.display();
        // The harness prints to its standard output, which must be another one than ssh's.
        let proxy = format!(
            "{PROXY_STORE}={} {exe} --exact ssh::proxy_of_the_ssh_test --nocapture 3>&1 >/dev/null",
            self.store.display()
        );
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
    sh(session, "mkdir -p -m 700 /root/.ssh");
    let to = "/root/.ssh/authorized_keys";
    session.copy_in(&keys, to).start().wait().unwrap();
}

#[test]
fn ssh_reaches_the_images_own_server_whether_it_listens_or_not() {
    let bed = Bed::debian();
    let session = bed.start(ID);
    let client = Client {
        folder: bed.folder.path(),
        store: bed.store.dir().to_owned(),
    };
    let key = client.make_key();
    allow(&session, bed.folder.path(), &key);
    let socket = bed.store.dir().join("sessions").join(ID).join("ssh.sock");
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Until systemd has come to the end of its start, in which it starts and stops what it likes.
    sh(
        &session,
        "systemctl is-system-running --wait >/dev/null 2>&1; systemctl start ssh",
    );
    for listens in [true, false] {
        if !listens {
            sh(
                &session,
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
    sh(&session, "rm /etc/ssh/ssh_host_*");
    assert_eq!(client.ssh("true").status.code(), Some(0));
    sh(&session, "mv /usr/sbin/sshd /usr/sbin/sshd.away");
    let refused = session.connect_ssh().wait().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
    assert!(refused.to_string().contains("no sshd"), "{refused}");
    bed.shut_down(&session);
    assert!(!socket.exists());
    let stopped = bed.store.connect_ssh(ID).unwrap_err();
    assert_eq!(stopped.kind(), ErrorKind::InvalidInput, "{stopped}");
}
