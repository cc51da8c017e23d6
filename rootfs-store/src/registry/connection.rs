//! TCP connections whose waits end when nobody wants them any more, or when too little comes or goes.
//!
//! It is here that bytes are counted, below TLS and HTTP: what these wait for may be much more than a byte.
//!
//! Invariant: a wait ends within a slice of time after its transfer has ended, and a byte that was sent is never sent
//! again.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use ureq::Timeout;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
};

use super::least_rate::{LeastRate, Meter};
use super::wanted::{SLICE, is_wanted};

/// Connects by TCP where nothing before it in the chain did.
#[derive(Debug)]
pub(crate) struct TcpConnector {
    pub(crate) least: LeastRate,
}

/// A connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffers: LazyBuffers,
    sent: Meter,
    received: Meter,
    /// Something has come since something was sent. Until then the other side may be at work.
    has_answered: bool,
}

/// The transfer has ended.
#[derive(Debug, thiserror::Error)]
#[error("nobody waits for it any more")]
struct Unwanted;

impl<In: Transport> Connector<In> for TcpConnector {
    type Out = Either<In, Connection>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        if let Some(chained) = chained {
            return Ok(Some(Either::A(chained)));
        }
        let stream = connect_any(&details.addrs, details.timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SLICE))?;
        stream.set_write_timeout(Some(SLICE))?;
        let (input, output) = (
            details.config.input_buffer_size(),
            details.config.output_buffer_size(),
        );
        let buffers = LazyBuffers::new(input, output);
        Ok(Some(Either::B(Connection::new(
            stream, buffers, self.least,
        ))))
    }
}

impl Connection {
    fn new(stream: TcpStream, buffers: LazyBuffers, least: LeastRate) -> Self {
        Self {
            stream,
            buffers,
            sent: Meter::new(least),
            received: Meter::new(least),
            has_answered: false,
        }
    }
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.received.reset();
        self.has_answered = false;
        let mut left = &self.buffers.output()[..amount];
        while !left.is_empty() {
            let begun = Instant::now();
            let sent = in_slices(timeout.for_write(), || (&self.stream).write(left))?;
            if sent == 0 {
                return Err(io::Error::from(io::ErrorKind::WriteZero).into());
            }
            let measured = self.sent.add(sent as u64, begun.elapsed());
            measured.map_err(io::Error::other)?;
            left = &left[sent..];
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.sent.reset();
        let begun = Instant::now();
        let input = self.buffers.input_append_buf();
        let came = in_slices(timeout.for_read(), || (&self.stream).read(input))?;
        self.buffers.input_appended(came);
        if std::mem::replace(&mut self.has_answered, true) && came > 0 {
            let measured = self.received.add(came as u64, begun.elapsed());
            measured.map_err(io::Error::other)?;
        }
        Ok(came > 0)
    }

    fn is_open(&mut self) -> bool {
        let probed = self.stream.set_nonblocking(true);
        let probed = probed.and_then(|()| self.stream.peek(&mut [0]));
        // Bytes that nobody asked for are as bad as the end.
        let is_quiet = probed.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        is_quiet && self.stream.set_nonblocking(false).is_ok()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = self.stream.peer_addr().ok();
        f.debug_struct("Connection").field("peer", &peer).finish()
    }
}

/// Does something that waits for a slice at most, until it is done.
fn in_slices<T>(
    timeout: NextTimeout,
    mut once: impl FnMut() -> io::Result<T>,
) -> Result<T, ureq::Error> {
    let begun = Instant::now();
    loop {
        check_wanted()?;
        match once() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if begun.elapsed() >= *timeout.after {
                    return Err(ureq::Error::Timeout(timeout.reason));
                }
            }
            done => return Ok(done?),
        }
    }
}

fn check_wanted() -> Result<(), ureq::Error> {
    match is_wanted() {
        true => Ok(()),
        false => Err(io::Error::other(Unwanted).into()),
    }
}

/// Connects to the first address that answers. Each gets half of the time that is left, the last one all of it.
fn connect_any(addresses: &[SocketAddr], timeout: NextTimeout) -> Result<TcpStream, ureq::Error> {
    let begun = Instant::now();
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable).into();
    for (at, address) in addresses.iter().enumerate() {
        let left = timeout.after.saturating_sub(begun.elapsed());
        let share = match at + 1 == addresses.len() {
            true => left,
            false => left / 2,
        };
        match connect_to(*address, share) {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                check_wanted()?;
                failure = error;
            }
        }
    }
    Err(failure)
}

fn connect_to(address: SocketAddr, limit: Duration) -> Result<TcpStream, ureq::Error> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None).map_err(io::Error::from)?;
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(io::Error::from(error).into()),
    }
    let limit = NextTimeout {
        after: limit.into(),
        reason: Timeout::Connect,
        ..NextTimeout::default()
    };
    let slice = Timespec::try_from(SLICE).map_err(io::Error::other)?;
    in_slices(limit, || {
        let mut sockets = [PollFd::new(&socket, PollFlags::OUT)];
        match poll(&mut sockets, Some(&slice))? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(sockopt::socket_error(&socket)??),
        }
    })?;
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

#[cfg(test)]
mod tests;
