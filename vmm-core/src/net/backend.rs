//! What the embedder hands over as the other side of a network device.

use std::io;
use std::os::fd::AsFd;

use super::OffloadHeader;
use crate::seccomp::HostCalls;

/// The other side of a guest's network device. Called by one thread at a time: the one that starts the VM, then
/// the device's.
///
/// Its descriptor ([`AsFd`]) is always the same one. It is readable while [`receive`](Self::receive) has
/// something to say, a frame or an error, and writable while [`send`](Self::send) and [`flush`](Self::flush)
/// can go on. No call may block: what can't be done now fails with [`io::ErrorKind::WouldBlock`], and the
/// device waits for the descriptor; one that blocks all the same is told
/// ([`Event::BackendSlow`](crate::Event::BackendSlow)). Any other error means that the network is gone: the device
/// makes no more calls until the guest resets it, and frames of the guest are dropped. Frames are Ethernet frames
/// without preamble and checksum, of 14 to [`MAX_FRAME_BYTES`](super::MAX_FRAME_BYTES) bytes.
pub trait NetBackend: AsFd + Send {
    /// Puts the next frame for the guest into `frame`, which holds the longest there is, and returns its
    /// length. `offload` comes as nothing to do, and stays so unless the guest takes offloads.
    ///
    /// # Errors
    /// See above.
    fn receive(&mut self, frame: &mut [u8], offload: &mut OffloadHeader) -> io::Result<usize>;

    /// Takes a frame from the guest. `offload` says what there is left to do, only ever of what
    /// [`offloads`](Self::offloads) lists. A frame that can't be forwarded may be dropped, as networks do.
    ///
    /// # Errors
    /// See above. After `WouldBlock`, nothing of the frame was taken.
    fn send(&mut self, frame: &[u8], offload: &OffloadHeader) -> io::Result<()>;

    /// Hands on what `send` took but could not hand on yet.
    ///
    /// # Errors
    /// See above. `WouldBlock` says that there is more left.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// What it can do for the guest, in both directions. Asked once.
    fn offloads(&self) -> Offloads {
        Offloads::default()
    }

    /// Takes note of what it may leave to the guest in the frames of [`receive`](Self::receive): a part of
    /// [`offloads`](Self::offloads). Called each time that the guest's driver has set the device up.
    ///
    /// # Errors
    /// Any; the network then counts as gone.
    fn use_offloads(&mut self, _offloads: Offloads) -> io::Result<()> {
        Ok(())
    }

    /// An address for a guest's side that has none, which is nobody else's in this network.
    fn suggested_mac(&self) -> Option<[u8; 6]> {
        None
    }

    /// What `receive`, `send`, `flush`, `use_offloads` and dropping the backend do with the host: anything else is
    /// [refused](crate::Seccomp) to the device's thread. Asked once, when the VM starts.
    fn host_calls(&self) -> HostCalls {
        HostCalls::Descriptors
    }
}

/// Work that one side can leave to the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Checksums of TCP and UDP.
    pub checksum: bool,
    /// Cutting long TCP segments in IPv4 packets. Needs `checksum`.
    pub tso4: bool,
    /// Cutting long TCP segments in IPv6 packets. Needs `checksum`.
    pub tso6: bool,
    /// Cutting TCP segments that carry congestion notifications. Needs one of the two before.
    pub ecn: bool,
}
