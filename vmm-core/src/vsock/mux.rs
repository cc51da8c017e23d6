//! All connections of one VM: the protocol, without I/O or clocks.
//!
//! Invariants: at most [`MAX_CONNECTIONS`] connections and [`MAX_RESETS`] answers to stray packets are held;
//! a connection is dropped when the protocol is through with it and no handle of the host's is left. `ready`
//! names each connection at most once, and none that has been dropped, however seldom the guest takes packets.

mod incoming;
mod watching;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Condvar};

use super::HOST_CID;
use super::connection::{Connection, Ports, State};
use super::packet::{Header, TYPE_STREAM, op};

/// The most connections of a VM, those that are only half closed included.
pub(super) const MAX_CONNECTIONS: usize = 1024;
/// The most connections that wait in a listener for the host to accept them.
pub(super) const MAX_BACKLOG: usize = 128;
/// The most answers to stray packets that wait for the guest to take them; it loses those beyond.
pub(super) const MAX_RESETS: usize = 256;
/// The host's ports for connections that it opens: from here up, like Linux's.
const FIRST_EPHEMERAL_PORT: u32 = 1 << 30;

/// Names a connection for as long as a handle of it lives.
pub(super) type Id = u64;

#[derive(Debug)]
struct Listener {
    backlog: VecDeque<Id>,
    changed: Arc<Condvar>,
}

#[derive(Debug)]
pub(super) struct Mux {
    guest_cid: u64,
    gone: bool,
    next_id: Id,
    next_port: u32,
    connections: BTreeMap<Id, Connection>,
    by_ports: HashMap<Ports, Id>,
    listeners: HashMap<u32, Listener>,
    /// Connections that may have a packet for the guest, in turn.
    ready: VecDeque<Id>,
    resets: VecDeque<Header>,
    /// The guest is still to be told that all its connections are gone.
    owes_transport_reset: bool,
    /// Connections whose socket has to be told of something.
    news: VecDeque<Id>,
}

impl Mux {
    pub(super) fn new(guest_cid: u64) -> Self {
        Self {
            guest_cid,
            gone: false,
            next_id: 0,
            next_port: FIRST_EPHEMERAL_PORT,
            connections: BTreeMap::new(),
            by_ports: HashMap::new(),
            listeners: HashMap::new(),
            ready: VecDeque::new(),
            resets: VecDeque::new(),
            owes_transport_reset: false,
            news: VecDeque::new(),
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    /// Asks the guest for a connection to its `port`.
    pub(super) fn connect(&mut self, port: u32) -> io::Result<Id> {
        self.check_alive()?;
        let ports = loop {
            let ports = Ports {
                host: self.next_port,
                guest: port,
            };
            self.next_port = self.next_port.wrapping_add(1).max(FIRST_EPHEMERAL_PORT);
            if !self.by_ports.contains_key(&ports) {
                break ports;
            }
        };
        self.add(Connection::outgoing(ports)).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::QuotaExceeded,
                format!("the VM has {MAX_CONNECTIONS} open vsock connections: close some"),
            )
        })
    }

    /// Starts to take the guest's connections to the host's `port`.
    pub(super) fn listen(&mut self, port: u32) -> io::Result<Arc<Condvar>> {
        self.check_alive()?;
        if self.listeners.contains_key(&port) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let changed = Arc::new(Condvar::new());
        self.listeners.insert(
            port,
            Listener {
                backlog: VecDeque::new(),
                changed: Arc::clone(&changed),
            },
        );
        Ok(changed)
    }

    /// Stops listening, and breaks off what was not accepted.
    pub(super) fn unlisten(&mut self, port: u32) {
        let listener = self.listeners.remove(&port);
        for id in listener.map(|l| l.backlog).unwrap_or_default() {
            self.abort(id);
        }
    }

    /// The next connection of the guest to `port`, if there is one.
    pub(super) fn accept(&mut self, port: u32) -> Option<Id> {
        self.listeners.get_mut(&port)?.backlog.pop_front()
    }

    pub(super) fn connection(&mut self, id: Id) -> Option<&mut Connection> {
        self.connections.get_mut(&id)
    }

    /// To be called after a change to a connection: puts it in line if it has something to send.
    pub(super) fn changed(&mut self, id: Id) {
        if let Some(connection) = self.connections.get_mut(&id)
            && connection.has_packet()
            && !std::mem::replace(&mut connection.queued, true)
        {
            self.ready.push_back(id);
        }
    }

    /// The host's last handle is gone: what was written still goes out, then the connection ends.
    pub(super) fn disown(&mut self, id: Id) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.owned = false;
        match connection.state {
            // The guest may not have heard of it yet.
            State::Reset if connection.has_packet() => {}
            State::Reset => self.remove(id),
            State::Connecting => self.abort(id),
            State::Open => {
                connection.shut_down(true, true);
                self.changed(id);
            }
        }
    }

    /// The host breaks a connection off; the guest hears of that before anything else of this connection.
    pub(super) fn break_off(&mut self, id: Id) {
        if let Some(connection) = self.connections.get_mut(&id)
            && connection.state != State::Reset
        {
            connection.break_off();
            connection.changed.notify_all();
            self.changed(id);
        }
    }

    /// Breaks a connection off, and forgets it.
    fn abort(&mut self, id: Id) {
        if let Some(connection) = self.connections.get(&id)
            && (connection.state != State::Reset || connection.has_packet())
        {
            let ports = connection.ports;
            self.owe_stray_reset(ports, TYPE_STREAM);
        }
        self.remove(id);
    }

    /// The protocol is through with a connection.
    fn finish(&mut self, id: Id, cleanly: bool) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.end(cleanly);
        connection.changed.notify_all();
        self.by_ports.remove(&connection.ports);
        match connection.owned {
            true => self.tell_socket(id),
            false => self.remove(id),
        }
    }

    /// Resets of the other kinds of connections answer packets of that kind alone.
    fn owe_stray_reset(&mut self, ports: Ports, kind: u16) {
        if self.resets.len() < MAX_RESETS {
            self.resets.push_back(Header {
                src_port: ports.host,
                dst_port: ports.guest,
                kind,
                op: op::RST,
                ..Header::default()
            });
        }
    }

    /// How many connections are held, how many of them are in line, and how many resets wait.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn held(&self) -> (usize, usize, usize) {
        (self.connections.len(), self.ready.len(), self.resets.len())
    }

    /// Whether [`next_packet`](Self::next_packet) may give a packet.
    pub(super) fn has_packets(&self) -> bool {
        !self.resets.is_empty() || !self.ready.is_empty()
    }

    /// The next packet for the guest, with at most `room` bytes of data, which replace those in `data`.
    ///
    /// A connection that has data to send, but no room for it, stays in line; each gets one turn a call.
    pub(super) fn next_packet(&mut self, room: usize, data: &mut Vec<u8>) -> Option<Header> {
        data.clear();
        let mut header = self.resets.pop_front();
        for _ in 0..self.ready.len() {
            if header.is_some() {
                break;
            }
            let id = self.ready.pop_front()?;
            let Some(connection) = self.connections.get_mut(&id) else {
                continue;
            };
            connection.queued = false;
            header = connection.next_packet(room, data);
            match header.map(|header| header.op) {
                Some(op::RST) => self.finish(id, false),
                Some(op::RW) => {
                    connection.changed.notify_all();
                    self.tell_socket(id);
                }
                _ => {}
            }
            self.changed(id);
        }
        header.map(|header| Header {
            src_cid: u64::from(HOST_CID),
            dst_cid: self.guest_cid,
            ..header
        })
    }

    pub(super) fn owe_transport_reset(&mut self) {
        self.owes_transport_reset = true;
    }

    pub(super) fn owes_transport_reset(&self) -> bool {
        self.owes_transport_reset
    }

    /// Whether the guest is to be told now that all its connections are gone.
    pub(super) fn take_transport_reset(&mut self) -> bool {
        std::mem::take(&mut self.owes_transport_reset)
    }

    /// The driver has reset the device: it has forgotten all connections. Those that it has not been asked
    /// for yet stay.
    pub(super) fn reset(&mut self) {
        self.resets.clear();
        self.owes_transport_reset = false;
        let ids: Vec<Id> = self.connections.keys().copied().collect();
        for id in ids {
            if self.connections.get(&id).is_some_and(|c| !c.is_unasked()) {
                self.finish(id, false);
            }
        }
    }

    /// The VM is gone.
    pub(super) fn close(&mut self) {
        self.gone = true;
        self.resets.clear();
        self.ready.clear();
        for listener in self.listeners.values() {
            listener.changed.notify_all();
        }
        let ids: Vec<Id> = self.connections.keys().copied().collect();
        for id in ids {
            self.finish(id, false);
        }
    }

    fn check_alive(&self) -> io::Result<()> {
        if self.gone {
            return Err(gone());
        }
        Ok(())
    }

    fn add(&mut self, connection: Connection) -> Option<Id> {
        if self.connections.len() >= MAX_CONNECTIONS {
            // One that the host has let go of, and the guest drags its feet about, makes room.
            let id = *self.connections.iter().find(|(_, c)| !c.owned)?.0;
            self.abort(id);
        }
        let id = self.next_id;
        self.next_id += 1;
        self.by_ports.insert(connection.ports, id);
        self.connections.insert(id, connection);
        self.changed(id);
        Some(id)
    }

    fn remove(&mut self, id: Id) {
        let Some(connection) = self.connections.remove(&id) else {
            return;
        };
        if self.by_ports.get(&connection.ports) == Some(&id) {
            self.by_ports.remove(&connection.ports);
        }
        if connection.queued {
            self.ready.retain(|ready| *ready != id);
        }
        if connection.is_news {
            self.news.retain(|news| *news != id);
        }
    }
}

/// What operations on a VM that is gone answer.
pub(super) fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the VM has ended")
}
