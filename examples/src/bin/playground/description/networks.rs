//! Network interfaces.

use std::net::IpAddr;

use session::Network;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NetworkArg {
    backend: Backend,
    addresses: Vec<(IpAddr, u8)>,
    gateways: Vec<IpAddr>,
    servers: Vec<IpAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Backend {
    Tap(String),
    Passt(String),
}

pub(super) fn network(text: &str) -> Result<NetworkArg, String> {
    let mut parts = text.split(',');
    let backend = match parts.next().and_then(|first| first.split_once(':')) {
        Some(("tap", name)) => Backend::Tap(name.to_owned()),
        Some(("passt", socket)) => Backend::Passt(socket.to_owned()),
        _ => return Err("it begins with neither tap: nor passt:".to_owned()),
    };
    let mut network = NetworkArg {
        backend,
        addresses: Vec::new(),
        gateways: Vec::new(),
        servers: Vec::new(),
    };
    for part in parts {
        match part.split_once('=') {
            Some(("via", gateway)) => network.gateways.push(address(gateway)?),
            Some(("dns", server)) => network.servers.push(address(server)?),
            Some((other, _)) => return Err(format!("{other:?} is neither via nor dns")),
            None => network.addresses.push(with_prefix(part)?),
        }
    }
    Ok(network)
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is no IP address"))
}

fn with_prefix(text: &str) -> Result<(IpAddr, u8), String> {
    let bad = || format!("{text:?} is no address with a prefix, such as 10.0.0.2/24");
    let (ip, prefix) = text.split_once('/').ok_or_else(bad)?;
    Ok((address(ip)?, prefix.parse().map_err(|_| bad())?))
}

impl NetworkArg {
    pub(super) fn network(&self) -> Network {
        let network = match &self.backend {
            Backend::Tap(name) => Network::tap(name),
            Backend::Passt(socket) => Network::passt(socket),
        };
        let addresses = self.addresses.iter();
        let network = addresses.fold(network, |network, (ip, bits)| network.address(*ip, *bits));
        let network = self.gateways.iter().fold(network, |it, ip| it.gateway(*ip));
        self.servers.iter().fold(network, |it, ip| it.dns(*ip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_a_backend_and_what_the_guest_is_told() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let bare = |backend| NetworkArg {
            backend,
            addresses: Vec::new(),
            gateways: Vec::new(),
            servers: Vec::new(),
        };
        assert_eq!(
            network("passt:/run/passt.sock"),
            Ok(bare(Backend::Passt("/run/passt.sock".into())))
        );
        let text = "tap:lab0,10.0.0.2/24,fd00::2/64,via=10.0.0.1,dns=9.9.9.9,dns=1.1.1.1";
        let expected = NetworkArg {
            addresses: vec![(ip("10.0.0.2"), 24), (ip("fd00::2"), 64)],
            gateways: vec![ip("10.0.0.1")],
            servers: vec![ip("9.9.9.9"), ip("1.1.1.1")],
            ..bare(Backend::Tap("lab0".into()))
        };
        assert_eq!(network(text), Ok(expected));
        for bad in [
            "",
            "lab0",
            "bridge:br0",
            "tap:lab0,10.0.0.2",
            "tap:lab0,10.0.0.2/x",
            "tap:lab0,via=here",
            "tap:lab0,mtu=1400",
        ] {
            assert!(network(bad).is_err(), "{bad}");
        }
    }
}
