//! What the guest's packets do.

use super::{Id, MAX_BACKLOG, Mux};
use crate::vsock::HOST_CID;
use crate::vsock::connection::{Connection, Ports, State};
use crate::vsock::packet::{Header, TYPE_STREAM, op};

impl Mux {
    /// Takes a packet from the guest. `data` has the length that the header says. The ports of a request that
    /// no listener is there for are the answer: it is to be [refused](Self::refuse), or
    /// [accepted](Self::accept_watched) for a socket.
    #[must_use]
    pub(in crate::vsock) fn receive(&mut self, header: &Header, data: &[u8]) -> Option<Ports> {
        if header.src_cid != self.guest_cid || header.dst_cid != u64::from(HOST_CID) {
            tracing::debug!(?header, "dropped a vsock packet with foreign addresses");
            return None;
        }
        let ports = Ports {
            host: header.dst_port,
            guest: header.src_port,
        };
        if header.kind != TYPE_STREAM {
            self.refuse(header, ports);
            return None;
        }
        let Some(id) = self.by_ports.get(&ports).copied() else {
            match header.op {
                op::REQUEST if !self.listeners.contains_key(&ports.host) => return Some(ports),
                op::REQUEST => self.receive_request(header, ports),
                _ => self.refuse(header, ports),
            }
            return None;
        };
        self.receive_for(id, header, data);
        self.changed(id);
        self.tell_socket(id);
        None
    }

    fn receive_request(&mut self, header: &Header, ports: Ports) {
        if !self.make_room_at(ports.host) {
            return self.refuse(header, ports);
        }
        let Some(id) = self.add(Connection::incoming(ports, header)) else {
            return self.refuse(header, ports);
        };
        if let Some(listener) = self.listeners.get_mut(&ports.host) {
            listener.backlog.push_back(id);
            listener.changed.notify_one();
        }
    }

    /// Whether one more connection can wait at the host's `port`. One that is over makes room, so that a guest which
    /// broke off what it had asked for, or was reset, does not find the port closed.
    fn make_room_at(&mut self, port: u32) -> bool {
        let Some(listener) = self.listeners.get_mut(&port) else {
            return false;
        };
        if listener.backlog.len() < MAX_BACKLOG {
            return true;
        }
        let connections = &self.connections;
        let is_over = |id: &Id| connections.get(id).is_none_or(|c| c.state == State::Reset);
        let Some(place) = listener.backlog.iter().position(is_over) else {
            return false;
        };
        if let Some(id) = listener.backlog.remove(place) {
            self.remove(id);
        }
        true
    }

    fn receive_for(&mut self, id: Id, header: &Header, data: &[u8]) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.note_credit(header);
        connection.changed.notify_all();
        match (header.op, connection.state) {
            (op::RESPONSE, State::Connecting) => connection.state = State::Open,
            (op::RST, _) => self.finish(id, false),
            // The host has broken it off, which the guest is about to hear.
            (_, State::Reset) => {}
            (op::RW, State::Open) => {
                if !connection.receive(data) {
                    tracing::debug!(?header, "a guest sent more than it had credit for");
                    self.reject(id);
                }
            }
            (op::CREDIT_UPDATE, State::Open) => {}
            (op::CREDIT_REQUEST, State::Open) => connection.owe_credit(),
            (op::SHUTDOWN, State::Open) => {
                if connection.guest_shut_down(header.flags) {
                    let ports = connection.ports;
                    self.owe_stray_reset(ports, TYPE_STREAM);
                    self.finish(id, true);
                }
            }
            _ => self.reject(id),
        }
    }

    /// Ends a connection whose guest broke the rules.
    fn reject(&mut self, id: Id) {
        if let Some(ports) = self.connections.get(&id).map(|c| c.ports) {
            self.owe_stray_reset(ports, TYPE_STREAM);
        }
        self.finish(id, false);
    }

    /// Answers a packet that belongs to nothing. A reset is never answered.
    pub(in crate::vsock) fn refuse(&mut self, header: &Header, ports: Ports) {
        if header.op != op::RST {
            self.owe_stray_reset(ports, header.kind);
        }
    }
}
