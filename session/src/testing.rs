//! What several unit tests begin with.

use std::fmt;
use std::iter;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::thread;
use std::time::Duration;

use agent::protocol::{Frame, read_frame};
use rootfs_store::{ImageReference, ImportOptions, SnapshotDigest};
use tempfile::TempDir;

use crate::about::About;
use crate::command::{Close, Connection, Guest, Incoming};
use crate::error::{Error, Repr};
use crate::event::{Event, Events};
use crate::identity::Identity;
use crate::limits::{Limit, Limits};
use crate::record::{Record, RecordState};
use crate::store::Store;

#[path = "../tests/it/image.rs"]
pub(crate) mod image;

/// A store with a small image in it, and the folder that holds both.
pub(crate) fn store_with_image() -> (TempDir, Store, SnapshotDigest) {
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("image");
    image::write(&layout);
    let store = Store::open(folder.path().join("store")).unwrap();
    let reference: ImageReference = format!("oci:{}", layout.display()).parse().unwrap();
    let options = ImportOptions {
        disk_bytes: Some(64 << 20),
        ..ImportOptions::default()
    };
    let imported = store.inner().import(&reference, &options, &()).unwrap();
    (folder, store, imported.snapshot)
}

/// The record of a session that was never started.
pub(crate) fn record(id: &str, snapshot: SnapshotDigest) -> Record {
    Record {
        id: id.into(),
        state: RecordState::Stopped,
        snapshot,
        origin: snapshot,
        kernel: "/k".into(),
        modules: None,
        vcpus: 1,
        memory_mib: 64,
        hostname: None,
        identity: Identity::default(),
        created: 0,
        changed: 0,
        drives: Vec::new(),
        started: None,
        failure: None,
        limits: Limits::default(),
        about: About::default(),
    }
}

type Script = Box<dyn FnMut(&mut UnixStream, Frame) + Send>;

/// A guest whose agent serves each connection as a script says, from its first frame on.
pub(crate) struct FakeGuest {
    script: Arc<Mutex<Script>>,
    incoming: Mutex<Option<Arc<dyn Incoming>>>,
    patience: Duration,
    pub(crate) open: Mutex<Vec<Weak<dyn Close>>>,
}

impl FakeGuest {
    /// With a script for one connection.
    pub(crate) fn new(script: impl FnOnce(&mut UnixStream, Frame) + Send + 'static) -> Self {
        let mut script = Some(script);
        Self::repeated(move |stream, frame| script.take().unwrap()(stream, frame))
    }

    /// With a script that runs for each connection, one at a time.
    pub(crate) fn repeated(script: impl FnMut(&mut UnixStream, Frame) + Send + 'static) -> Self {
        Self {
            script: Arc::new(Mutex::new(Box::new(script))),
            incoming: Mutex::default(),
            patience: Duration::from_secs(60),
            open: Mutex::default(),
        }
    }

    /// How long its agent may take for a first answer; five times as long may a copy stand still.
    pub(crate) fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// What comes from the guest to the port that is listened at next.
    pub(crate) fn incoming(self, incoming: Arc<dyn Incoming>) -> Self {
        *self.incoming.lock().unwrap() = Some(incoming);
        self
    }
}

impl fmt::Debug for FakeGuest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeGuest")
    }
}

impl Guest for FakeGuest {
    fn connect(&self) -> Result<Box<dyn Connection>, Error> {
        let (host, mut guest) = UnixStream::pair().unwrap();
        let script = Arc::clone(&self.script);
        thread::spawn(move || {
            if let Ok(Some(first)) = read_frame(&mut guest) {
                script.lock().unwrap()(&mut guest, first);
            }
        });
        Ok(Box::new(host))
    }

    fn listen(&self) -> Result<Arc<dyn Incoming>, Error> {
        Ok(self.incoming.lock().unwrap().take().unwrap())
    }

    fn close_at_end(&self, open: Weak<dyn Close>) -> Result<(), Error> {
        self.open.lock().unwrap().push(open);
        Ok(())
    }

    fn patience(&self) -> Duration {
        self.patience
    }

    fn explain(&self, error: Error) -> Error {
        if error.is_timeout() {
            return error;
        }
        Repr::GuestGone {
            exit: "it powered itself off".into(),
        }
        .into()
    }
}

/// Events, and what is heard of them.
pub(crate) fn heard() -> (Events, Heard) {
    let (sender, receiver) = mpsc::channel();
    let events = Events::to(Box::new(move |event| drop(sender.send(event.clone()))));
    (events.unwrap(), Heard(receiver))
}

/// What is heard of events.
pub(crate) struct Heard(mpsc::Receiver<Event>);

impl Heard {
    /// What was told since the last call.
    pub(crate) fn so_far(&self, events: &Events) -> Vec<Event> {
        // Whatever was told before this is heard before it.
        let last = Event::LimitReached {
            limit: Limit::Uptime,
        };
        events.tell(last.clone());
        let next = || self.0.recv_timeout(Duration::from_secs(20)).unwrap();
        iter::repeat_with(next)
            .take_while(|event| *event != last)
            .collect()
    }
}
