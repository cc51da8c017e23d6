use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::*;
use crate::ErrorKind;

fn cards(networks: impl IntoIterator<Item = Network>) -> Vec<Card> {
    networks.into_iter().map(|network| network.card).collect()
}

fn refusal(networks: impl IntoIterator<Item = Network>) -> String {
    let error = check(&cards(networks)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    error.to_string()
}

fn tap() -> Network {
    Network::tap("tap0")
}

#[test]
fn addresses_that_no_guest_can_have_are_refused() {
    check(&cards([tap()])).unwrap();
    let good = tap()
        .address([10, 0, 0, 2], 24)
        .gateway([10, 0, 0, 1])
        .dns([1, 1, 1, 1]);
    check(&cards([good])).unwrap();
    for (address, prefix) in [
        ("10.0.0.2", 33),
        ("10.0.0.2", 0),
        ("fd00::2", 129),
        ("0.0.0.0", 8),
        ("127.0.0.1", 8),
        ("224.0.0.1", 8),
        ("255.255.255.255", 8),
        ("ff02::1", 64),
    ] {
        let address: IpAddr = address.parse().unwrap();
        assert!(
            refusal([tap().address(address, prefix)]).contains("address"),
            "{address}"
        );
    }
    let two = [
        Network::tap("a").mac([2, 0, 0, 0, 0, 1]),
        tap().mac([2, 0, 0, 0, 0, 1]),
    ];
    assert!(refusal(two).contains("02:00:00:00:00:01"));
    refusal([tap().mac([3, 0, 0, 0, 0, 1])]);
    refusal([tap().mac([0; 6])]);
    refusal([tap().mtu(67)]);
    refusal([Network::passt("relative")]);
    let bytes: &OsStr = OsStrExt::from_bytes(b"/run/\xff");
    refusal([Network::passt(bytes)]);
    refusal((0..9).map(|_| tap()));
    refusal((0..2).map(|_| tap().dns([1, 1, 1, 1]).dns([8, 8, 8, 8])));
}

#[test]
fn a_gateway_must_be_near() {
    let network = || tap().address([10, 0, 0, 2], 24);
    assert!(refusal([network().gateway([10, 0, 1, 1])]).contains("10.0.1.1"));
    assert!(refusal([tap().gateway([10, 0, 0, 1])]).contains("gateway"));
    refusal([network().gateway([10, 0, 0, 1]).gateway([10, 0, 0, 3])]);
    let local: IpAddr = "fe80::1".parse().unwrap();
    refusal([network().gateway(local)]);
    let address: IpAddr = "fd00::2".parse().unwrap();
    check(&cards([network().address(address, 64).gateway(local)])).unwrap();
}

#[test]
fn what_is_in_this_process_has_to_be_given_again() {
    let switch = Switch::new();
    let network = Network::switch(&switch);
    let text = serde_json::to_string(&network.card).unwrap();
    let recorded: Card = serde_json::from_str(&text).unwrap();
    let error = open(std::slice::from_ref(&recorded), &[], "m").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let nets = open(&[recorded], &[Some(switch)], "m").unwrap();
    assert_eq!(nets.len(), 1);
}

#[test]
fn addresses_of_interfaces_are_a_machines_own_and_stay() {
    let card = tap().card;
    let mac = card.interface("machine a", 0).mac;
    assert_eq!(mac, card.interface("machine a", 0).mac);
    assert_ne!(mac, card.interface("machine a", 1).mac);
    assert_ne!(mac, card.interface("machine b", 0).mac);
    assert_eq!(mac[0] & 3, 2);
    assert_eq!(tap().mac([2; 6]).card.interface("m", 0).mac, [2; 6]);
}

#[test]
fn a_missing_interface_or_socket_is_told() {
    let missing = open(&cards([Network::tap("no-such-tap")]), &[], "m").unwrap_err();
    assert!(missing.to_string().contains("no-such-tap"), "{missing}");
    let missing = open(&cards([Network::passt("/nowhere/socket")]), &[], "m").unwrap_err();
    assert!(missing.to_string().contains("/nowhere/socket"), "{missing}");
}

/// Records of this form are on users' disks.
#[test]
fn the_form_in_records_stays() {
    let network = tap()
        .mac([2, 0, 0, 0, 0, 1])
        .mtu(1400)
        .address([10, 0, 0, 2], 24);
    let network = network.gateway([10, 0, 0, 1]).dns([1, 1, 1, 1]);
    let text = r#"{"backend":{"tap":"tap0"},"mac":[2,0,0,0,0,1],"mtu":1400,"addresses":[["10.0.0.2",24]],"gateways":["10.0.0.1"],"dns":["1.1.1.1"]}"#;
    assert_eq!(serde_json::to_string(&network.card).unwrap(), text);
    assert_eq!(serde_json::from_str::<Card>(text).unwrap(), network.card);
    let switch = Network::switch(&Switch::new()).card;
    assert_eq!(
        serde_json::to_string(&switch).unwrap(),
        r#"{"backend":"switch"}"#
    );
}
