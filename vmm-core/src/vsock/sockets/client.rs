//! A socket and the connection that its bytes belong to.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use vmm_sys_util::epoll::EventSet;

use super::greeting::{Greeting, Heard};
use crate::virtio::is_for_later;
use crate::vsock::connection::{Connection, State};
use crate::vsock::mux::{Id, Mux};

/// How far a client is.
#[derive(Debug)]
pub(super) enum Stage {
    /// It has not said yet what it wants.
    Greeting(Greeting),
    /// The guest has not answered yet.
    Asked(Id),
    Open(Id),
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) socket: UnixStream,
    pub(super) stage: Stage,
    /// Whether the guest asked for it.
    pub(super) by_guest: bool,
    /// What is waited for at the socket; `None` if not even its end is.
    pub(super) watched: Option<EventSet>,
    /// When the client must be connected.
    pub(super) deadline: Option<Instant>,
    /// It sends no more.
    at_end: bool,
    /// It takes no more.
    hung_up: bool,
    /// It was told that no more will come.
    told_end: bool,
}

/// What is to become of a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It waits for these events, and for its own end.
    Waits(EventSet),
    Done,
}

impl Client {
    pub(super) fn new(socket: UnixStream, stage: Stage, deadline: Option<Instant>) -> Self {
        Self {
            socket,
            // A client of the host's says first what it wants.
            by_guest: matches!(stage, Stage::Open(_)),
            stage,
            watched: None,
            deadline,
            at_end: false,
            hung_up: false,
            told_end: false,
        }
    }

    /// The connection, if there is one yet.
    pub(super) fn id(&self) -> Option<Id> {
        match self.stage {
            Stage::Greeting(_) => None,
            Stage::Asked(id) | Stage::Open(id) => Some(id),
        }
    }

    /// What the set is to wait for; `None` once there is nothing that it could tell.
    pub(super) fn wish(&self, events: EventSet) -> Option<EventSet> {
        (!events.is_empty() || !self.hung_up).then_some(events)
    }

    /// Does what there is to do: after `events` at the socket, or after something that the guest did.
    pub(super) fn go_on(&mut self, mux: &mut Mux, events: EventSet, buffer: &mut [u8]) -> Fate {
        self.hung_up |= events.intersects(EventSet::HANG_UP | EventSet::ERROR);
        if let Stage::Greeting(greeting) = &mut self.stage {
            match greeting.hear(&self.socket) {
                Heard::More => return Fate::Waits(EventSet::IN),
                Heard::Nonsense => return Fate::Done,
                Heard::Port(port, early) => {
                    let Ok(id) = mux.connect_watched(port) else {
                        return Fate::Done;
                    };
                    if let Some(connection) = mux.connection(id) {
                        connection.write(early);
                    }
                    self.stage = Stage::Asked(id);
                }
            }
        }
        if let Stage::Asked(id) = self.stage {
            match mux.connection(id).map(|c| (c.state, c.ports.host)) {
                Some((State::Connecting, _)) if !self.hung_up => {
                    return Fate::Waits(EventSet::empty());
                }
                Some((State::Open, port)) if self.welcome(port) => self.stage = Stage::Open(id),
                _ => return Fate::Done,
            }
        }
        let Stage::Open(id) = self.stage else {
            return Fate::Done;
        };
        self.deadline = None;
        self.pass_on(id, mux, events.contains(EventSet::IN), buffer)
    }

    /// Tells the client that it is connected. Nothing else has been sent to it, so there is room.
    fn welcome(&self, port: u32) -> bool {
        let line = format!("OK {port}\n");
        (&self.socket)
            .write(line.as_bytes())
            .is_ok_and(|count| count == line.len())
    }

    /// Moves bytes both ways.
    fn pass_on(&mut self, id: Id, mux: &mut Mux, readable: bool, buffer: &mut [u8]) -> Fate {
        let Some(connection) = mux.connection(id) else {
            return Fate::Done;
        };
        let blocked = self.feed_client(connection);
        if readable && self.hear_client(connection, buffer).is_err() {
            mux.break_off(id);
            return Fate::Done;
        }
        let mut wish = EventSet::empty();
        wish.set(EventSet::OUT, blocked);
        let is_over = connection.state == State::Reset && connection.unread().is_empty();
        if connection.is_closed_to_guest() && !std::mem::replace(&mut self.at_end, true) {
            // What the client still sends is for nobody, which it hears when it tries.
            let _may_be_gone = self.socket.shutdown(Shutdown::Read);
        }
        wish.set(EventSet::IN, !self.at_end && connection.room() > 0);
        mux.changed(id);
        match is_over || self.at_end && self.told_end {
            true => Fate::Done,
            false => Fate::Waits(wish),
        }
    }

    /// Writes what came from the guest; returns whether the client is too slow for all of it.
    fn feed_client(&mut self, connection: &mut Connection) -> bool {
        while !connection.unread().is_empty() && !self.hung_up {
            match (&self.socket).write(connection.unread()) {
                Ok(count) => connection.consume(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(_) => self.hung_up = true,
            }
        }
        if self.hung_up {
            connection.shut_down(false, true);
        }
        if connection.at_end() && !std::mem::replace(&mut self.told_end, true) {
            let _may_be_gone = self.socket.shutdown(Shutdown::Write);
        }
        false
    }

    /// Reads once, as much as there is room for.
    fn hear_client(&mut self, connection: &mut Connection, buffer: &mut [u8]) -> io::Result<()> {
        let room = connection.room().min(buffer.len());
        if self.at_end || room == 0 || !connection.can_send() {
            return Ok(());
        }
        match (&self.socket).read(&mut buffer[..room]) {
            Ok(0) => {
                self.at_end = true;
                connection.shut_down(true, false);
            }
            Ok(count) => drop(connection.write(&buffer[..count])),
            Err(error) if is_for_later(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
