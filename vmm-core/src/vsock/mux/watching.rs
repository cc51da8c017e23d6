//! Connections whose host side is a socket, which has to hear of what the guest does.

use super::{Connection, Header, Id, Mux, Ports};

impl Mux {
    /// Asks the guest for a connection to its `port`, for a socket.
    pub(in crate::vsock) fn connect_watched(&mut self, port: u32) -> std::io::Result<Id> {
        let id = self.connect(port)?;
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.watched = true;
        }
        Ok(id)
    }

    /// Gives the guest the connection that it asked for, for a socket; `None` if there are too many, which the
    /// guest is told.
    pub(in crate::vsock) fn accept_watched(&mut self, header: &Header, ports: Ports) -> Option<Id> {
        let id = self.add(Connection::incoming(ports, header).watched());
        if id.is_none() {
            self.refuse(header, ports);
        }
        id
    }

    /// A watched connection about which there is news; each comes once, however much happened.
    pub(in crate::vsock) fn next_news(&mut self) -> Option<Id> {
        let id = self.news.pop_front()?;
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.is_news = false;
        }
        Some(id)
    }

    /// Something happened to a connection that its socket may have to act on.
    pub(super) fn tell_socket(&mut self, id: Id) {
        if let Some(connection) = self.connections.get_mut(&id)
            && connection.watched
            && !std::mem::replace(&mut connection.is_news, true)
        {
            self.news.push_back(id);
        }
    }
}
