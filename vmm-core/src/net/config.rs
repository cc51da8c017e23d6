//! A network device as it is asked for.

use std::fmt;
use std::sync::Arc;

use super::link::Link;
use super::{MULTICAST, Mac, NetBackend, NetCounters, NetLink};
use crate::error::StartError;
use crate::rate::RateLimiter;

/// The lowest MTU that a device can have, in bytes: what IPv4 asks of every link.
pub const MIN_MTU: u16 = 68;
/// The highest MTU that a device can have, in bytes.
pub const MAX_MTU: u16 = u16::MAX;
/// The MTU of a device that says nothing of it.
pub(super) const DEFAULT_MTU: u16 = 1500;
/// How addresses begin that are made of a device's number: locally administered, for one station.
const MAC_PREFIX: [u8; 5] = [0x02, 0x76, 0x6d, 0x00, 0x00];

/// A network device of a VM: [`Net::new`] and then the fields that should be different.
#[non_exhaustive]
pub struct Net {
    /// Where the guest's frames go to and come from.
    pub backend: Box<dyn NetBackend>,
    /// The guest's Ethernet address: one for a single station, not all zeroes. If `None`, as at first, what
    /// the backend suggests (a [`SwitchPort`](super::SwitchPort) does), or else one that follows from the
    /// device's place among the VM's.
    pub mac: Option<[u8; 6]>,
    /// The MTU that the guest is told to use, [`MIN_MTU`] to [`MAX_MTU`] bytes. If `None`, as at first, it is
    /// not told anything, and uses 1500. Longer frames are dropped, unless they are to be cut into packets that
    /// keep to it.
    pub mtu: Option<u16>,
    /// Limits on what the guest receives; none at first. What is over them waits at the backend.
    pub receive_limiter: RateLimiter,
    /// Limits on what the guest sends; none at first. What is over them waits with the guest.
    pub transmit_limiter: RateLimiter,
    counters: Arc<NetCounters>,
    pub(crate) link: Arc<Link>,
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Net")
            .field("mac", &self.mac)
            .field("mtu", &self.mtu)
            .field("receive_limiter", &self.receive_limiter)
            .field("transmit_limiter", &self.transmit_limiter)
            .finish_non_exhaustive()
    }
}

impl Net {
    /// A device before `backend`, with a default address and MTU.
    #[must_use]
    pub fn new(backend: impl NetBackend + 'static) -> Self {
        Self {
            backend: Box::new(backend),
            mac: None,
            mtu: None,
            receive_limiter: RateLimiter::default(),
            transmit_limiter: RateLimiter::default(),
            counters: Arc::default(),
            link: Arc::default(),
        }
    }

    /// What goes through the device, to be read at any time.
    #[must_use]
    pub fn counters(&self) -> Arc<NetCounters> {
        Arc::clone(&self.counters)
    }

    /// The device's cable, to be pulled out and plugged in at any time.
    #[must_use]
    pub fn link(&self) -> NetLink {
        NetLink::new(&self.link)
    }

    /// Gives the device the address that follows from its place among the VM's, if it has none yet.
    pub(crate) fn settle_mac(&mut self, index: usize) {
        self.mac = Some(self.mac_at(index));
    }

    pub(crate) fn check(&self, index: usize) -> Result<(), StartError> {
        if let Some(mac) = self.mac
            && (mac[0] & MULTICAST != 0 || mac == [0; 6])
        {
            return Err(StartError::NetMac { index, mac });
        }
        if let Some(mtu) = self.mtu
            && mtu < MIN_MTU
        {
            return Err(StartError::NetMtu { index, mtu });
        }
        Ok(())
    }

    /// The guest's address on the device at this place.
    pub(super) fn mac_at(&self, index: usize) -> Mac {
        let [a, b, c, d, e] = MAC_PREFIX;
        let last = u8::try_from(index).unwrap_or(u8::MAX);
        self.mac
            .or_else(|| self.backend.suggested_mac())
            .unwrap_or([a, b, c, d, e, last])
    }
}
