//! Connections to the host that are passed on to the guest.

use std::sync::Arc;
use std::thread;

use agent::protocol::Address;

use super::door::{Closer, Door};
use super::open::{Open, Place};
use super::socket::Socket;
use super::splice::splice;
use super::stream::connect;
use super::{Forward, GuestAddress, HostAddress, Listening, RETRY};
use crate::command::{Close, Guest};
use crate::error::{Error, Repr};

/// What the forward's threads share.
#[derive(Debug)]
struct ToGuest {
    guest: Arc<dyn Guest>,
    to: Address,
    closer: Closer,
    open: Arc<Open>,
}

impl Close for ToGuest {
    fn close(&self) {
        self.closer.close();
        self.open.close();
    }
}

/// Listens at `from` on the host.
pub(crate) fn forward(
    guest: Arc<dyn Guest>,
    from: &HostAddress,
    to: &GuestAddress,
) -> Result<Forward, Error> {
    let to = to.to_connect()?;
    let failed = |source| Repr::HostListen {
        address: from.to_string(),
        source,
    };
    let door = Door::open(from).map_err(failed)?;
    serve(guest, door, to)
}

/// Passes the connections at `door` on.
pub(crate) fn serve(guest: Arc<dyn Guest>, door: Door, to: Address) -> Result<Forward, Error> {
    let opened = door
        .address()
        .and_then(|address| Ok((address, door.closer()?)));
    let (address, closer) = opened.map_err(|source| Repr::HostListen {
        address: "a socket".to_owned(),
        source,
    })?;
    let shared = Arc::new(ToGuest {
        guest,
        to,
        closer,
        open: Arc::default(),
    });
    let guest = Arc::clone(&shared.guest);
    let serve = move |shared: Arc<ToGuest>| shared.accept_all(&door);
    Forward::start(&guest, shared, Listening::Host(address), "forward", serve)
}

impl ToGuest {
    fn accept_all(self: Arc<Self>, door: &Door) {
        while let Some(place) = self.open.place()
            && let Some(accepted) = door.accept()
        {
            let started = accepted.and_then(|socket| {
                let socket = Arc::new(socket);
                place.has_socket(Arc::clone(&socket));
                let shared = Arc::clone(&self);
                thread::Builder::new()
                    .name("forward-there".to_owned())
                    .spawn(move || shared.pass_on(&socket, &place))
            });
            if let Err(error) = started {
                tracing::warn!(%error, "a connection could not be passed on to a guest");
                thread::sleep(RETRY);
            }
        }
    }

    /// A connection that the guest refuses is closed.
    fn pass_on(&self, socket: &Socket, place: &Place) {
        let passed = connect(&self.guest, &self.to).and_then(|guest| {
            let doing = "passing a connection on";
            let failed = |source| Repr::Connection { doing, source };
            place.has_guest(guest.try_clone().map_err(failed)?);
            Ok(splice(socket, &guest).map_err(failed)?)
        });
        if let Err(error) = passed {
            tracing::debug!(%error, to = ?self.to, "a connection was not passed on");
        }
    }
}
