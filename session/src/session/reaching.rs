//! Files and streams into a session's guest and out of it.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use agent::protocol::Address;

use super::guest::GuestLink;
use super::shared::Shared;
use super::{Phase, Session};
use crate::command::Guest;
use crate::copy::{CopyIn, CopyOut, GuestTar};
use crate::error::Error;
use crate::forward::{self, Forward, GuestAddress, GuestStream, HostAddress};
use crate::op::Op;
use crate::ssh;

impl Session {
    fn link(&self) -> Arc<dyn Guest> {
        Arc::new(GuestLink::new(&self.shared))
    }

    /// A copy of a file or folder of the host's, which shall be called `to` in the guest: an absolute path. Folders that
    /// are missing on the way are made.
    ///
    /// ```no_run
    /// # fn example(session: &session::Session) -> Result<(), session::Error> {
    /// let copied = session.copy_in("./site", "/srv/www").owner("www-data").start().wait()?;
    /// println!("{} files, {} bytes", copied.files, copied.bytes);
    /// # Ok(())
    /// # }
    /// ```
    pub fn copy_in(&self, from: impl AsRef<Path>, to: impl Into<String>) -> CopyIn {
        CopyIn::path(self.link(), from.as_ref().to_owned(), to.into())
    }

    /// A copy of a file or folder of the guest's, which shall be called `to` on the host. The folder that it is in must
    /// be there.
    pub fn copy_out(&self, from: impl Into<String>, to: impl AsRef<Path>) -> CopyOut {
        let reserve = self.shared.store.quotas().host_reserve;
        CopyOut::new(self.link(), from.into(), to.as_ref().to_owned(), reserve)
    }

    /// Unpacks a tar stream in `directory` of the guest, which is made if it is missing. Names in the stream lead
    /// nowhere else.
    pub fn unpack(
        &self,
        directory: impl Into<String>,
        stream: impl Read + Send + 'static,
    ) -> CopyIn {
        CopyIn::stream(self.link(), stream, directory.into())
    }

    /// A file or folder of the guest's as a tar stream. Nothing checks what the guest puts into it;
    /// [`copy_out`](Self::copy_out) does.
    pub fn pack(&self, from: impl Into<String>) -> Op<GuestTar> {
        let (guest, from) = (self.link(), from.into());
        Op::start("pack", move || GuestTar::start(guest, from))
    }

    /// Connects to what listens in the guest.
    ///
    /// The operation fails with
    /// - [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput): nothing can listen at such an address;
    /// - [`ErrorKind::Refused`](crate::ErrorKind::Refused): nothing listens there;
    /// - [`ErrorKind::Timeout`](crate::ErrorKind::Timeout): the agent gave no answer within a minute;
    /// - [`ErrorKind::Guest`](crate::ErrorKind::Guest): the guest is gone.
    pub fn connect(&self, address: GuestAddress) -> Op<GuestStream> {
        let guest = self.link();
        Op::start("connect", move || {
            forward::connect(&guest, &address.to_connect()?)
        })
    }

    /// Passes connections to `from`, an address of the host's, on to `to` in the guest, until the [`Forward`] is dropped
    /// or the guest ends. Port 0 is any that is free, which [`Forward::address`] tells. A Unix socket is for this
    /// process's user alone.
    ///
    /// The operation fails with
    /// - [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput): nothing can listen at such an address in the guest;
    /// - [`ErrorKind::Refused`](crate::ErrorKind::Refused): the host can't listen there.
    ///
    /// That nothing listens in the guest closes a connection, and is no error: it may yet.
    pub fn forward(&self, from: impl Into<HostAddress>, to: GuestAddress) -> Op<Forward> {
        let (guest, from) = (self.link(), from.into());
        Op::start("forward", move || forward::forward(guest, &from, &to))
    }

    /// Passes connections to `from`, an address in the guest, on to `to` on the host, until the [`Forward`] is dropped or
    /// the guest ends. The guest reaches this address and no other; any program in it may.
    ///
    /// It fails as [`forward`](Self::forward) does, with [`ErrorKind::Refused`](crate::ErrorKind::Refused) if the guest
    /// can't listen there.
    pub fn forward_to_host(&self, from: GuestAddress, to: impl Into<HostAddress>) -> Op<Forward> {
        let (guest, to) = (self.link(), to.into());
        Op::start("forward", move || {
            forward::forward_to_host(&guest, &from, to)
        })
    }

    /// A stream to the guest's SSH server. If none listens, the image's own is started for it. Other processes have
    /// [`Store::connect_ssh`](crate::Store::connect_ssh).
    pub fn connect_ssh(&self) -> Op<GuestStream> {
        let guest = self.link();
        Op::start("connect", move || forward::connect(&guest, &Address::Ssh))
    }
}

impl Shared {
    /// Opens the socket in the session's folder that leads to the guest's SSH server.
    pub(super) fn open_ssh(self: &Arc<Self>) -> Result<(), Error> {
        let folder = match &self.lock().phase {
            Phase::Running(live) => live.holding.folder().path().to_owned(),
            _ => return Ok(()),
        };
        let socket = ssh::serve(Arc::new(GuestLink::new(self)), &folder)?;
        if let Phase::Running(live) = &self.lock().phase {
            live.doors.keep_ssh(socket);
        }
        Ok(())
    }
}
