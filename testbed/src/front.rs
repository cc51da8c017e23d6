//! A reverse proxy that counts what passes, and breaks what it is told to.
//!
//! Invariant: whatever no plan asks for reaches the other side byte by byte, but for the fields `Host`, `Connection`,
//! `Expect` and `Location`.

use std::collections::HashMap;
use std::fmt;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::acceptor::{Acceptor, listen};
use crate::error::BedError;

mod answer;
mod exchange;
mod fault;
mod pour;
mod request;
mod seen;
mod upstream;

pub use fault::Fault;
pub use seen::Seen;
use seen::{Entry, Log};

/// How often somebody who waits looks whether the front is still up.
const POLL: Duration = Duration::from_millis(10);
/// How long a front that comes up again waits for its old port.
const PORT_DEADLINE: Duration = Duration::from_secs(10);

/// Decides what happens to a request by its number and by what is known of it when it begins.
type Plan = dyn FnMut(u64, &Seen) -> Option<Fault> + Send;

/// A misbehaving reverse proxy before a registry, in threads of this process. Dropping it takes it down.
#[derive(Debug)]
pub struct Front {
    host: String,
    shared: Arc<Shared>,
    acceptor: Mutex<Option<Acceptor>>,
}

/// What all connections of a front know.
pub(crate) struct Shared {
    upstream: String,
    address: SocketAddr,
    up: AtomicBool,
    latency_ns: AtomicU64,
    log: Log,
    plan: Mutex<Option<Box<Plan>>>,
    connections: Mutex<HashMap<u64, TcpStream>>,
    accepted: AtomicU64,
}

impl Front {
    /// Starts a front on a free port of this machine, before the registry at `upstream` (`HOST:PORT`, plain HTTP).
    ///
    /// # Errors
    /// [`BedError::Listen`] if there is no port to listen at.
    pub fn start(upstream: &str) -> Result<Self, BedError> {
        let (listener, address) = listen()?;
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            address,
            up: AtomicBool::new(true),
            latency_ns: AtomicU64::new(0),
            log: Log::default(),
            plan: Mutex::new(None),
            connections: Mutex::default(),
            accepted: AtomicU64::new(0),
        });
        let acceptor = accept(&shared, listener);
        Ok(Self {
            host: address.to_string(),
            shared,
            acceptor: Mutex::new(Some(acceptor)),
        })
    }

    /// Where it listens, as in references: `127.0.0.1:PORT`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// All requests since the start or the last [`Front::clear_log`], in the order that they came.
    pub fn log(&self) -> Vec<Seen> {
        self.shared.log.all()
    }

    /// Forgets the requests so far. The next one has the number 0 again.
    pub fn clear_log(&self) {
        self.shared.log.clear();
    }

    /// Asks `plan` about each request from now on, with its number in the log, one request after the other.
    /// A plan may read the log, but not set another plan.
    pub fn set_plan(&self, plan: impl FnMut(u64, &Seen) -> Option<Fault> + Send + 'static) {
        *self.shared.plan() = Some(Box::new(plan));
    }

    /// Lets everything pass from now on.
    pub fn clear_plan(&self) {
        *self.shared.plan() = None;
    }

    /// Keeps each request back for so long before the registry hears of it, as a registry far away would.
    pub fn set_latency(&self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.shared.latency_ns.store(nanos, Ordering::Relaxed);
    }

    /// Breaks all connections, and refuses new ones until [`Front::up`].
    pub fn down(&self) {
        let mut acceptor = self.acceptor.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.up.store(false, Ordering::SeqCst);
        *acceptor = None;
        for (_, connection) in self.shared.connections().drain() {
            // It may be closed already.
            _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// Listens at the same port again after [`Front::down`].
    ///
    /// # Errors
    /// [`BedError::Listen`] if somebody else has the port now.
    pub fn up(&self) -> Result<(), BedError> {
        let mut acceptor = self.acceptor.lock().unwrap_or_else(PoisonError::into_inner);
        if acceptor.is_some() {
            return Ok(());
        }
        let begun = Instant::now();
        let listener = loop {
            match TcpListener::bind(self.shared.address) {
                Ok(listener) => break listener,
                Err(_) if begun.elapsed() < PORT_DEADLINE => thread::sleep(POLL),
                Err(source) => {
                    let address = self.host.clone();
                    return Err(BedError::Listen { address, source });
                }
            }
        };
        self.shared.up.store(true, Ordering::SeqCst);
        *acceptor = Some(accept(&self.shared, listener));
        Ok(())
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.down();
    }
}

impl Shared {
    /// Waits, but no longer than the front is up.
    fn pause(&self, time: Duration) {
        let begun = Instant::now();
        while self.up.load(Ordering::SeqCst) {
            let left = time.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(POLL));
        }
    }

    fn latency(&self) -> Duration {
        Duration::from_nanos(self.latency_ns.load(Ordering::Relaxed))
    }

    /// Asks the plan what happens to a request.
    fn decide(&self, entry: &Entry) -> Option<Fault> {
        let seen = entry.seen();
        let fault = self.plan().as_mut()?(seen.number, &seen);
        entry.update(|seen| seen.fault.clone_from(&fault));
        fault
    }

    fn plan(&self) -> MutexGuard<'_, Option<Box<Plan>>> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self) -> MutexGuard<'_, HashMap<u64, TcpStream>> {
        let connections = self.connections.lock();
        connections.unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("upstream", &self.upstream)
            .field("address", &self.address)
            .field("up", &self.up)
            .finish_non_exhaustive()
    }
}

/// Takes connections until the front goes down, each in a thread of its own.
fn accept(shared: &Arc<Shared>, listener: TcpListener) -> Acceptor {
    let (address, shared) = (shared.address, Arc::clone(shared));
    Acceptor::on(listener, address, move |client| {
        let Ok(handle) = client.try_clone() else {
            return;
        };
        let number = shared.accepted.fetch_add(1, Ordering::Relaxed);
        shared.connections().insert(number, handle);
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            // A connection that breaks is what clients are tested with.
            _ = exchange::serve(&client, number, &shared);
            shared.connections().remove(&number);
            _ = client.shutdown(Shutdown::Both);
        });
    })
}
