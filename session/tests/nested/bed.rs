//! A store with an image in it, and what every test does with sessions.

use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use session::{Event, Kernel, Session, SessionBuilder, Snapshot, SnapshotDigest, Store};
use tempfile::TempDir;

/// Emulated machines are slow; what takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(180);

/// Room enough for the image and the tests, and little to check.
pub(crate) const DISK_BYTES: u64 = 1 << 30;

/// A setting without which nothing here can run.
pub(crate) fn env(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("set {name}; see the head of this test's main.rs"))
}

pub(crate) fn kernel() -> Kernel {
    let kernel = Kernel::from_path(env("VM_TEST_KERNEL")).unwrap();
    kernel.with_modules(env("VM_TEST_MODULES"))
}

/// Settings that suit a slow machine.
pub(crate) fn patient(builder: SessionBuilder) -> SessionBuilder {
    builder.boot_timeout(PATIENCE).shutdown_timeout(PATIENCE)
}

/// What is told next of a session but how its start goes on, and that the host is slow.
pub(crate) fn next_news(told: &mpsc::Receiver<Event>) -> Event {
    loop {
        match told.recv_timeout(PATIENCE).unwrap() {
            Event::Starting { .. } | Event::DeviceSlow { .. } => {}
            event => return event,
        }
    }
}

pub(crate) struct Bed {
    pub(crate) folder: TempDir,
    pub(crate) store: Store,
    pub(crate) image: SnapshotDigest,
}

impl Bed {
    pub(crate) fn busybox() -> Self {
        Self::new("VM_TEST_BUSYBOX_IMAGE")
    }

    pub(crate) fn debian() -> Self {
        Self::new("VM_TEST_DEBIAN_IMAGE")
    }

    fn new(variable: &str) -> Self {
        Self::of(env(variable), DISK_BYTES)
    }

    /// A store with the image of this name, on disks of this size.
    pub(crate) fn of(reference: String, disk_bytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("store")).unwrap();
        let import = store.import(reference).disk_bytes(disk_bytes);
        let image = import.start().wait().unwrap().snapshot;
        Self {
            folder,
            store,
            image,
        }
    }

    /// A new session from the image.
    pub(crate) fn start(&self, id: &str) -> Session {
        self.start_from(self.image, id)
    }

    pub(crate) fn start_from(&self, snapshot: SnapshotDigest, id: &str) -> Session {
        let builder = Session::from_snapshot(&self.store, snapshot).id(id);
        patient(builder.kernel(kernel())).start().wait().unwrap()
    }

    pub(crate) fn resume(&self, id: &str) -> Session {
        patient(Session::resume(&self.store, id))
            .start()
            .wait()
            .unwrap()
    }

    /// Shuts down; the file system that is left must be clean by an independent judge.
    pub(crate) fn shut_down(&self, session: &Session) -> Snapshot {
        let snapshot = session.shutdown().wait().unwrap();
        assert!(snapshot.clean);
        self.check(snapshot.digest);
        snapshot
    }

    /// Runs e2fsck on a snapshot's disk.
    pub(crate) fn check(&self, snapshot: SnapshotDigest) {
        let (is_clean, output) = self.with_raw(snapshot, e2fsck);
        assert!(is_clean, "{output}");
    }

    /// The digest of all bytes of a snapshot's disk.
    pub(crate) fn sha256(&self, snapshot: SnapshotDigest) -> String {
        let output = self.with_raw(snapshot, |file| {
            Command::new("sha256sum").arg(file).output().unwrap()
        });
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_whitespace().next().unwrap().to_owned()
    }

    /// Calls `look` with a file of all bytes of a snapshot's disk.
    fn with_raw<T>(&self, snapshot: SnapshotDigest, look: impl FnOnce(&Path) -> T) -> T {
        let file = self.folder.path().join(format!("{snapshot}.raw"));
        self.store.export(snapshot, &file).start().wait().unwrap();
        let seen = look(&file);
        std::fs::remove_file(&file).unwrap();
        seen
    }
}

fn e2fsck(file: &Path) -> (bool, String) {
    let output = Command::new("e2fsck")
        .arg("-fn")
        .arg(file)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // A journal that would have to be replayed is no error to it, but no clean shutdown either.
    (output.status.success() && !text.contains("recovery"), text)
}

/// Runs a shell script in the guest, which must succeed; returns what it prints.
pub(crate) fn sh(session: &Session, script: &str) -> String {
    run(session.command("sh"), script)
}

/// The same as root, whoever runs commands otherwise.
pub(crate) fn sh_as_root(session: &Session, script: &str) -> String {
    run(session.command("sh").user("root"), script)
}

fn run(shell: session::Command, script: &str) -> String {
    let output = shell.args(["-c", script]).output().wait().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "{script}: {}\n{text}{complaint}",
        output.status
    );
    text
}

/// Bytes that no compression makes go away.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
