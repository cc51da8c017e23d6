use std::io::{ErrorKind, Read, Write};
use std::thread;
use std::time::Duration;

use virtio_bindings::bindings::virtio_ring::{VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};
use virtio_queue::desc::RawDescriptor;
use virtio_queue::desc::split::Descriptor;
use virtio_queue::mock::MockSplitQueue;
use vm_memory::{Bytes, GuestAddress};

use super::connection::{RECEIVE_BYTES, SEND_BYTES};
use super::mux::{MAX_BACKLOG, MAX_CONNECTIONS, MAX_RESETS};
use super::packet::{HEADER_BYTES, Header, SHUTDOWN_RECEIVE, SHUTDOWN_SEND, TYPE_STREAM, op};
use super::*;
use crate::virtio::{Event, Handler, Interrupt, ServedQueue};

const GUEST: u64 = 7;
const SOON: Duration = Duration::from_secs(5);
const NOW: Duration = Duration::from_millis(10);

/// A guest that speaks the protocol by hand.
struct Guest(Arc<Shared>);

impl Guest {
    fn new() -> (Self, VsockHost) {
        let shared = Shared::new(7).unwrap();
        (Self(Arc::clone(&shared)), VsockHost::new(shared))
    }

    fn send_with(&self, change: impl FnOnce(&mut Header), data: &[u8]) {
        let mut header = Header {
            src_cid: GUEST,
            dst_cid: 2,
            src_port: 1000,
            dst_port: 50,
            length: u32::try_from(data.len()).unwrap(),
            kind: TYPE_STREAM,
            buf_alloc: 1 << 16,
            ..Header::default()
        };
        change(&mut header);
        let mut mux = self.0.lock();
        if let Some(ports) = mux.receive(&header, data) {
            mux.refuse(&header, ports);
        }
    }

    fn send(&self, op: u16, data: &[u8]) {
        self.send_with(|header| header.op = op, data);
    }

    fn answer(&self, to: &Header, op: u16, data: &[u8]) {
        let (src_port, dst_port) = (to.dst_port, to.src_port);
        self.send_with(
            |header| {
                (header.src_port, header.dst_port) = (src_port, dst_port);
                header.op = op;
            },
            data,
        );
    }

    fn take(&self) -> Option<(Header, Vec<u8>)> {
        let mut data = Vec::new();
        let header = self.0.lock().next_packet(1 << 16, &mut data)?;
        assert_eq!((header.src_cid, header.dst_cid), (2, GUEST));
        assert_eq!(header.length as usize, data.len());
        Some((header, data))
    }

    fn take_op(&self, op: u16) -> Header {
        let (header, _) = self.take().expect("a packet is due");
        assert_eq!(header.op, op);
        header
    }

    /// A connection that the host opened, and the header of its request.
    fn connected(&self, host: &VsockHost) -> (VsockStream, Header) {
        thread::scope(|scope| {
            let stream = scope.spawn(|| host.connect(9, SOON).unwrap());
            let request = loop {
                if let Some((header, _)) = self.take() {
                    break header;
                }
                thread::yield_now();
            };
            assert_eq!((request.op, request.dst_port), (op::REQUEST, 9));
            self.answer(&request, op::RESPONSE, b"");
            (stream.join().unwrap(), request)
        })
    }
}

fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn headers_round_trip_with_each_field_in_its_place() {
    let bytes: [u8; HEADER_BYTES] = std::array::from_fn(|at| u8::try_from(at).unwrap());
    let header = Header::from_bytes(&bytes);
    assert_eq!(header.to_bytes(), bytes);
    assert_eq!(header.src_port.to_le_bytes(), [16, 17, 18, 19]);
    assert_eq!(header.op.to_le_bytes(), [30, 31]);
    assert_eq!(header.fwd_cnt.to_le_bytes(), [40, 41, 42, 43]);
}

#[test]
fn data_goes_both_ways_and_ends_where_it_was_ended() {
    let (guest, host) = Guest::new();
    let (mut stream, request) = guest.connected(&host);
    stream.write_all(b"question").unwrap();
    stream.shutdown_write().unwrap();
    assert_eq!(guest.take().unwrap().1, b"question");
    assert_eq!(guest.take_op(op::SHUTDOWN).flags, SHUTDOWN_SEND);
    assert_eq!(kind(stream.write(b"x")), ErrorKind::BrokenPipe);
    guest.answer(&request, op::RW, b"answer");
    guest.send_with(
        |header| {
            (header.src_port, header.dst_port) = (request.dst_port, request.src_port);
            header.op = op::SHUTDOWN;
            header.flags = SHUTDOWN_SEND;
        },
        b"",
    );
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "answer");
}

#[test]
fn a_refused_connection_is_refused_and_a_slow_one_times_out() {
    let (guest, host) = Guest::new();
    assert_eq!(kind(host.connect(9, NOW)), ErrorKind::TimedOut);
    let late = loop {
        let (header, _) = guest.take().unwrap();
        if header.op == op::RST {
            break header;
        }
    };
    guest.answer(&late, op::RESPONSE, b"");
    guest.take_op(op::RST);
    thread::scope(|scope| {
        let result = scope.spawn(|| kind(host.connect(9, SOON)));
        let request = loop {
            if let Some((header, _)) = guest.take() {
                break header;
            }
            thread::yield_now();
        };
        guest.answer(&request, op::RST, b"");
        assert_eq!(result.join().unwrap(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn the_guest_connects_to_what_listens_and_to_nothing_else() {
    let (guest, host) = Guest::new();
    guest.send_with(|header| header.op = op::REQUEST, b"");
    guest.take_op(op::RST);
    let listener = host.listen(50).unwrap();
    assert_eq!(kind(listener.accept(Some(NOW))), ErrorKind::TimedOut);
    guest.send_with(|header| header.op = op::REQUEST, b"");
    let response = guest.take_op(op::RESPONSE);
    assert_eq!(response.buf_alloc, RECEIVE_BYTES);
    let mut stream = listener.accept(None).unwrap();
    guest.answer(&response, op::RW, b"hi");
    let mut buffer = [0; 8];
    assert_eq!(stream.read(&mut buffer).unwrap(), 2);
    drop(listener);
    assert!(host.listen(50).is_ok());
}

#[test]
fn a_backlog_has_an_end_and_is_reset_with_its_listener() {
    let (guest, host) = Guest::new();
    let listener = host.listen(50).unwrap();
    for port in 0..=u32::try_from(MAX_BACKLOG).unwrap() {
        guest.send_with(
            |header| {
                header.op = op::REQUEST;
                header.src_port = port;
            },
            b"",
        );
    }
    // The one too many hears first.
    guest.take_op(op::RST);
    for _ in 0..MAX_BACKLOG {
        guest.take_op(op::RESPONSE);
    }
    drop(listener);
    for _ in 0..MAX_BACKLOG {
        guest.take_op(op::RST);
    }
    assert!(guest.take().is_none());
}

#[test]
fn connections_that_are_over_make_room_in_a_backlog() {
    let (guest, host) = Guest::new();
    let listener = host.listen(50).unwrap();
    let ask = |port| {
        guest.send_with(
            |header| {
                header.op = op::REQUEST;
                header.src_port = port;
            },
            b"",
        );
    };
    let last = u32::try_from(MAX_BACKLOG).unwrap();
    (0..last).for_each(ask);
    // The driver starts anew; nobody has accepted anything.
    guest.0.lock().reset();
    ask(last);
    assert_eq!(guest.take_op(op::RESPONSE).dst_port, last);
    assert!(guest.take().is_none());
    let (connections, _, _) = guest.0.lock().held();
    assert_eq!(connections, MAX_BACKLOG);
    drop(listener);
}

#[test]
fn no_more_is_sent_than_the_guest_has_room_for() {
    let (guest, host) = Guest::new();
    let (mut stream, request) = guest.connected(&host);
    let data = vec![5; (1 << 16) + 100];
    stream.write_all(&data).unwrap();
    assert_eq!(guest.take().unwrap().1.len(), 1 << 16);
    assert!(guest.take().is_none());
    guest.send_with(
        |header| {
            (header.src_port, header.dst_port) = (request.dst_port, request.src_port);
            header.op = op::CREDIT_UPDATE;
            header.fwd_cnt = 60;
        },
        b"",
    );
    assert_eq!(guest.take().unwrap().1.len(), 60);
    assert!(guest.take().is_none());
    // Nonsense gives no credit.
    guest.send_with(
        |header| {
            (header.src_port, header.dst_port) = (request.dst_port, request.src_port);
            header.op = op::CREDIT_UPDATE;
            header.fwd_cnt = 1 << 30;
        },
        b"",
    );
    assert!(guest.take().is_none());
}

#[test]
fn a_writer_waits_for_the_guest_to_take_what_it_wrote() {
    let (guest, host) = Guest::new();
    let (stream, request) = guest.connected(&host);
    let total = SEND_BYTES * 3;
    let received = thread::scope(|scope| {
        scope.spawn(|| (&stream).write_all(&vec![1; total]).unwrap());
        let mut received = 0;
        while received < total {
            received += guest.take().map_or(0, |(_, data)| data.len());
            guest.send_with(
                |header| {
                    (header.src_port, header.dst_port) = (request.dst_port, request.src_port);
                    header.op = op::CREDIT_UPDATE;
                    header.fwd_cnt = u32::try_from(received).unwrap();
                },
                b"",
            );
        }
        received
    });
    assert_eq!(received, total);
}

#[test]
fn a_writer_can_limit_how_long_it_waits_for_a_guest_that_takes_nothing() {
    let (guest, host) = Guest::new();
    let (mut stream, _) = guest.connected(&host);
    assert_eq!(
        kind(stream.set_write_timeout(Some(Duration::ZERO))),
        ErrorKind::InvalidInput
    );
    stream.set_write_timeout(Some(NOW)).unwrap();
    stream.write_all(&vec![1; SEND_BYTES]).unwrap();
    assert_eq!(kind(stream.write(b"x")), ErrorKind::TimedOut);
    assert_eq!(guest.take().unwrap().1.len(), 1 << 16);
    assert_eq!(stream.write(b"x").unwrap(), 1);
}

#[test]
fn the_guest_hears_of_room_as_the_host_reads() {
    let (guest, host) = Guest::new();
    let (mut stream, request) = guest.connected(&host);
    let part = vec![3; 1 << 16];
    for _ in 0..4 {
        guest.answer(&request, op::RW, &part);
    }
    assert!(guest.take().is_none());
    let mut buffer = vec![0; 1 << 16];
    stream.read_exact(&mut buffer).unwrap();
    assert_eq!(guest.take_op(op::CREDIT_UPDATE).fwd_cnt, 1 << 16);
    guest.answer(&request, op::RW, &part);
    // One byte more than there is room for ends the connection, after what was in time.
    guest.answer(&request, op::RW, b"x");
    guest.take_op(op::RST);
    for _ in 0..4 {
        stream.read_exact(&mut buffer).unwrap();
    }
    assert_eq!(kind(stream.read(&mut buffer)), ErrorKind::ConnectionReset);
    assert_eq!(kind(stream.write(b"x")), ErrorKind::ConnectionReset);
}

#[test]
fn the_guest_hears_nothing_more_of_a_connection_that_it_broke_off() {
    let (guest, host) = Guest::new();
    let listener = host.listen(50).unwrap();
    guest.send(op::REQUEST, b"");
    let mut stream = listener.accept(Some(SOON)).unwrap();
    guest.take_op(op::RESPONSE);
    guest.send(op::RW, &vec![1; 200 << 10]);
    guest.send(op::RST, b"");
    let mut bytes = vec![0; 150 << 10];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(guest.take().map(|(header, _)| header), None);
    // The next connection of the same ports gets its own packets only.
    guest.send(op::REQUEST, b"");
    guest.take_op(op::RESPONSE);
    drop(stream);
    assert_eq!(guest.take().map(|(header, _)| header), None);
}

#[test]
fn answers_that_there_is_no_room_for_change_no_others() {
    let (guest, _host) = Guest::new();
    while guest.0.lock().held().2 < MAX_RESETS {
        guest.send(op::RW, b"x");
    }
    guest.send_with(|header| (header.op, header.kind) = (op::RW, 9), b"x");
    for _ in 0..MAX_RESETS {
        assert_eq!(guest.take_op(op::RST).kind, TYPE_STREAM);
    }
    assert_eq!(guest.take().map(|(header, _)| header), None);
    guest.send_with(|header| (header.op, header.kind) = (op::RW, 9), b"x");
    assert_eq!(guest.take_op(op::RST).kind, 9);
}

#[test]
fn a_dropped_stream_sends_what_was_written_then_closes() {
    let (guest, host) = Guest::new();
    let (mut stream, request) = guest.connected(&host);
    let clone = stream.try_clone().unwrap();
    stream.write_all(b"last words").unwrap();
    drop(stream);
    assert_eq!(guest.take().unwrap().1, b"last words");
    assert!(guest.take().is_none(), "a clone is left");
    drop(clone);
    let shutdown = guest.take_op(op::SHUTDOWN);
    assert_eq!(shutdown.flags, SHUTDOWN_SEND | SHUTDOWN_RECEIVE);
    guest.answer(&request, op::RST, b"");
    assert!(guest.take().is_none());
    guest.answer(&request, op::RW, b"too late");
    guest.take_op(op::RST);
}

#[test]
fn an_abort_overtakes_what_was_written() {
    let (guest, host) = Guest::new();
    let (stream, request) = guest.connected(&host);
    guest.answer(&request, op::RW, b"unread");
    thread::scope(|scope| {
        // More than the guest has room for and than is buffered: the writer waits.
        let writer = scope.spawn(|| kind((&stream).write_all(&vec![1; 2 * SEND_BYTES])));
        while guest.take().is_none_or(|(header, _)| header.op != op::RW) {
            thread::yield_now();
        }
        stream.try_clone().unwrap().abort();
        assert_eq!(writer.join().unwrap(), ErrorKind::ConnectionReset);
    });
    assert_eq!(kind((&stream).read(&mut [0])), ErrorKind::ConnectionReset);
    assert_eq!(guest.take_op(op::RST).dst_port, request.dst_port);
    assert!(guest.take().is_none());
    stream.abort();
    drop(stream);
    assert!(guest.take().is_none());
    assert_eq!(guest.0.lock().held(), (0, 0, 0));
}

#[test]
fn an_abort_reaches_a_guest_that_is_slow_to_hear_of_it() {
    let (guest, host) = Guest::new();
    let streams: Vec<_> = (0..400).map(|_| guest.connected(&host)).collect();
    for (stream, request) in streams {
        stream.abort();
        drop(stream);
        // What crosses it changes nothing.
        guest.answer(&request, op::RW, b"more");
    }
    assert_eq!(guest.0.lock().held(), (400, 400, 0));
    for _ in 0..400 {
        guest.take_op(op::RST);
    }
    assert_eq!(guest.0.lock().held(), (0, 0, 0));
}

#[test]
fn a_full_shutdown_by_the_guest_is_confirmed_and_read_to_its_end() {
    let (guest, host) = Guest::new();
    let (mut stream, request) = guest.connected(&host);
    guest.answer(&request, op::RW, b"bye");
    guest.send_with(
        |header| {
            (header.src_port, header.dst_port) = (request.dst_port, request.src_port);
            header.op = op::SHUTDOWN;
            header.flags = SHUTDOWN_SEND | SHUTDOWN_RECEIVE;
        },
        b"",
    );
    guest.take_op(op::RST);
    let mut said = Vec::new();
    stream.read_to_end(&mut said).unwrap();
    assert_eq!(said, b"bye");
}

#[test]
fn the_end_of_the_vm_ends_everything() {
    let (guest, host) = Guest::new();
    let (mut stream, request) = guest.connected(&host);
    let listener = host.listen(1).unwrap();
    guest.answer(&request, op::RW, b"z");
    guest.0.close();
    let mut buffer = [0; 4];
    assert_eq!(stream.read(&mut buffer).unwrap(), 1);
    assert_eq!(kind(stream.read(&mut buffer)), ErrorKind::BrokenPipe);
    assert_eq!(kind(stream.write(b"x")), ErrorKind::BrokenPipe);
    assert_eq!(kind(listener.accept(None)), ErrorKind::BrokenPipe);
    assert_eq!(kind(host.connect(1, SOON)), ErrorKind::BrokenPipe);
    assert_eq!(kind(host.listen(2)), ErrorKind::BrokenPipe);
}

#[test]
fn a_reset_of_the_device_resets_its_connections() {
    let (guest, host) = Guest::new();
    let (mut stream, _) = guest.connected(&host);
    guest.0.lock().reset();
    assert_eq!(kind(stream.read(&mut [0])), ErrorKind::ConnectionReset);
    assert!(guest.take().is_none());
}

#[test]
fn packets_that_make_no_sense_are_answered_with_a_reset_or_dropped() {
    let (guest, _host) = Guest::new();
    guest.send_with(|header| header.src_cid = 3, b"");
    guest.send_with(|header| header.dst_cid = 1, b"");
    guest.send_with(|header| header.op = op::RST, b"");
    assert!(guest.take().is_none());
    guest.send_with(|header| header.kind = 9, b"");
    assert_eq!(guest.take_op(op::RST).kind, 9);
    guest.send_with(|header| header.op = 77, b"");
    guest.take_op(op::RST);
    for port in 0..10_000 {
        guest.send_with(|header| header.src_port = port, b"");
    }
    assert!(std::iter::from_fn(|| guest.take()).count() < 1000);
}

#[test]
fn connections_are_limited_and_abandoned_ones_make_room() {
    let (guest, host) = Guest::new();
    let mut mux = guest.0.lock();
    let ids: Vec<_> = (0..MAX_CONNECTIONS)
        .map(|_| mux.connect(1).unwrap())
        .collect();
    assert_eq!(kind(mux.connect(1)), ErrorKind::QuotaExceeded);
    drop(mux);
    let mut requests = Vec::new();
    while let Some((request, _)) = guest.take() {
        requests.push(request);
    }
    requests
        .iter()
        .for_each(|r| guest.answer(r, op::RESPONSE, b""));
    guest.0.lock().disown(ids[0]);
    assert!(guest.0.lock().connect(1).is_ok());
    drop(host);
}

#[test]
fn a_buffer_without_room_for_data_does_not_hang_the_host() {
    let (guest, host) = Guest::new();
    let (mut stream, _) = guest.connected(&host);
    stream.write_all(b"data").unwrap();
    let mut data = Vec::new();
    assert!(guest.0.lock().next_packet(0, &mut data).is_none());
    assert_eq!(guest.take().unwrap().1, b"data");
}

#[test]
fn a_guest_that_takes_no_packets_makes_no_list_grow() {
    let (guest, host) = Guest::new();
    let listener = host.listen(50).unwrap();
    for _ in 0..2000 {
        guest.send_with(|header| header.op = op::REQUEST, b"");
        drop(listener.accept(Some(SOON)).unwrap());
        guest.send_with(|header| header.op = op::RST, b"");
    }
    assert_eq!(guest.0.lock().held(), (0, 0, 0));
    for _ in 0..2000 {
        assert_eq!(kind(host.connect(9, Duration::ZERO)), ErrorKind::TimedOut);
    }
    // Only the resets are left, and they are limited.
    assert_eq!(guest.0.lock().held(), (0, 0, 256));
}

/// Runs the device once over a receive and a transmit queue with one chain each.
#[test]
fn packets_pass_through_the_queues_however_they_are_cut() {
    let (guest, host) = Guest::new();
    let _listener = host.listen(50).unwrap();
    let memory = crate::memory::map(16).unwrap();
    let (receive, transmit, events) = (
        MockSplitQueue::create(&memory, GuestAddress(0), 16),
        MockSplitQueue::create(&memory, GuestAddress(0x1_0000), 16),
        MockSplitQueue::create(&memory, GuestAddress(0x2_0000), 16),
    );
    let request = Header {
        src_cid: GUEST,
        dst_cid: 2,
        src_port: 4,
        dst_port: 50,
        kind: TYPE_STREAM,
        op: op::REQUEST,
        ..Header::default()
    };
    memory
        .write_slice(&request.to_bytes(), GuestAddress(0x10_0000))
        .unwrap();
    let descriptor = |address, length, flags: u32, next| {
        let flags = u16::try_from(flags).unwrap();
        RawDescriptor::from(Descriptor::new(address, length, flags, next))
    };
    let next = VRING_DESC_F_NEXT;
    let write = VRING_DESC_F_WRITE;
    transmit
        .add_desc_chains(
            &[
                descriptor(0x10_0000, 20, next, 1),
                descriptor(0x10_0014, 24, 0, 0),
                // Too short for a header.
                descriptor(0x10_0000, 20, 0, 0),
            ],
            0,
        )
        .unwrap();
    receive
        .add_desc_chains(
            &[
                // Too short, then one that will do.
                descriptor(0x20_0000, 20, write, 0),
                descriptor(0x20_0000, 20, next | write, 2),
                descriptor(0x20_0014, 4096, write, 0),
            ],
            0,
        )
        .unwrap();
    let interrupt = Interrupt::new().unwrap();
    let mut queues = [&receive, &transmit, &events].map(|ring| {
        ServedQueue::new(
            ring.create_queue().unwrap(),
            memory.clone(),
            interrupt.clone(),
            Arc::new(EventFd::new(0).unwrap()),
        )
    });
    let mut device = VsockDevice::new(Arc::clone(&guest.0), None);
    device.serve(Event::Queue(1), &mut queues).unwrap();
    assert_eq!(transmit.used().idx().load(), 2);
    assert_eq!(receive.used().idx().load(), 2);
    let used = |at| receive.used().ring().ref_at(at).unwrap().load().len();
    assert_eq!((used(0), used(1)), (0, 44));
    let mut bytes = [0; HEADER_BYTES];
    memory
        .read_slice(&mut bytes, GuestAddress(0x20_0000))
        .unwrap();
    let response = Header::from_bytes(&bytes);
    assert_eq!((response.op, response.dst_port), (op::RESPONSE, 4));
}

#[test]
fn a_guest_that_goes_on_is_told_once_that_its_connections_are_gone() {
    let memory = crate::memory::map(16).unwrap();
    let ring = |at| MockSplitQueue::create(&memory, GuestAddress(at), 8);
    let (receive, transmit, events) = (ring(0), ring(0x1_0000), ring(0x2_0000));
    let write = u16::try_from(VRING_DESC_F_WRITE).unwrap();
    let buffer = |at: u64, length| RawDescriptor::from(Descriptor::new(at, length, write, 0));
    // One too small, then two that will do.
    events
        .add_desc_chains(
            &[
                buffer(0x20_0000, 2),
                buffer(0x20_1000, 4),
                buffer(0x20_2000, 4),
            ],
            0,
        )
        .unwrap();
    for at in [0x20_1000, 0x20_2000] {
        memory.write_obj(u32::MAX, GuestAddress(at)).unwrap();
    }
    let interrupt = Interrupt::new().unwrap();
    let mut queues = [&receive, &transmit, &events].map(|ring| {
        ServedQueue::new(
            ring.create_queue().unwrap(),
            memory.clone(),
            interrupt.clone(),
            Arc::new(EventFd::new(0).unwrap()),
        )
    });
    let shared = Shared::new(3).unwrap();
    let mut device = VsockDevice::new(Arc::clone(&shared), None);
    device.serve(Event::Queue(2), &mut queues).unwrap();
    assert_eq!(events.used().idx().load(), 0, "there is nothing to tell");
    shared.owe_transport_reset();
    device.serve(Event::Queue(2), &mut queues).unwrap();
    device.serve(Event::Queue(2), &mut queues).unwrap();
    assert_eq!(events.used().idx().load(), 2);
    let read = |at| memory.read_obj::<u32>(GuestAddress(at)).unwrap();
    assert_eq!((read(0x20_1000), read(0x20_2000)), (0, u32::MAX));
    // A driver that starts anew has no connections to lose.
    shared.owe_transport_reset();
    device.reset();
    device.serve(Event::Queue(2), &mut queues).unwrap();
    assert_eq!(events.used().idx().load(), 2);
}
