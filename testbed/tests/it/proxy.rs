//! Tunnels of a proxy.

use std::io::{Read, Write};
use std::net::TcpStream;

use testbed::{Proxy, TunnelFault};

use crate::client::Client;
use crate::front::Bed;

/// Asks for a tunnel to the registry; the status, and the connection.
fn connect(proxy: &Proxy, target: &str, fields: &[&str]) -> (u16, TcpStream) {
    let stream = TcpStream::connect(proxy.host()).unwrap();
    let mut head = format!("CONNECT {target} HTTP/1.1\r\n");
    fields
        .iter()
        .for_each(|field| head.push_str(&format!("{field}\r\n")));
    (&stream)
        .write_all(format!("{head}\r\n").as_bytes())
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        (&stream).read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    let text = String::from_utf8(answer).unwrap();
    (text.split(' ').nth(1).unwrap().parse().unwrap(), stream)
}

#[test]
fn blob_comes_whole_through_a_tunnel() {
    let bed = Bed::new();
    let proxy = Proxy::start(None).unwrap();
    let (status, stream) = connect(&proxy, bed.registry.host(), &[]);
    assert_eq!(status, 200);
    let mut client = Client::over(stream);
    let answer = client.ask(&bed.about_blob("GET"), &[], b"").unwrap();
    assert!(answer.body == bed.blob);
    let log = proxy.log();
    assert_eq!(
        (log.len(), log[0].target.as_str()),
        (1, bed.registry.host())
    );
}

#[test]
fn tunnel_is_for_those_who_know_the_password() {
    let bed = Bed::new();
    let proxy = Proxy::start(Some(("somebody", "secret"))).unwrap();
    let (status, _) = connect(&proxy, bed.registry.host(), &[]);
    assert_eq!(status, 407);
    // somebody:wrong
    let wrong = "Proxy-Authorization: Basic c29tZWJvZHk6d3Jvbmc=";
    assert_eq!(connect(&proxy, bed.registry.host(), &[wrong]).0, 407);
    // somebody:secret
    let right = "Proxy-Authorization: Basic c29tZWJvZHk6c2VjcmV0";
    assert_eq!(connect(&proxy, bed.registry.host(), &[right]).0, 200);
    assert_eq!(connect(&proxy, "127.0.0.1:1", &[right]).0, 502);
    let told: Vec<_> = proxy.log().iter().map(|tunnel| tunnel.status).collect();
    assert_eq!(told, [407, 407, 200, 502]);
}

#[test]
fn faults_of_tunnels_are_as_planned() {
    let bed = Bed::new();
    let proxy = Proxy::start(None).unwrap();
    let through = |fault: TunnelFault| {
        proxy.set_plan(move |_| Some(fault.clone()));
        let (status, stream) = connect(&proxy, bed.registry.host(), &[]);
        let start = format!(
            "{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            bed.about_blob("GET")
        );
        // A tunnel that was cut takes nothing more.
        _ = (&stream).write_all(start.as_bytes());
        let mut all = Vec::new();
        _ = (&stream).read_to_end(&mut all);
        (status, all)
    };
    let (status, all) = through(TunnelFault::Refuse(503));
    assert_eq!((status, all.len()), (503, 0));
    assert_eq!(through(TunnelFault::CutToClient(5000)).1.len(), 5000);
    assert_eq!(through(TunnelFault::CutToServer(10)).1.len(), 0);
    let (_, flipped) = through(TunnelFault::FlipToClient(50_000));
    let body = &flipped[flipped.len() - bed.blob.len()..];
    let wrong = body
        .iter()
        .zip(&bed.blob)
        .filter(|(one, other)| one != other);
    assert_eq!(wrong.count(), 1);
    // The first letter of the method.
    let (_, refused) = through(TunnelFault::FlipToServer(0));
    assert!(!refused.starts_with(b"HTTP/1.1 200"));
}
