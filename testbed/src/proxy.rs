//! An HTTP proxy of the kind that companies have before the internet: it makes tunnels, and knows who may.
//!
//! Invariant: bytes in a tunnel pass as they are, but for what a plan says of it.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufReader};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::acceptor::{Acceptor, listen};
use crate::error::BedError;
use crate::http::{Head, invalid, status_line};

mod tunnel;

pub use tunnel::TunnelFault;

/// Decides what happens to a tunnel by its number.
type Plan = dyn FnMut(u64) -> Option<TunnelFault> + Send;

/// A proxy in threads of this process, which ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    /// Nothing once it has to go.
    acceptor: Option<Acceptor>,
    host: String,
}

/// A request for a tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tunnel {
    /// Where it should go, as `HOST:PORT`.
    pub target: String,
    /// What the client was told.
    pub status: u16,
}

struct Shared {
    /// The value of `Proxy-Authorization` that is asked for.
    authorization: Option<String>,
    log: Mutex<Vec<Tunnel>>,
    plan: Mutex<Option<Box<Plan>>>,
    /// Both ends of the tunnels that are open.
    open: Mutex<HashMap<u64, [TcpStream; 2]>>,
}

impl Proxy {
    /// Starts a proxy on a free port of this machine, for those who know the name and the password if there are some.
    ///
    /// # Errors
    /// [`BedError::Listen`] if there is no port to listen at.
    pub fn start(login: Option<(&str, &str)>) -> Result<Self, BedError> {
        let (listener, address) = listen()?;
        let authorization = login.map(|(name, password)| {
            let secret = STANDARD.encode(format!("{name}:{password}"));
            format!("Basic {secret}")
        });
        let shared = Arc::new(Shared {
            authorization,
            log: Mutex::default(),
            plan: Mutex::default(),
            open: Mutex::default(),
        });
        let served = Arc::clone(&shared);
        let acceptor = Acceptor::on(listener, address, move |client| {
            let shared = Arc::clone(&served);
            // A client that breaks off gets no tunnel.
            thread::spawn(move || {
                _ = shared.serve(&client);
                _ = client.shutdown(Shutdown::Both);
            });
        });
        Ok(Self {
            shared,
            acceptor: Some(acceptor),
            host: address.to_string(),
        })
    }

    /// Where it listens: `127.0.0.1:PORT`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// All tunnels that were asked for since the start or the last [`Proxy::clear_log`].
    pub fn log(&self) -> Vec<Tunnel> {
        lock(&self.shared.log).clone()
    }

    /// Forgets the tunnels so far. The next one has the number 0 again.
    pub fn clear_log(&self) {
        lock(&self.shared.log).clear();
    }

    /// Asks `plan` about each tunnel from now on, with its number in the log.
    pub fn set_plan(&self, plan: impl FnMut(u64) -> Option<TunnelFault> + Send + 'static) {
        *lock(&self.shared.plan) = Some(Box::new(plan));
    }

    /// Lets everything pass from now on.
    pub fn clear_plan(&self) {
        *lock(&self.shared.plan) = None;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // So that no tunnel is made that is not closed.
        self.acceptor = None;
        for (_, ends) in lock(&self.shared.open).drain() {
            tunnel::close(&ends);
        }
    }
}

impl Shared {
    /// Makes the tunnel that a client asks for, and passes bytes through it until one side has enough.
    fn serve(&self, mut client: &TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(client);
        let Some(request) = Head::read(&mut reader)? else {
            return Ok(());
        };
        let mut words = request.start.split(' ');
        let (Some("CONNECT"), Some(target)) = (words.next(), words.next()) else {
            return Head::new(status_line(405)).write(&mut client);
        };
        let may = self.authorization.as_deref() == request.get("proxy-authorization")
            || self.authorization.is_none();
        let server = match may {
            true => TcpStream::connect(target).map_err(|_| 502),
            false => Err(407),
        };
        let status = server.as_ref().map_or_else(|status| *status, |_| 200);
        let (number, fault) = self.begin(target, status);
        let status = match fault {
            Some(TunnelFault::Refuse(status)) => status,
            _ => status,
        };
        let mut head = Head::new(status_line(status));
        if status == 407 {
            head.set("Proxy-Authenticate", "Basic realm=\"test bed\"");
        }
        head.write(&mut client)?;
        let (200, Ok(server)) = (status, server) else {
            return Ok(());
        };
        // A client has nothing to say before it is told that the tunnel is there.
        if !reader.buffer().is_empty() {
            return Err(invalid("a patient client"));
        }
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let ends = [client.try_clone()?, server.try_clone()?];
        lock(&self.open).insert(number, ends);
        tunnel::pass(client, &server, fault.as_ref());
        lock(&self.open).remove(&number);
        Ok(())
    }

    /// Notes a tunnel, and asks what happens to it.
    fn begin(&self, target: &str, status: u16) -> (u64, Option<TunnelFault>) {
        let mut log = lock(&self.log);
        let number = log.len() as u64;
        log.push(Tunnel {
            target: target.to_owned(),
            status,
        });
        let fault = lock(&self.plan).as_mut().and_then(|plan| plan(number));
        (number, fault)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
