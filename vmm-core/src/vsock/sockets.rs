//! The host's side of a VM's vsock as Unix sockets, by the rules that Firecracker made for them.
//!
//! A client of the socket at PATH says `CONNECT <port>\n`, is answered `OK <port of the host>\n` once the guest's
//! program has accepted, and then has a stream to it; if there is none, the socket is closed. A guest's connection
//! to the host's port N, if no listener of this process has it, goes to whoever listens at `PATH_N`.
//!
//! All of it is done by the device's thread, which waits for the sockets in a set of their own: no thread for each
//! connection, and a VM that is paused moves no bytes. Invariants: no call here waits; of each direction at most
//! [`MAX_VSOCK_CLIENTS`] sockets are held; a client is read from only while there is room for what it sends, and
//! holds at most the buffers of its connection.

mod client;
mod deadlines;
mod door;
mod error;
mod greeting;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use client::{Client, Fate, Stage};
use deadlines::Deadlines;
use door::Door;
pub use error::VsockSocketError;
use greeting::Greeting;

use super::Shared;
use super::connection::Ports;
use super::mux::{Id, Mux};
use super::packet::Header;
use crate::virtio::is_for_later;

/// The most connections by sockets at a time, of a VM and a direction: by the host's clients, of which later ones wait,
/// and by the guest, which is refused more. Neither takes the other's.
pub const MAX_VSOCK_CLIENTS: usize = 128;
/// How long a client may take to say what it wants, and the guest to answer, together.
const PATIENCE: Duration = Duration::from_secs(10);
/// An alarm that is heard so late tells that the device stood still: clients then have their time again.
const TOO_LATE: Duration = Duration::from_secs(3);
/// When clients are accepted again after the host was out of descriptors.
const RETRY: Duration = Duration::from_secs(1);
/// What is read from a client at once.
const BUFFER_BYTES: usize = 64 << 10;
/// Events, and new clients, that are taken in a turn.
const EVENTS_A_TURN: usize = 16;

type Token = u64;
const DOOR: Token = 0;
const TIMER: Token = 1;
const FIRST_CLIENT: Token = 2;

/// Checks what can be checked of a path without touching it.
pub(crate) fn check_path(path: &Path) -> Result<(), VsockSocketError> {
    door::check_path(path)
}

/// The sockets of a VM.
pub(crate) struct Sockets {
    door: Door,
    door_is_watched: bool,
    set: Epoll,
    clients: HashMap<Token, Client>,
    of_connections: HashMap<Id, Token>,
    next: Token,
    deadlines: Deadlines,
    buffer: Vec<u8>,
}

impl Sockets {
    /// Listens at `path`.
    pub(crate) fn open(path: &Path) -> Result<Self, VsockSocketError> {
        let failed = |source| VsockSocketError::Io {
            action: "wait for clients at",
            path: path.to_owned(),
            source,
        };
        let mut sockets = Self {
            door: Door::open(path)?,
            door_is_watched: false,
            set: Epoll::new().map_err(failed)?,
            clients: HashMap::new(),
            of_connections: HashMap::new(),
            next: FIRST_CLIENT,
            deadlines: Deadlines::new().map_err(failed)?,
            buffer: vec![0; BUFFER_BYTES],
        };
        let timer = sockets.deadlines.as_raw_fd();
        sockets.watch_new(timer, TIMER).map_err(failed)?;
        sockets.watch_door().map_err(failed)?;
        Ok(sockets)
    }

    fn watch_new(&self, descriptor: RawFd, token: Token) -> io::Result<()> {
        let event = EpollEvent::new(EventSet::IN, token);
        self.set.ctl(ControlOperation::Add, descriptor, event)
    }

    fn watch_door(&mut self) -> io::Result<()> {
        if !std::mem::replace(&mut self.door_is_watched, true) {
            self.watch_new(self.door.as_raw_fd(), DOOR)?;
        }
        Ok(())
    }

    fn leave_door(&mut self) {
        let event = EpollEvent::default();
        let door = self.door.as_raw_fd();
        if std::mem::take(&mut self.door_is_watched)
            && let Err(error) = self.set.ctl(ControlOperation::Delete, door, event)
        {
            tracing::debug!(%error, "a vsock socket is still waited for");
        }
    }

    /// Does what there is to do at the sockets.
    pub(super) fn serve(&mut self, shared: &Shared) {
        let mut events = [EpollEvent::default(); EVENTS_A_TURN];
        let count = self.set.wait(0, &mut events).unwrap_or(0);
        let mut has_rung = false;
        for event in &events[..count] {
            match event.data() {
                DOOR => self.admit(Instant::now()),
                TIMER => has_rung = true,
                token => self.go_on(&mut shared.lock(), token, event.event_set()),
            }
        }
        if has_rung {
            self.pass_deadlines(&mut shared.lock(), Instant::now());
        }
        self.deadlines.set_alarm();
    }

    /// Acts on what the guest did; returns whether there was anything.
    pub(super) fn catch_up(&mut self, shared: &Shared) -> bool {
        let mut mux = shared.lock();
        let mut is_news = false;
        while let Some(id) = mux.next_news() {
            is_news = true;
            if let Some(token) = self.of_connections.get(&id).copied() {
                self.go_on(&mut mux, token, EventSet::empty());
            }
        }
        drop(mux);
        self.deadlines.set_alarm();
        is_news
    }

    /// The guest asks, with `header`, for a port of the host's that no listener has.
    pub(super) fn request(&mut self, shared: &Shared, header: &Header, ports: Ports) {
        let has_room = self.count(true) < MAX_VSOCK_CLIENTS;
        let socket = has_room.then(|| self.door.reach(ports.host));
        let mut mux = shared.lock();
        match socket {
            Some(Ok(socket)) => {
                if let Some(id) = mux.accept_watched(header, ports) {
                    let token = self.add(socket, Stage::Open(id), None);
                    self.of_connections.insert(id, token);
                    self.go_on(&mut mux, token, EventSet::empty());
                }
            }
            refused => {
                tracing::debug!(?refused, port = ports.host, "refused a guest's connection");
                mux.refuse(header, ports);
            }
        }
    }

    /// Lets clients in.
    fn admit(&mut self, now: Instant) {
        for _ in 0..EVENTS_A_TURN {
            if self.count(false) >= MAX_VSOCK_CLIENTS {
                return self.leave_door();
            }
            match self.door.accept() {
                Ok(socket) => {
                    let stage = Stage::Greeting(Greeting::default());
                    let token = self.add(socket, stage, Some(now + PATIENCE));
                    self.watch(token, Some(EventSet::IN));
                }
                Err(error) if is_for_later(&error) => return,
                Err(error) => {
                    tracing::warn!(%error, "no vsock client can be accepted for now");
                    self.leave_door();
                    self.deadlines.add(now + RETRY, DOOR);
                    return;
                }
            }
        }
    }

    /// How many there are by the guest's wish, or by the host's.
    fn count(&self, by_guest: bool) -> usize {
        let clients = self.clients.values();
        clients.filter(|client| client.by_guest == by_guest).count()
    }

    fn add(&mut self, socket: UnixStream, stage: Stage, deadline: Option<Instant>) -> Token {
        let token = self.next;
        self.next += 1;
        if let Some(at) = deadline {
            self.deadlines.add(at, token);
        }
        let client = Client::new(socket, stage, deadline);
        self.clients.insert(token, client);
        token
    }

    fn go_on(&mut self, mux: &mut Mux, token: Token, events: EventSet) {
        let Some(client) = self.clients.get_mut(&token) else {
            return;
        };
        let deadline = client.deadline;
        let fate = client.go_on(mux, events, &mut self.buffer);
        if let Some(at) = deadline.filter(|_| client.deadline.is_none()) {
            self.deadlines.remove(at, token);
        }
        if let Some(id) = client.id() {
            self.of_connections.insert(id, token);
        }
        match fate {
            Fate::Done => self.remove(mux, token),
            Fate::Waits(events) => {
                let wish = client.wish(events);
                if !self.watch(token, wish) {
                    self.remove(mux, token);
                }
            }
        }
    }

    /// Waits for `wish` at a client's socket; `false` if the host can't.
    fn watch(&mut self, token: Token, wish: Option<EventSet>) -> bool {
        let Some(client) = self.clients.get_mut(&token) else {
            return false;
        };
        if client.watched == wish {
            return true;
        }
        let operation = match (client.watched, wish) {
            (None, _) => ControlOperation::Add,
            (_, None) => ControlOperation::Delete,
            _ => ControlOperation::Modify,
        };
        let event = EpollEvent::new(wish.unwrap_or(EventSet::empty()), token);
        let socket = client.socket.as_raw_fd();
        client.watched = wish;
        self.set.ctl(operation, socket, event).is_ok()
    }

    /// Lets go of a client; closing its socket takes it out of the set.
    fn remove(&mut self, mux: &mut Mux, token: Token) {
        let Some(client) = self.clients.remove(&token) else {
            return;
        };
        if let Some(at) = client.deadline {
            self.deadlines.remove(at, token);
        }
        if let Some(id) = client.id() {
            self.of_connections.remove(&id);
            mux.disown(id);
        }
        if !self.deadlines.contains(DOOR) {
            self.try_door(Instant::now());
        }
    }

    /// Takes clients again, or tries to a little later.
    fn try_door(&mut self, now: Instant) {
        if let Err(error) = self.watch_door() {
            tracing::warn!(%error, "no vsock client can be waited for");
            self.door_is_watched = false;
            self.deadlines.add(now + RETRY, DOOR);
        }
    }

    fn pass_deadlines(&mut self, mux: &mut Mux, now: Instant) {
        let late = self.deadlines.hear_alarm(now);
        if late >= TOO_LATE {
            // The VM was paused, and nobody could do anything meanwhile.
            let by = late + PATIENCE;
            self.deadlines.postpone(by);
            for deadline in self.clients.values_mut().flat_map(|c| &mut c.deadline) {
                *deadline += by;
            }
        }
        while let Some(token) = self.deadlines.take_past(now) {
            match token {
                DOOR => self.try_door(now),
                token => self.remove(mux, token),
            }
        }
    }
}

impl AsRawFd for Sockets {
    fn as_raw_fd(&self) -> RawFd {
        self.set.as_raw_fd()
    }
}

#[cfg(test)]
mod tests;
