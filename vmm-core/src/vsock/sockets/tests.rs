use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::seccomp::{DeviceCalls, Filters, Seccomp};
use crate::thread::spawn;
use crate::vsock::VsockHost;
use crate::vsock::connection::{RECEIVE_BYTES, SEND_BYTES};
use crate::vsock::packet::{SHUTDOWN_RECEIVE, SHUTDOWN_SEND, TYPE_STREAM, op};

const GUEST: u64 = 7;
const CREDIT: u32 = 1 << 20;

/// A guest that speaks the protocol by hand, before sockets that somebody has to turn.
struct Bed {
    dir: TempDir,
    shared: Arc<Shared>,
    sockets: Sockets,
    credit: u32,
    taken: u32,
}

impl Bed {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        Self {
            sockets: Sockets::open(&dir.path().join("vm.sock")).unwrap(),
            shared: Shared::new(7).unwrap(),
            dir,
            credit: CREDIT,
            taken: 0,
        }
    }

    fn path(&self, suffix: &str) -> PathBuf {
        self.dir.path().join(format!("vm.sock{suffix}"))
    }

    /// Does what the device's thread does when something happens.
    fn turn(&mut self) {
        self.sockets.serve(&self.shared);
        self.sockets.catch_up(&self.shared);
    }

    fn client(&mut self, line: &str) -> UnixStream {
        let mut client = UnixStream::connect(self.path("")).unwrap();
        client.set_nonblocking(true).unwrap();
        client.write_all(line.as_bytes()).unwrap();
        self.turn();
        self.turn();
        client
    }

    /// A packet of the guest for the connection of host port `to`.
    fn send(&mut self, from: u32, to: u32, op: u16, flags: u32, data: &[u8]) {
        let header = Header {
            src_cid: GUEST,
            dst_cid: 2,
            src_port: from,
            dst_port: to,
            length: u32::try_from(data.len()).unwrap(),
            kind: TYPE_STREAM,
            op,
            flags,
            buf_alloc: self.credit,
            fwd_cnt: self.taken,
        };
        let unanswered = self.shared.lock().receive(&header, data);
        if let Some(ports) = unanswered {
            self.sockets.request(&self.shared, &header, ports);
        }
        self.sockets.catch_up(&self.shared);
    }

    fn take(&mut self) -> Option<(Header, Vec<u8>)> {
        let mut data = Vec::new();
        let header = self.shared.lock().next_packet(1 << 16, &mut data)?;
        self.sockets.catch_up(&self.shared);
        Some((header, data))
    }

    fn take_op(&mut self, op: u16) -> Header {
        let (header, _) = self.take().expect("a packet is due");
        assert_eq!(header.op, op, "{header:?}");
        header
    }

    /// A client that is connected to the guest's port 9, and its port on the host.
    fn connected(&mut self) -> (UnixStream, u32) {
        let mut client = self.client("CONNECT 9\n");
        let request = self.take_op(op::REQUEST);
        assert_eq!(request.dst_port, 9);
        self.send(9, request.src_port, op::RESPONSE, 0, b"");
        let welcome = format!("OK {}\n", request.src_port);
        assert_eq!(there(&mut client), welcome.as_bytes());
        (client, request.src_port)
    }

    fn held(&self) -> (usize, usize) {
        (self.shared.lock().held().0, self.sockets.clients.len())
    }
}

/// What a client can read for now; it must not have ended.
fn there(client: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let error = client.read_to_end(&mut bytes).expect_err("not the end yet");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    bytes
}

/// What a client can read up to the end, which must have come.
fn rest(client: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).expect("the end has come");
    bytes
}

#[test]
fn a_client_is_connected_and_bytes_go_both_ways_until_each_side_ends() {
    let mut bed = Bed::new();
    let (mut client, port) = bed.connected();
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    bed.turn();
    assert_eq!(bed.take().unwrap().1, b"question");
    bed.turn();
    assert_eq!(bed.take_op(op::SHUTDOWN).flags, SHUTDOWN_SEND);
    bed.send(9, port, op::RW, 0, b"answer");
    assert_eq!(there(&mut client), b"answer");
    bed.send(9, port, op::RW, 0, b"!");
    bed.send(9, port, op::SHUTDOWN, SHUTDOWN_SEND | SHUTDOWN_RECEIVE, b"");
    assert_eq!(rest(&mut client), b"!");
    bed.take_op(op::RST);
    assert_eq!(bed.held(), (0, 0));
}

#[test]
fn a_guest_that_ends_its_side_first_still_gets_what_the_client_says() {
    let mut bed = Bed::new();
    let (mut client, port) = bed.connected();
    bed.send(9, port, op::SHUTDOWN, SHUTDOWN_SEND, b"");
    assert_eq!(rest(&mut client), b"");
    client.write_all(b"late").unwrap();
    drop(client);
    bed.turn();
    assert_eq!(bed.take().unwrap().1, b"late");
    bed.turn();
    // Both directions have ended, so the guest is asked to let go.
    let flags = bed.take_op(op::SHUTDOWN).flags;
    assert_eq!(flags, SHUTDOWN_SEND | SHUTDOWN_RECEIVE);
    bed.send(9, port, op::RST, 0, b"");
    assert_eq!(bed.held(), (0, 0));
}

#[test]
fn what_follows_the_line_at_once_is_not_lost() {
    let mut bed = Bed::new();
    let mut client = bed.client("CONNECT 9\nearly");
    let request = bed.take_op(op::REQUEST);
    bed.send(9, request.src_port, op::RESPONSE, 0, b"");
    assert_eq!(bed.take().unwrap().1, b"early");
    assert!(there(&mut client).starts_with(b"OK "));
}

#[test]
fn a_client_is_sent_away_when_the_guest_refuses_or_the_line_is_wrong() {
    let mut bed = Bed::new();
    let mut client = bed.client("CONNECT 9\n");
    let request = bed.take_op(op::REQUEST);
    bed.send(9, request.src_port, op::RST, 0, b"");
    assert_eq!(rest(&mut client), b"");
    for line in ["LISTEN 9\n", "CONNECT 9 9\n"] {
        assert_eq!(rest(&mut bed.client(line)), b"", "{line}");
    }
    // Of a line that is too long, some stays unread.
    let mut long = bed.client(&"x".repeat(100));
    let error = long.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(bed.held(), (0, 0));
    assert!(bed.take().is_none());
}

#[test]
fn slow_clients_and_guests_are_given_up_after_a_while() {
    let mut bed = Bed::new();
    let mut silent = bed.client("CONN");
    let mut unanswered = bed.client("CONNECT 9\n");
    let (mut open, _) = {
        let mut client = bed.client("CONNECT 8\n");
        bed.take_op(op::REQUEST);
        let request = bed.take_op(op::REQUEST);
        bed.send(8, request.src_port, op::RESPONSE, 0, b"");
        assert!(there(&mut client).starts_with(b"OK "));
        (client, request)
    };
    let soon = Instant::now() + PATIENCE / 2;
    bed.sockets.pass_deadlines(&mut bed.shared.lock(), soon);
    assert_eq!(bed.held().1, 3);
    let late = Instant::now() + PATIENCE;
    bed.sockets.pass_deadlines(&mut bed.shared.lock(), late);
    assert_eq!(rest(&mut silent), b"");
    assert_eq!(rest(&mut unanswered), b"");
    assert_eq!(there(&mut open), b"");
    bed.take_op(op::RST);
    assert_eq!(bed.held(), (1, 1));
    assert!(bed.sockets.deadlines.take_past(late).is_none());
}

#[test]
fn a_client_has_its_time_again_after_a_long_pause() {
    let mut bed = Bed::new();
    let mut silent = bed.client("");
    let hour = Duration::from_secs(3600);
    let resumed = Instant::now() + hour;
    bed.sockets.pass_deadlines(&mut bed.shared.lock(), resumed);
    bed.sockets.deadlines.set_alarm();
    assert_eq!(there(&mut silent), b"");
    let late = resumed + PATIENCE;
    bed.sockets.pass_deadlines(&mut bed.shared.lock(), late);
    assert_eq!(rest(&mut silent), b"");
    assert_eq!(bed.held(), (0, 0));
}

#[test]
fn the_timer_wakes_the_device_for_a_slow_client() {
    let mut bed = Bed::new();
    let mut silent = bed.client("");
    let late = Instant::now() + PATIENCE;
    let token = bed.sockets.deadlines.take_past(late).unwrap();
    let soon = Instant::now() + Duration::from_millis(20);
    bed.sockets.clients.get_mut(&token).unwrap().deadline = Some(soon);
    bed.sockets.deadlines.add(soon, token);
    bed.sockets.deadlines.set_alarm();
    let mut events = [EpollEvent::default(); 1];
    assert_eq!(bed.sockets.set.wait(5000, &mut events).unwrap(), 1);
    bed.turn();
    assert_eq!(rest(&mut silent), b"");
    assert_eq!(bed.sockets.set.wait(0, &mut events).unwrap(), 0);
}

#[test]
fn a_guest_reaches_who_listens_beside_the_socket_and_nobody_else() {
    let mut bed = Bed::new();
    let listener = UnixListener::bind(bed.path("_77")).unwrap();
    bed.send(1000, 77, op::REQUEST, 0, b"");
    bed.take_op(op::RESPONSE);
    let (mut server, _) = listener.accept().unwrap();
    server.set_nonblocking(true).unwrap();
    bed.send(1000, 77, op::RW, 0, b"hello");
    assert_eq!(there(&mut server), b"hello");
    server.write_all(b"and to you").unwrap();
    bed.turn();
    assert_eq!(bed.take().unwrap().1, b"and to you");
    bed.send(1000, 78, op::REQUEST, 0, b"");
    bed.take_op(op::RST);
    drop(listener);
    bed.send(1001, 77, op::REQUEST, 0, b"");
    bed.take_op(op::RST);
    assert_eq!(bed.held(), (1, 1));
}

#[test]
fn the_filter_of_the_device_lets_all_of_it_happen() {
    let mut bed = Bed::new();
    let (path, client) = (bed.path(""), UnixStream::connect(bed.path("")).unwrap());
    let listener = UnixListener::bind(bed.path("_80")).unwrap();
    let filters = Filters::new(Seccomp::Refuse);
    let filtered = filters.device("filtered".to_owned(), DeviceCalls::UnixSockets);
    let thread = spawn(filtered, move || {
        bed.turn();
        bed.send(1, 80, op::REQUEST, 0, b"");
        bed.take_op(op::RESPONSE);
        assert_eq!(bed.held().1, 2);
        let Bed { dir, sockets, .. } = bed;
        drop(sockets);
        // Removing folders is not a device's business.
        std::mem::forget(dir);
    });
    thread.unwrap().join().unwrap();
    filters.wait().unwrap();
    listener.accept().unwrap();
    assert_eq!((&client).read(&mut [0]).unwrap(), 0);
    assert!(!path.exists());
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[test]
fn a_listener_of_this_process_has_its_port_before_any_socket() {
    let mut bed = Bed::new();
    let socket = UnixListener::bind(bed.path("_77")).unwrap();
    socket.set_nonblocking(true).unwrap();
    let host = VsockHost::new(Arc::clone(&bed.shared));
    let listener = host.listen(77).unwrap();
    bed.send(1000, 77, op::REQUEST, 0, b"");
    bed.take_op(op::RESPONSE);
    drop(listener.accept(Some(PATIENCE)).unwrap());
    assert_eq!(socket.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_client_that_reads_nothing_stops_the_guest_and_nothing_is_lost() {
    let mut bed = Bed::new();
    let (mut client, port) = bed.connected();
    let mut sent = Vec::new();
    let told = |bed: &mut Bed, taken: &mut u32| {
        while let Some((header, _)) = bed.take() {
            *taken = header.fwd_cnt;
        }
    };
    let mut taken = 0;
    loop {
        told(&mut bed, &mut taken);
        let room = RECEIVE_BYTES as usize - (sent.len() - taken as usize);
        if room == 0 {
            break;
        }
        let piece: Vec<u8> = (0..room.min(1 << 16))
            .map(|at| u8::try_from((sent.len() + at) % 251).unwrap())
            .collect();
        bed.send(9, port, op::RW, 0, &piece);
        sent.extend(piece);
    }
    // A client that isn't read from costs nothing meanwhile.
    let mut events = [EpollEvent::default(); 1];
    assert_eq!(bed.sockets.set.wait(0, &mut events).unwrap(), 0);
    let mut got = Vec::new();
    while got.len() < sent.len() {
        got.extend(there(&mut client));
        bed.turn();
    }
    assert!(got == sent);
    told(&mut bed, &mut taken);
    assert!(sent.len() - (taken as usize) < RECEIVE_BYTES as usize);
}

#[test]
fn a_guest_that_takes_nothing_stops_its_client_and_nothing_is_lost() {
    let mut bed = Bed::new();
    bed.credit = 0;
    let (mut client, port) = bed.connected();
    let mut sent = Vec::new();
    let mut idle = 0;
    while idle < 3 {
        let piece: Vec<u8> = (0..10_000)
            .map(|at| u8::try_from((sent.len() + at) % 251).unwrap())
            .collect();
        match client.write(&piece) {
            Ok(count) => sent.extend(&piece[..count]),
            Err(_) => idle += 1,
        }
        bed.turn();
    }
    assert!(bed.take().is_none());
    let mut events = [EpollEvent::default(); 1];
    assert_eq!(bed.sockets.set.wait(0, &mut events).unwrap(), 0);
    assert!(sent.len() > SEND_BYTES);
    drop(client);
    bed.credit = u32::MAX;
    bed.send(9, port, op::CREDIT_UPDATE, 0, b"");
    let mut got = Vec::new();
    while got.len() < sent.len() {
        match bed.take() {
            Some((header, data)) if header.op == op::RW => got.extend(data),
            _ => bed.turn(),
        }
    }
    assert!(got == sent);
}

#[test]
fn a_client_that_goes_away_is_told_to_a_guest_that_only_sends() {
    let mut bed = Bed::new();
    let (client, port) = bed.connected();
    drop(client);
    bed.turn();
    bed.turn();
    let mut flags = 0;
    while let Some((header, _)) = bed.take() {
        flags |= header.flags;
    }
    assert_eq!(flags, SHUTDOWN_SEND | SHUTDOWN_RECEIVE);
    bed.send(9, port, op::RW, 0, b"for nobody");
    bed.send(9, port, op::RST, 0, b"");
    assert_eq!(bed.held(), (0, 0));
}

#[test]
fn a_guest_that_breaks_off_or_the_rules_loses_its_client() {
    let mut bed = Bed::new();
    let (mut first, port) = bed.connected();
    bed.send(9, port, op::RW, 0, b"last words");
    bed.send(9, port, op::RST, 0, b"");
    assert_eq!(rest(&mut first), b"last words");
    let (mut second, port) = bed.connected();
    bed.send(9, port, op::RW, 0, &vec![0; RECEIVE_BYTES as usize + 1]);
    bed.take_op(op::RST);
    assert_eq!(rest(&mut second), b"");
    let (mut third, _) = bed.connected();
    bed.shared.lock().reset();
    bed.sockets.catch_up(&bed.shared);
    assert_eq!(rest(&mut third), b"");
    assert_eq!(bed.held(), (0, 0));
}

#[test]
fn clients_beyond_the_most_wait_and_guests_are_refused() {
    let mut bed = Bed::new();
    let listener = UnixListener::bind(bed.path("_77")).unwrap();
    let mut clients = Vec::new();
    for _ in 0..MAX_VSOCK_CLIENTS {
        clients.push(bed.client(""));
    }
    let mut waiting = bed.client("CONNECT 9\n");
    assert_eq!(bed.held().1, MAX_VSOCK_CLIENTS);
    assert!(bed.take().is_none());
    assert_eq!(there(&mut waiting), b"");
    // The guest has as many of its own, and neither shuts the other's door.
    for port in 0..u32::try_from(MAX_VSOCK_CLIENTS).unwrap() {
        bed.send(1000 + port, 77, op::REQUEST, 0, b"");
        bed.take_op(op::RESPONSE);
    }
    bed.send(9000, 77, op::REQUEST, 0, b"");
    bed.take_op(op::RST);
    clients.pop();
    for _ in 0..3 {
        bed.turn();
    }
    bed.take_op(op::REQUEST);
    drop(listener);
}

#[test]
fn the_file_is_for_its_owner_alone_and_goes_with_the_sockets() {
    let bed = Bed::new();
    let mode = fs::metadata(bed.path("")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let path = bed.path("");
    let Bed { dir, sockets, .. } = bed;
    drop(sockets);
    assert!(!path.exists());
    // What somebody else has put there meanwhile stays.
    let sockets = Sockets::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "mine").unwrap();
    drop(sockets);
    assert!(path.exists());
    drop(dir);
}

#[test]
fn only_the_socket_of_a_dead_process_is_replaced() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("vm.sock");
    // Dropping a listener of the standard library leaves its file.
    drop(UnixListener::bind(&path).unwrap());
    let sockets = Sockets::open(&path).unwrap();
    let error = Sockets::open(&path).err().unwrap();
    assert!(matches!(error, VsockSocketError::InUse { .. }), "{error}");
    drop(sockets);
    fs::write(&path, "precious").unwrap();
    let error = Sockets::open(&path).err().unwrap();
    assert!(
        matches!(error, VsockSocketError::NotASocket { .. }),
        "{error}"
    );
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    let error = Sockets::open(&dir.path().join("no/such/vm.sock"));
    let error = error.err().unwrap();
    assert!(matches!(error, VsockSocketError::Io { .. }), "{error}");
}

#[test]
fn a_path_that_leaves_no_room_for_ports_is_refused() {
    for bytes in [0, 97, 200] {
        let path = PathBuf::from("x".repeat(bytes));
        let error = check_path(&path).unwrap_err();
        assert!(error.to_string().contains(&bytes.to_string()), "{error}");
    }
    check_path(&PathBuf::from("x".repeat(96))).unwrap();
}

/// Lets the device work until nothing is left to do, which must come soon.
fn settle(bed: &mut Bed) {
    for _ in 0..100 {
        bed.turn();
    }
    let mut events = [EpollEvent::default(); 1];
    let count = bed.sockets.set.wait(0, &mut events).unwrap();
    assert_eq!(count, 0, "a socket wakes the device for ever");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever guest and clients do, the device comes to rest, and nothing is left when both are gone.
    #[test]
    fn guests_and_clients_of_any_behaviour_leave_nothing_behind(
        steps in prop::collection::vec((0u8..9, any::<u8>(), 0usize..70_000, 0u16..9, 0u32..4), 1..80))
    {
        let mut bed = Bed::new();
        let listener = UnixListener::bind(bed.path("_77")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let mut clients = Vec::new();
        let mut ports = vec![(1000, 77), (1001, 78)];
        for (kind, which, amount, op, flags) in steps {
            let which = usize::from(which);
            let (from, to) = ports[which % ports.len()];
            let client = match clients.len() {
                0 => None,
                count => clients.get_mut(which % count),
            };
            match (kind, client) {
                (0, _) => {
                    let lines = ["CONNECT 9\n", "CONNECT 9\nmore", "CONN", "nonsense\n", ""];
                    clients.push(bed.client(lines[which % lines.len()]));
                }
                (1, Some(client)) => drop(client.write(&vec![1; amount])),
                (2, Some(client)) => drop(client.read(&mut vec![0; amount])),
                (3, Some(client)) => {
                    let ends = [Shutdown::Read, Shutdown::Write, Shutdown::Both];
                    drop(client.shutdown(ends[which % 3]));
                }
                (4, Some(_)) => {
                    clients.swap_remove(which % clients.len());
                }
                (5, _) => {
                    bed.credit = u32::try_from(amount).unwrap();
                    bed.send(from, to, op, flags, &vec![2; amount.min(1 << 16)]);
                }
                (6, _) => bed.send(from, to, op, flags, b""),
                (7, _) => {
                    if let Some((header, _)) = bed.take() {
                        ports.push((header.dst_port, header.src_port));
                    }
                }
                _ => bed.turn(),
            }
            while let Ok((server, _)) = listener.accept() {
                server.set_nonblocking(true).unwrap();
                clients.push(server);
            }
            prop_assert!(bed.sockets.of_connections.len() <= bed.sockets.clients.len());
            prop_assert!(bed.held().1 <= clients.len() + 80);
        }
        settle(&mut bed);
        drop(clients);
        bed.shared.lock().reset();
        settle(&mut bed);
        while bed.take().is_some() {}
        bed.shared.lock().reset();
        settle(&mut bed);
        prop_assert_eq!(bed.held(), (0, 0));
        prop_assert!(bed.sockets.of_connections.is_empty());
        prop_assert!(bed.shared.lock().next_news().is_none());
    }
}
