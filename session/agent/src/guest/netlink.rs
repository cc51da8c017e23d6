//! Requests to the kernel's network configuration (rtnetlink(7)): one request, one answer.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

// From linux/netlink.h.
const NLM_F_REQUEST_AND_ACK: u16 = 1 | 4;
/// Makes what is not there, and replaces what is.
pub(super) const NLM_F_CREATE_OR_REPLACE: u16 = 0x400 | 0x100;

// From linux/rtnetlink.h and linux/if.h.
const RTM_NEWLINK: u16 = 16;
const IFF_UP: u32 = 1;

/// `struct nlmsghdr`.
const HEADER_BYTES: usize = 16;
/// `struct nlattr`, and what attributes are aligned to.
const ATTRIBUTE_BYTES: usize = 4;

/// A socket for requests.
#[derive(Debug)]
pub(super) struct Netlink(OwnedFd);

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        let netlink = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        Ok(Self(netlink))
    }

    /// Sends a request and waits for the kernel's word on it.
    pub(super) fn ask(&self, kind: u16, flags: u16, payload: &[u8]) -> io::Result<()> {
        send(
            self.0.as_raw_fd(),
            &request(kind, flags, payload)?,
            MsgFlags::empty(),
        )?;
        let mut answer = [0; 1024];
        let len = recv(self.0.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        // The answer's payload starts with an errno, negated; zero is the acknowledgement.
        let code = answer[..len].get(HEADER_BYTES..HEADER_BYTES + 4);
        match code
            .and_then(|code| code.try_into().ok())
            .map(i32::from_ne_bytes)
        {
            Some(0) => Ok(()),
            Some(code) => Err(Errno::from_raw(code.saturating_neg()).into()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Brings an interface up.
    pub(super) fn bring_up(&self, index: u32) -> io::Result<()> {
        let mut payload = vec![0; 4]; // address family and device type: any
        payload.extend(index.to_ne_bytes());
        payload.extend(IFF_UP.to_ne_bytes());
        payload.extend(IFF_UP.to_ne_bytes()); // which flags to change
        self.ask(RTM_NEWLINK, 0, &payload)
    }
}

fn request(kind: u16, flags: u16, payload: &[u8]) -> io::Result<Vec<u8>> {
    let len = u32::try_from(HEADER_BYTES + payload.len()).map_err(io::Error::other)?;
    let mut bytes = Vec::new();
    bytes.extend(len.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST_AND_ACK | flags).to_ne_bytes());
    bytes.extend([0; 8]); // sequence number and sender: one request, one answer
    bytes.extend(payload);
    Ok(bytes)
}

/// Appends an attribute of a few bytes.
pub(super) fn put_attribute(payload: &mut Vec<u8>, kind: u16, bytes: &[u8]) {
    let len = u16::try_from(ATTRIBUTE_BYTES + bytes.len()).unwrap_or(u16::MAX);
    payload.extend(len.to_ne_bytes());
    payload.extend(kind.to_ne_bytes());
    payload.extend(bytes);
    payload.resize(payload.len().next_multiple_of(ATTRIBUTE_BYTES), 0);
}
