//! The guest's network interfaces: loopback, and addresses of those that are described.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use agent::protocol::identity::Interface;

use super::error::StartError;
use super::netlink::{NLM_F_CREATE_OR_REPLACE, Netlink, put_attribute};

/// The loopback interface has this index in every network namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK_INDEX: u32 = 1;

// From linux/rtnetlink.h, linux/if_addr.h and linux/socket.h.
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
/// No other machine is asked whether it has the address, so that it can be used at once.
const IFA_F_NODAD: u8 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RTN_UNICAST: u8 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// How long an interface may take to show up once its driver is loaded.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

/// Brings loopback up, and gives each interface that is described what it shall have. One without addresses is left to
/// the image.
pub(super) fn configure(interfaces: &[Interface]) -> Result<(), StartError> {
    let netlink = Netlink::open().map_err(StartError::step("open", "a netlink socket"))?;
    netlink
        .bring_up(LOOPBACK_INDEX)
        .map_err(StartError::step("bring up", "the loopback interface"))?;
    for interface in interfaces
        .iter()
        .filter(|interface| !interface.addresses.is_empty())
    {
        let mac = text_of(interface.mac);
        configure_one(&netlink, interface, &mac).map_err(StartError::step(
            "configure",
            format!("the interface {mac}"),
        ))?;
    }
    Ok(())
}

fn configure_one(netlink: &Netlink, interface: &Interface, mac: &str) -> io::Result<()> {
    let index = wait_for(mac)?;
    for (address, prefix) in &interface.addresses {
        netlink.ask(
            RTM_NEWADDR,
            NLM_F_CREATE_OR_REPLACE,
            &address_payload(*address, *prefix, index),
        )?;
    }
    netlink.bring_up(index)?;
    for gateway in &interface.gateways {
        netlink.ask(
            RTM_NEWROUTE,
            NLM_F_CREATE_OR_REPLACE,
            &route_payload(*gateway, index),
        )?;
    }
    Ok(())
}

fn text_of(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The index of the interface with this Ethernet address.
fn wait_for(mac: &str) -> io::Result<u32> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(index) = find(Path::new("/sys/class/net"), mac) {
            return Ok(index);
        }
        if Instant::now() >= deadline {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the guest has none",
            ));
        }
        thread::sleep(PAUSE);
    }
}

fn find(class: &Path, mac: &str) -> Option<u32> {
    let read = |path: &Path, name: &str| fs::read_to_string(path.join(name)).ok();
    fs::read_dir(class).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        let is_it = read(&path, "address")?.trim() == mac;
        is_it.then(|| read(&path, "ifindex")?.trim().parse().ok())?
    })
}

fn parts(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
    }
}

/// A `struct ifaddrmsg` with its attributes.
fn address_payload(address: IpAddr, prefix: u8, index: u32) -> Vec<u8> {
    let (family, bytes) = parts(address);
    let scope = 0; // everywhere
    let mut payload = vec![family, prefix, IFA_F_NODAD, scope];
    payload.extend(index.to_ne_bytes());
    put_attribute(&mut payload, IFA_LOCAL, &bytes);
    put_attribute(&mut payload, IFA_ADDRESS, &bytes);
    if let IpAddr::V4(address) = address
        && prefix < 31
    {
        let hosts = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
        let broadcast = address.to_bits() | hosts;
        put_attribute(&mut payload, IFA_BROADCAST, &broadcast.to_be_bytes());
    }
    payload
}

/// A `struct rtmsg` for everything that no other route is for, with its attributes.
fn route_payload(gateway: IpAddr, index: u32) -> Vec<u8> {
    let (family, bytes) = parts(gateway);
    let (to_bits, from_bits, service, scope) = (0, 0, 0, 0);
    let mut payload = vec![family, to_bits, from_bits, service];
    payload.extend([RT_TABLE_MAIN, RTPROT_STATIC, scope, RTN_UNICAST]);
    payload.extend([0; 4]); // flags
    put_attribute(&mut payload, RTA_GATEWAY, &bytes);
    put_attribute(&mut payload, RTA_OIF, &index.to_ne_bytes());
    payload
}

#[cfg(test)]
mod tests;
