//! Connections in the guest that are passed on to the host.
//!
//! The guest says nothing of where a connection goes: that follows from the port by which it comes.

use std::io;
use std::sync::Arc;
use std::thread;

use agent::protocol::{Frame, Listen};

use super::open::{Open, Place};
use super::socket::Socket;
use super::splice::splice;
use super::stream::Unconnected;
use super::{Forward, GuestAddress, GuestStream, HostAddress, Listening, RETRY};
use crate::command::{Close, Guest, Incoming};
use crate::error::{Error, Repr};

/// What the forward's threads share.
#[derive(Debug)]
struct ToHost {
    to: HostAddress,
    incoming: Arc<dyn Incoming>,
    /// The agent listens for as long as this is open.
    control: Unconnected,
    open: Arc<Open>,
}

impl Close for ToHost {
    fn close(&self) {
        self.incoming.close();
        if let Some(control) = &self.control.0 {
            control.hang_up();
        }
        self.open.close();
    }
}

/// Has the agent listen at `from` in the guest.
pub(crate) fn forward_to_host(
    guest: &Arc<dyn Guest>,
    from: &GuestAddress,
    to: HostAddress,
) -> Result<Forward, Error> {
    let address = from.to_listen()?;
    let incoming = guest.listen()?;
    let port = incoming.port();
    let mut control = Unconnected(Some(guest.connect()?));
    let listening = match control.ask(guest, &Frame::Listen(Listen { address, port }))? {
        Frame::Listening(address) => from.listening(address),
        _ => None,
    };
    let listening = listening.ok_or(Repr::AgentConfused {
        what: "it answered Listen with something else than Listening at that address",
    })?;
    guest.has_answered();
    let shared = Arc::new(ToHost {
        to,
        incoming,
        control,
        open: Arc::default(),
    });
    let listening = Listening::Guest(listening);
    Forward::start(
        guest,
        shared,
        listening,
        "forward-to-host",
        ToHost::accept_all,
    )
}

impl ToHost {
    fn accept_all(self: Arc<Self>) {
        while let Some(place) = self.open.place()
            && let Ok(connection) = self.incoming.accept()
        {
            let guest = GuestStream::new(connection);
            let shared = Arc::clone(&self);
            let started = guest.try_clone().and_then(|clone| {
                place.has_guest(clone);
                thread::Builder::new()
                    .name("forward-there".to_owned())
                    .spawn(move || shared.pass_on(&guest, &place))
            });
            if let Err(error) = started {
                tracing::warn!(%error, "a guest's connection could not be passed on");
                thread::sleep(RETRY);
            }
        }
    }

    /// A connection that nobody takes on the host is broken off.
    fn pass_on(&self, guest: &GuestStream, place: &Place) {
        let passed = || -> io::Result<()> {
            let socket = Arc::new(Socket::connect(&self.to)?);
            place.has_socket(Arc::clone(&socket));
            splice(&socket, guest)
        };
        if let Err(error) = passed() {
            guest.abort();
            tracing::debug!(%error, to = %self.to, "a guest's connection was not passed on");
        }
    }
}
