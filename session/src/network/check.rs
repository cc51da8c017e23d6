//! Whether interfaces can be what they are described as.

use std::collections::BTreeSet;
use std::net::IpAddr;

use vmm_core::MIN_MTU;

use super::{Backend, Card};
use crate::error::Error;
use crate::identity::check::{bad, check_path};

const MAX_NETWORKS: usize = 8;
const MAX_ADDRESSES: usize = 64;
/// What resolvers read of `/etc/resolv.conf` (`MAXNS`).
const MAX_SERVERS: usize = 3;
/// The bit of an Ethernet address' first byte that says that it is for many.
const MULTICAST: u8 = 1;

/// Checks a guest's interfaces together.
pub(crate) fn check(cards: &[Card]) -> Result<(), Error> {
    if cards.len() > MAX_NETWORKS {
        return Err(bad("networks", cards.len(), "a guest has at most 8"));
    }
    cards.iter().try_for_each(check_one)?;
    let servers: usize = cards.iter().map(|card| card.dns.len()).sum();
    if servers > MAX_SERVERS {
        return Err(bad("name servers", servers, "resolvers ask at most 3"));
    }
    let mut seen = BTreeSet::new();
    let macs = cards.iter().filter_map(|card| card.mac);
    match macs.into_iter().find(|mac| !seen.insert(*mac)) {
        Some(mac) => Err(bad(
            "Ethernet address",
            text_of(mac),
            "two interfaces are to have it",
        )),
        None => Ok(()),
    }
}

fn text_of(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn check_one(card: &Card) -> Result<(), Error> {
    if let Backend::Passt(path) = &card.backend {
        check_path("socket of a network", path)?;
        if path.contains(char::REPLACEMENT_CHARACTER) {
            return Err(bad(
                "socket of a network",
                path,
                "its path is no UTF-8 text",
            ));
        }
    }
    if let Some(mac) = card.mac
        && (mac[0] & MULTICAST != 0 || mac == [0; 6])
    {
        return Err(bad(
            "Ethernet address",
            text_of(mac),
            "it is no single station's",
        ));
    }
    if let Some(mtu) = card.mtu
        && mtu < MIN_MTU
    {
        return Err(bad("MTU", mtu, "it is less than 68 bytes"));
    }
    if card.addresses.len() > MAX_ADDRESSES {
        let count = card.addresses.len();
        return Err(bad("addresses of an interface", count, "it has at most 64"));
    }
    for (address, prefix) in &card.addresses {
        let text = || format!("{address}/{prefix}");
        if *prefix == 0 || *prefix > bits(*address) {
            return Err(bad("address", text(), "its network has no such prefix"));
        }
        if !is_of_one(*address) {
            return Err(bad("address", text(), "no interface can have it"));
        }
    }
    if let Some(server) = card.dns.iter().find(|server| server.is_unspecified()) {
        return Err(bad("name server", server, "it is nobody's address"));
    }
    check_gateways(card)
}

fn check_gateways(card: &Card) -> Result<(), Error> {
    let mut versions = BTreeSet::new();
    for gateway in &card.gateways {
        if !versions.insert(gateway.is_ipv4()) {
            return Err(bad(
                "gateway",
                gateway,
                "there is another one of its version of IP",
            ));
        }
        let is_near = |(address, prefix): &(IpAddr, u8)| has_prefix(*gateway, *address, *prefix);
        let is_link_local =
            matches!(gateway, IpAddr::V6(gateway) if gateway.is_unicast_link_local());
        let is_reached = card.addresses.iter().any(is_near)
            || is_link_local && card.addresses.iter().any(|(address, _)| address.is_ipv6());
        if !is_of_one(*gateway) || !is_reached {
            return Err(bad(
                "gateway",
                gateway,
                "no address of its interface is in its network",
            ));
        }
    }
    Ok(())
}

fn is_of_one(address: IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback() || is_broadcast)
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Whether two addresses begin with the same bits.
fn has_prefix(one: IpAddr, other: IpAddr, prefix: u8) -> bool {
    let differ = match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => u128::from(one.to_bits() ^ other.to_bits()) << 96,
        (IpAddr::V6(one), IpAddr::V6(other)) => one.to_bits() ^ other.to_bits(),
        _ => return false,
    };
    differ.leading_zeros() >= u32::from(prefix)
}
