//! Network interfaces of a session's guest.
//!
//! What can be named is recorded, and opened anew at each start. A switch of this process can't be: whoever resumes the
//! session gives it again.

mod check;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::Path;

use agent::protocol::identity::Interface;
use rootfs_store::BlobDigest;
use serde::{Deserialize, Serialize};
use vmm_core::{FrameStream, Net, Switch, Tap};

use crate::error::{Error, Repr};

pub(crate) use check::check;

/// How Ethernet addresses begin that are made for a session: locally administered, for one station.
const MAC_PREFIX: [u8; 2] = [0x02, 0x73];

/// A network interface of the guest, and what it is connected to.
///
/// With an address, the agent configures it before the image's init starts. Without one, the image does, by DHCP for
/// instance.
///
/// ```no_run
/// # fn example(store: &session::Store) -> Result<(), session::Error> {
/// use session::{Network, Session, Switch};
///
/// let lab = Switch::new();
/// let network = Network::switch(&lab).address([10, 0, 0, 2], 24).gateway([10, 0, 0, 1]);
/// let session = Session::from_image(store, "docker://alpine:3.22").network(network).start().wait()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "it is given to `SessionBuilder::network`"]
pub struct Network {
    pub(crate) card: Card,
    pub(crate) switch: Option<Switch>,
}

/// What a record has of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Card {
    backend: Backend,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mac: Option<[u8; 6]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mtu: Option<u16>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<(IpAddr, u8)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gateways: Vec<IpAddr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    dns: Vec<IpAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Backend {
    Tap(String),
    Passt(String),
    Switch,
}

impl Network {
    /// Connects to a TAP interface of the host, which must be there.
    pub fn tap(name: impl Into<String>) -> Self {
        Self::new(Backend::Tap(name.into()), None)
    }

    /// Connects to a process that listens on a Unix socket, such as `passt --socket PATH`.
    pub fn passt(socket: impl AsRef<Path>) -> Self {
        let path = socket.as_ref().to_string_lossy().into_owned();
        Self::new(Backend::Passt(path), None)
    }

    /// Connects to a switch of this process. It has to be given again when the session is resumed.
    pub fn switch(switch: &Switch) -> Self {
        Self::new(Backend::Switch, Some(switch.clone()))
    }

    fn new(backend: Backend, switch: Option<Switch>) -> Self {
        let card = Card {
            backend,
            mac: None,
            mtu: None,
            addresses: Vec::new(),
            gateways: Vec::new(),
            dns: Vec::new(),
        };
        Self { card, switch }
    }

    /// The guest's Ethernet address: one for a single station. Without it, the session has one of its own, which stays
    /// the same when it is resumed.
    pub fn mac(mut self, mac: [u8; 6]) -> Self {
        self.card.mac = Some(mac);
        self
    }

    /// The MTU that the guest is told, in bytes; 1500 if it is not called.
    pub fn mtu(mut self, bytes: u16) -> Self {
        self.card.mtu = Some(bytes);
        self
    }

    /// Gives the guest an address, in a network whose prefix has so many bits. It may have several.
    pub fn address(mut self, address: impl Into<IpAddr>, prefix: u8) -> Self {
        self.card.addresses.push((address.into(), prefix));
        self
    }

    /// Through whom the guest reaches everything else; one for each version of IP.
    pub fn gateway(mut self, gateway: impl Into<IpAddr>) -> Self {
        self.card.gateways.push(gateway.into());
        self
    }

    /// Adds a name server to the guest's `/etc/resolv.conf`; all interfaces together may name three.
    pub fn dns(mut self, server: impl Into<IpAddr>) -> Self {
        self.card.dns.push(server.into());
        self
    }
}

impl Card {
    /// What the guest's interface is told of, as the `index`th one of the machine with this id.
    pub(crate) fn interface(&self, machine_id: &str, index: usize) -> Interface {
        Interface {
            mac: self.mac_of(machine_id, index),
            addresses: self.addresses.clone(),
            gateways: self.gateways.clone(),
            dns: self.dns.clone(),
        }
    }

    fn mac_of(&self, machine_id: &str, index: usize) -> [u8; 6] {
        self.mac.unwrap_or_else(|| {
            // A machine's id is not for others to see, and a hash of it tells nothing of it.
            let hash = BlobDigest::of(format!("{machine_id} {index}").as_bytes());
            let [a, b] = MAC_PREFIX;
            let [c, d, e, f, ..] = *hash.as_bytes();
            [a, b, c, d, e, f]
        })
    }

    fn open(&self, switch: Option<&Switch>, index: usize) -> Result<Net, Error> {
        let net = match &self.backend {
            Backend::Tap(name) => Net::new(Tap::open(name)?),
            Backend::Passt(socket) => Net::new(FrameStream::connect(socket)?),
            Backend::Switch => {
                let switch = switch.ok_or(Repr::NoSwitch { index })?;
                Net::new(switch.port()?)
            }
        };
        Ok(net)
    }
}

/// Opens what the interfaces are connected to. `switches` are those that were given for them, if any.
pub(crate) fn open(
    cards: &[Card],
    switches: &[Option<Switch>],
    machine_id: &str,
) -> Result<Vec<Net>, Error> {
    let open = |(index, card): (usize, &Card)| {
        let mut net = card.open(switches.get(index).and_then(Option::as_ref), index)?;
        net.mac = Some(card.mac_of(machine_id, index));
        net.mtu = card.mtu;
        Ok(net)
    };
    cards.iter().enumerate().map(open).collect()
}
