//! Starts that fail: one clear error each, and nothing left behind.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use session::{
    Error, ErrorKind, Group, GuestFile, Kernel, Network, Session, SessionBuilder, SessionState,
    Store, Task, User,
};
use tempfile::TempDir;

use super::{image, kernel};

struct Bed {
    folder: TempDir,
    store: Store,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        image::write(&folder.path().join("image"));
        let store = Store::open(folder.path().join("store")).unwrap();
        Self { folder, store }
    }

    fn image(&self) -> String {
        format!("oci:{}:latest", self.folder.path().join("image").display())
    }

    fn new_session(&self, kernel: PathBuf) -> SessionBuilder {
        Session::from_image(&self.store, self.image())
            .id("new")
            .kernel(Kernel::from_path(kernel).unwrap())
            .boot_timeout(Duration::from_secs(5))
    }

    /// Starts a new session, which must fail, and checks that nothing is left of it.
    fn fail(&self, builder: SessionBuilder) -> Error {
        let error = builder.start().wait().unwrap_err();
        assert!(self.store.sessions().unwrap().is_empty(), "{error}");
        assert!(self.store.session("new").unwrap_err().is_not_found());
        let sessions = self.store.dir().join("sessions");
        let left = std::fs::read_dir(sessions).map_or(0, Iterator::count);
        assert_eq!(left, 0, "after: {error}");
        error
    }
}

#[test]
fn a_kernel_that_panics_is_quoted() {
    let bed = Bed::new();
    let words = "Kernel panic - not syncing: VFS: Unable to mount root fs";
    let kernel = kernel::prints_and_resets(bed.folder.path(), &format!("[  0.1] {words}\r\n"));
    let error = bed.fail(bed.new_session(kernel));
    assert_eq!(error.kind(), ErrorKind::Guest);
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn a_kernel_that_dies_silently_is_told_from_one_that_hangs() {
    let bed = Bed::new();
    let kernel = kernel::prints_and_resets(bed.folder.path(), "last words\n");
    let error = bed.fail(bed.new_session(kernel));
    assert_eq!(error.kind(), ErrorKind::Guest);
    assert!(error.to_string().contains("last words"), "{error}");
    assert!(error.to_string().contains("modules"), "{error}");

    let begun = Instant::now();
    let kernel = kernel::hangs(bed.folder.path());
    let hanging = bed.new_session(kernel).boot_timeout(Duration::from_secs(1));
    let error = bed.fail(hanging);
    assert!(error.is_timeout(), "{error}");
    assert!(error.to_string().contains("within 1 s"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn what_is_no_kernel_is_refused() {
    let bed = Bed::new();
    let text = bed.folder.path().join("text");
    std::fs::write(&text, "no kernel".repeat(1000)).unwrap();
    let error = bed.fail(bed.new_session(text.clone()));
    assert_eq!(error.kind(), ErrorKind::Kernel);
    assert!(
        error.to_string().contains(text.to_str().unwrap()),
        "{error}"
    );
}

#[test]
fn missing_modules_are_named() {
    let bed = Bed::new();
    let image = kernel::hangs(bed.folder.path());
    let modules = bed.folder.path().join("modules");
    std::fs::create_dir(&modules).unwrap();
    std::fs::write(modules.join("modules.builtin"), "").unwrap();
    let given = Kernel::from_path(image).unwrap().with_modules(&modules);
    let builder = Session::from_image(&bed.store, bed.image())
        .id("new")
        .kernel(given);
    let error = bed.fail(builder);
    assert_eq!(error.kind(), ErrorKind::Kernel);
    assert!(error.to_string().contains("virtio_mmio"), "{error}");
}

#[test]
fn settings_and_names_are_checked_before_anything_is_made() {
    let bed = Bed::new();
    let kernel = kernel::hangs(bed.folder.path());
    let bad = [
        bed.new_session(kernel.clone()).id("../x"),
        bed.new_session(kernel.clone()).hostname("a_b"),
        bed.new_session(kernel.clone()).memory_mib(1),
        bed.new_session(kernel.clone()).vcpus(0),
        bed.new_session(kernel.clone()).user(User::new("Ann")),
        bed.new_session(kernel.clone()).group(Group::new("a:b")),
        bed.new_session(kernel.clone())
            .user(User::new("ann").authorized_key("no key")),
        bed.new_session(kernel.clone())
            .file(GuestFile::new("../x", "")),
        bed.new_session(kernel.clone()).env("A=B", ""),
        bed.new_session(kernel.clone()).working_dir("x"),
        bed.new_session(kernel.clone()).run_as(""),
        bed.new_session(kernel.clone())
            .task(Task::script("a", "x").needs(["a"])),
        bed.new_session(kernel.clone())
            .network(Network::tap("no-such-tap0")),
        bed.new_session(kernel.clone())
            .network(Network::tap("t").gateway([10, 0, 0, 1])),
    ];
    for builder in bad {
        assert_eq!(bed.fail(builder).kind(), ErrorKind::InvalidInput);
    }
    let error = bed.fail(Session::from_image(&bed.store, "alpine"));
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let nowhere = Session::from_image(&bed.store, "oci:/nowhere");
    let error = bed.fail(nowhere.kernel(Kernel::from_path(kernel).unwrap()));
    assert_eq!(error.kind(), ErrorKind::Image, "{error}");
    assert!(bed.store.images().unwrap().is_empty());
}

#[test]
fn what_is_not_there_cannot_be_resumed() {
    let bed = Bed::new();
    let error = Session::resume(&bed.store, "nobody")
        .start()
        .wait()
        .unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert!(
        bed.store
            .remove_session("nobody")
            .unwrap_err()
            .is_not_found()
    );
}

#[test]
fn a_resumed_session_whose_start_fails_is_as_it_was() {
    let bed = Bed::new();
    // There is no stock kernel here to make a session with, so its record is made by one that hangs and is killed.
    let script = format!(
        "exec '{}' --exact starting::a_session_that_is_killed",
        std::env::current_exe().unwrap().display()
    );
    let mut child = std::process::Command::new("sh")
        .args(["-c", &script])
        .env(KILLED_BED, bed.folder.path())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let record = bed.store.dir().join("sessions/killed/record.json");
    let is_open = || std::fs::read_to_string(&record).is_ok_and(|text| text.contains("\"open\""));
    while !is_open() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(
        bed.store.session("killed").unwrap().state,
        SessionState::Running
    );
    let error = Session::resume(&bed.store, "killed")
        .start()
        .wait()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert_eq!(
        bed.store.remove_session("killed").unwrap_err().kind(),
        ErrorKind::Busy
    );
    child.kill().unwrap();
    child.wait().unwrap();

    let before = bed.store.session("killed").unwrap();
    assert_eq!(before.state, SessionState::Interrupted);
    assert_eq!(
        bed.store.resolve("killed").unwrap_err().kind(),
        ErrorKind::Busy
    );
    let resets = kernel::prints_and_resets(bed.folder.path(), "no\n");
    let resumed = Session::resume(&bed.store, "killed")
        .kernel(Kernel::from_path(resets).unwrap())
        .memory_mib(64);
    assert_eq!(resumed.start().wait().unwrap_err().kind(), ErrorKind::Guest);
    assert_eq!(bed.store.session("killed").unwrap(), before);

    bed.store.remove_session("killed").unwrap();
    assert!(bed.store.sessions().unwrap().is_empty());
}

const KILLED_BED: &str = "SESSION_TEST_KILLED_BED";

/// Not a test by itself: what the one above kills.
#[test]
fn a_session_that_is_killed() {
    let Some(folder) = std::env::var_os(KILLED_BED).map(PathBuf::from) else {
        return;
    };
    let store = Store::open(folder.join("store")).unwrap();
    let kernel = Kernel::from_path(kernel::hangs(&folder)).unwrap();
    let image = format!("oci:{}:latest", folder.join("image").display());
    let session = Session::from_image(&store, image)
        .id("killed")
        .kernel(kernel);
    drop(
        session
            .boot_timeout(Duration::from_secs(600))
            .start()
            .wait(),
    );
}
