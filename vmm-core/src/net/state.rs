//! A network device as plain data.

use serde::{Deserialize, Serialize};

use super::Net;
use crate::rate::LimiterState;
use crate::state::StateError;

/// The state of a network device. A frame that the device has taken from its network, and the guest has no
/// buffers for, is lost, as frames may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NetState {
    /// The guest's Ethernet address.
    pub mac: [u8; 6],
    /// The MTU that the guest was told, if any.
    pub mtu: Option<u16>,
    /// Whether the guest saw a link. A guest whose link is another one where it goes on is told.
    pub link_up: bool,
    /// How often the link has changed, as the guest was told (virtio 1.2, section 4.2.2.1, ConfigGeneration).
    pub config_generation: u32,
    /// How much the limits on what it receives have left.
    pub receive_limiter: LimiterState,
    /// How much the limits on what it sends have left.
    pub transmit_limiter: LimiterState,
}

impl NetState {
    /// The state of the VM's network device number `index`.
    pub(crate) fn of(net: &Net, index: usize) -> Self {
        Self {
            mac: net.mac_at(index),
            mtu: net.mtu,
            link_up: true,
            config_generation: 0,
            receive_limiter: net.receive_limiter.save(),
            transmit_limiter: net.transmit_limiter.save(),
        }
    }

    /// Checks that the device called `name`, of which `config` is the state, is one that the guest can take
    /// for its own.
    pub(crate) fn check_fit(&self, config: &Self, name: &str) -> Result<(), StateError> {
        let mac = |mac| format!("{mac:02x?}");
        StateError::compare(
            format!("the address of {name}"),
            mac(self.mac),
            mac(config.mac),
        )?;
        let mtu = |mtu: Option<u16>| mtu.map_or("none".to_owned(), |mtu| mtu.to_string());
        StateError::compare(format!("the MTU of {name}"), mtu(self.mtu), mtu(config.mtu))?;
        self.receive_limiter
            .check()
            .and_then(|()| self.transmit_limiter.check())
            .map_err(|error| error.of(name))
    }
}
