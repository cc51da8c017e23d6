//! Bytes on their way through a tunnel, both ways at once.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

/// How many bytes are passed on at once, at most.
const PIECE_BYTES: usize = 64 << 10;

/// One way in which a [`Proxy`](super::Proxy) treats a tunnel badly. Offsets count the bytes of the connection, those
/// of TLS included.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TunnelFault {
    /// Answers with this status instead of making the tunnel.
    Refuse(u16),
    /// Closes both ends after so many bytes to the server.
    CutToServer(u64),
    /// Closes both ends after so many bytes to the client.
    CutToClient(u64),
    /// Flips all bits of the byte at this place on the way to the server.
    FlipToServer(u64),
    /// Flips all bits of the byte at this place on the way to the client.
    FlipToClient(u64),
}

/// What happens to one direction.
#[derive(Debug, Default, Clone, Copy)]
struct Way {
    cut_at: Option<u64>,
    flip_at: Option<u64>,
}

/// Passes bytes in both directions until one ends, and closes both ends then.
pub(super) fn pass(client: &TcpStream, server: &TcpStream, fault: Option<&TunnelFault>) {
    let (mut to_server, mut to_client) = (Way::default(), Way::default());
    match fault {
        Some(TunnelFault::CutToServer(at)) => to_server.cut_at = Some(*at),
        Some(TunnelFault::CutToClient(at)) => to_client.cut_at = Some(*at),
        Some(TunnelFault::FlipToServer(at)) => to_server.flip_at = Some(*at),
        Some(TunnelFault::FlipToClient(at)) => to_client.flip_at = Some(*at),
        Some(TunnelFault::Refuse(_)) | None => {}
    }
    let one_way = |from, to, way| {
        // Whichever side is gone, the other one has to know.
        _ = pump(from, to, way);
        close(&[client, server]);
    };
    thread::scope(|scope| {
        scope.spawn(|| one_way(client, server, to_server));
        one_way(server, client, to_client);
    });
}

/// Closes streams, which may be closed already.
pub(super) fn close(streams: &[impl std::borrow::Borrow<TcpStream>]) {
    for stream in streams {
        _ = stream.borrow().shutdown(Shutdown::Both);
    }
}

fn pump(mut from: &TcpStream, mut to: &TcpStream, way: Way) -> io::Result<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    let mut done = 0;
    loop {
        let left = way.cut_at.map_or(u64::MAX, |at| at - done);
        let len = usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        let read = from.read(&mut buffer[..len])?;
        if read == 0 {
            return Ok(());
        }
        let flip = way.flip_at.and_then(|at| at.checked_sub(done));
        if let Some(byte) = flip.and_then(|at| buffer[..read].get_mut(usize::try_from(at).ok()?)) {
            *byte = !*byte;
        }
        to.write_all(&buffer[..read])?;
        done += read as u64;
    }
}
