use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use virtio_bindings::bindings::virtio_config::VIRTIO_CONFIG_S_DRIVER_OK;
use virtio_bindings::bindings::virtio_mmio::VIRTIO_MMIO_INT_CONFIG;
use virtio_bindings::bindings::virtio_ring::{
    VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE,
};
use virtio_queue::desc::RawDescriptor;
use virtio_queue::desc::split::Descriptor;
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::*;
use crate::memory::Memory;
use crate::net::{NetLink, OffloadHeader, Offloads};
use crate::rate::{RateLimit, RateLimits};
use crate::virtio::Interrupt;

const ENTRIES: u16 = 16;
const AVAILABLE: u64 = 0x1000;
const USED: u64 = 0x2000;
const BUFFERS: u64 = 0x10_0000;
const HEADER: u32 = 12;
const ALL_OFFLOADS: Offloads = Offloads {
    checksum: true,
    tso4: true,
    tso6: true,
    ecn: true,
};

/// A network that is a socket, so that it can be full, and its other end can go.
struct Wire {
    socket: UnixDatagram,
    offloads: Offloads,
    log: Arc<Mutex<Log>>,
}

#[derive(Default)]
struct Log {
    used_offloads: Vec<Offloads>,
    sent: Vec<OffloadHeader>,
    /// What frames for the guest come with.
    next: OffloadHeader,
    /// Whether receiving finds out that the network is gone.
    gone: bool,
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl NetBackend for Wire {
    fn receive(&mut self, frame: &mut [u8], offload: &mut OffloadHeader) -> io::Result<usize> {
        let log = self.log.lock().unwrap();
        if log.gone {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        *offload = log.next;
        self.socket.recv(frame)
    }

    fn send(&mut self, frame: &[u8], offload: &OffloadHeader) -> io::Result<()> {
        self.socket.send(frame)?;
        self.log.lock().unwrap().sent.push(*offload);
        Ok(())
    }

    fn offloads(&self) -> Offloads {
        self.offloads
    }

    fn use_offloads(&mut self, offloads: Offloads) -> io::Result<()> {
        self.log.lock().unwrap().used_offloads.push(offloads);
        Ok(())
    }
}

/// The driver's side of a queue.
struct Ring {
    memory: Memory,
    base: u64,
    offered: u16,
    seen: u16,
    next_descriptor: u16,
}

impl Ring {
    /// Offers a chain of `(address, length, writable)`.
    fn offer(&mut self, parts: &[(u64, u32, bool)]) {
        let head = self.next_descriptor % ENTRIES;
        for (index, (address, length, writable)) in parts.iter().enumerate() {
            let place = self.next_descriptor % ENTRIES;
            self.next_descriptor += 1;
            let mut flags = u32::from(*writable) * VRING_DESC_F_WRITE;
            if index + 1 < parts.len() {
                flags |= VRING_DESC_F_NEXT;
            }
            let flags = u16::try_from(flags).unwrap();
            let next = self.next_descriptor % ENTRIES;
            let descriptor = Descriptor::new(*address, *length, flags, next);
            let at = self.base + 16 * u64::from(place);
            let descriptor = RawDescriptor::from(descriptor);
            self.memory.write_obj(descriptor, GuestAddress(at)).unwrap();
        }
        let slot = self.base + AVAILABLE + 4 + 2 * u64::from(self.offered % ENTRIES);
        self.memory.write_obj(head, GuestAddress(slot)).unwrap();
        self.offered += 1;
        let index = GuestAddress(self.base + AVAILABLE + 2);
        self.memory.write_obj(self.offered, index).unwrap();
    }

    /// The lengths of the chains that came back since the last call.
    fn used(&mut self) -> Vec<u32> {
        let index = GuestAddress(self.base + USED + 2);
        let end: u16 = self.memory.read_obj(index).unwrap();
        let mut lengths = Vec::new();
        while self.seen != end {
            let slot = self.base + USED + 4 + 8 * u64::from(self.seen % ENTRIES);
            lengths.push(self.memory.read_obj(GuestAddress(slot + 4)).unwrap());
            self.seen += 1;
        }
        lengths
    }
}

struct Bench {
    memory: Memory,
    device: NetDevice,
    queues: Vec<ServedQueue>,
    receive: Ring,
    transmit: Ring,
    kick: Arc<EventFd>,
    interrupt: Interrupt,
    peer: UnixDatagram,
    log: Arc<Mutex<Log>>,
    counters: Arc<NetCounters>,
    link: NetLink,
}

impl Bench {
    fn new() -> Self {
        Self::with(u64::MAX, Offloads::default(), |_| {})
    }

    /// A device whose driver accepts those of the offered features that are in `accepted`.
    fn with(accepted: u64, offloads: Offloads, change: impl FnOnce(&mut Net)) -> Self {
        let (socket, peer) = UnixDatagram::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        peer.set_nonblocking(true).unwrap();
        let log = Arc::<Mutex<Log>>::default();
        let mut net = Net::new(Wire {
            socket,
            offloads,
            log: Arc::clone(&log),
        });
        change(&mut net);
        let features = info(&net).features & accepted;
        let (counters, link) = (net.counters(), net.link());
        let memory = crate::memory::map(16).unwrap();
        let interrupt = Interrupt::new().unwrap();
        let kick = Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
        let mut device = NetDevice::new(net).unwrap();
        device.activate(features);
        let queue = |base: u64| {
            let mut queue = Queue::new(ENTRIES).unwrap();
            queue
                .try_set_desc_table_address(GuestAddress(base))
                .unwrap();
            queue
                .try_set_avail_ring_address(GuestAddress(base + AVAILABLE))
                .unwrap();
            queue
                .try_set_used_ring_address(GuestAddress(base + USED))
                .unwrap();
            queue.set_ready(true);
            ServedQueue::new(queue, memory.clone(), interrupt.clone(), Arc::clone(&kick))
        };
        let ring = |base| Ring {
            memory: memory.clone(),
            base,
            offered: 0,
            seen: 0,
            next_descriptor: 0,
        };
        let mut bench = Self {
            queues: vec![queue(0x4000), queue(0x8000)],
            receive: ring(0x4000),
            transmit: ring(0x8000),
            memory,
            device,
            kick,
            interrupt,
            peer,
            log,
            counters,
            link,
        };
        bench.serve(Event::Queue(0));
        bench.serve(Event::Queue(1));
        bench
    }

    fn serve(&mut self, event: Event) {
        self.device.serve(event, &mut self.queues).unwrap();
    }

    /// Serves sources for as long as one is readable, but not for long.
    fn serve_sources(&mut self) {
        for _ in 0..100 {
            let Some(source) = self.readable() else {
                return;
            };
            self.serve(Event::Source(source));
        }
        panic!("a source stays readable");
    }

    /// A source that asks to be served.
    fn readable(&self) -> Option<usize> {
        self.device.sources().into_iter().position(|fd| {
            let epoll = Epoll::new().unwrap();
            let event = EpollEvent::new(EventSet::IN, 0);
            epoll.ctl(ControlOperation::Add, fd, event).unwrap();
            epoll.wait(0, &mut [EpollEvent::default()]).unwrap() == 1
        })
    }

    fn send(&mut self, header: [u8; 12], frame: &[u8]) {
        let packet = [&header[..], frame].concat();
        self.memory
            .write_slice(&packet, GuestAddress(BUFFERS))
            .unwrap();
        let length = u32::try_from(packet.len()).unwrap();
        self.transmit.offer(&[(BUFFERS, length, false)]);
        self.serve(Event::Queue(1));
    }

    fn sent(&self) -> Option<Vec<u8>> {
        let mut frame = vec![0; 70_000];
        let length = self.peer.recv(&mut frame).ok()?;
        frame.truncate(length);
        Some(frame)
    }

    fn bytes(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.memory
            .read_slice(&mut bytes, GuestAddress(address))
            .unwrap();
        bytes
    }
}

fn frame(length: usize) -> Vec<u8> {
    (0..=255).cycle().take(length).collect()
}

#[test]
fn a_frame_goes_out_as_the_driver_scattered_it() {
    let mut bench = Bench::new();
    let frame = frame(1514);
    bench
        .memory
        .write_slice(&frame[..5], GuestAddress(BUFFERS + 12))
        .unwrap();
    bench
        .memory
        .write_slice(&frame[5..], GuestAddress(BUFFERS + 0x1000))
        .unwrap();
    bench.transmit.offer(&[
        (BUFFERS, 7, false),
        (BUFFERS + 7, 10, false),
        (BUFFERS + 0x1000, 1509, false),
    ]);
    bench.serve(Event::Queue(1));
    assert_eq!(bench.sent(), Some(frame));
    assert_eq!(bench.transmit.used(), [0]);
    assert_eq!(bench.interrupt.pending(), 1);
    let sent = bench.counters.sent();
    assert_eq!((sent.frames, sent.bytes, sent.dropped), (1, 1514, 0));
}

#[test]
fn what_is_no_frame_is_dropped_and_counted() {
    let mut bench = Bench::new();
    let chains: [&[(u64, u32, bool)]; 7] = [
        &[(BUFFERS, HEADER + 13, false)],
        &[(BUFFERS, 3, false)],
        &[(BUFFERS, HEADER + 1519, false)],
        &[(BUFFERS, u32::MAX, false)],
        &[(1 << 40, 100, false)],
        &[(BUFFERS, 100, true)],
        &[(BUFFERS, 100, true), (BUFFERS, 100, false)],
    ];
    for chain in chains {
        bench.transmit.offer(chain);
        bench.serve(Event::Queue(1));
        assert_eq!(bench.transmit.used(), [0]);
        assert_eq!(bench.sent(), None);
    }
    bench.send([0; 12], &frame(14));
    bench.send([0; 12], &frame(1518));
    assert_eq!(bench.counters.sent().frames, 2);
    // Chains that are refused as such never were frames.
    assert_eq!(bench.counters.sent().dropped, 4);
}

#[test]
fn a_frame_fills_as_many_buffers_as_it_takes_and_they_come_back_together() {
    let mut bench = Bench::new();
    for index in 0..4 {
        bench
            .receive
            .offer(&[(BUFFERS + index * 0x1000, 500, true)]);
    }
    bench.serve(Event::Queue(0));
    let frame = frame(1200);
    bench.peer.send(&frame).unwrap();
    bench.serve_sources();
    assert_eq!(bench.receive.used(), [500, 500, 212]);
    assert_eq!(bench.interrupt.pending(), 1);
    let parts = [(0, 500), (0x1000, 500), (0x2000, 212)];
    let packet: Vec<u8> = parts
        .iter()
        .flat_map(|(at, n)| bench.bytes(BUFFERS + at, *n))
        .collect();
    assert_eq!(packet[..12], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0]);
    assert_eq!(packet[12..], frame);
    assert_eq!(bench.counters.received().bytes, 1200);
    // The fourth is still there for the next one.
    bench.peer.send(&frame[..100]).unwrap();
    bench.serve_sources();
    assert_eq!(bench.receive.used(), [112]);
}

#[test]
fn a_guest_without_buffers_costs_nothing_and_gets_its_frames_later() {
    let mut bench = Bench::new();
    bench.peer.send(&frame(60)).unwrap();
    bench.peer.send(&frame(61)).unwrap();
    bench.serve_sources();
    assert_eq!(bench.receive.used(), [0; 0]);
    // More that comes wakes nobody either.
    bench.peer.send(&frame(62)).unwrap();
    assert_eq!(bench.readable(), None);
    // One buffer is too little for the second frame, whose part it is; so it waits.
    bench.receive.offer(&[(BUFFERS, 72, true)]);
    bench.receive.offer(&[(BUFFERS + 0x1000, 40, true)]);
    bench.serve(Event::Queue(0));
    assert_eq!(bench.receive.used(), [72]);
    assert_eq!(bench.readable(), None);
    bench.receive.offer(&[(BUFFERS + 0x2000, 40, true)]);
    bench.receive.offer(&[(BUFFERS + 0x3000, 80, true)]);
    bench.serve(Event::Queue(0));
    bench.serve_sources();
    assert_eq!(bench.receive.used(), [40, 33, 74]);
    assert_eq!(bench.counters.received().frames, 3);
    assert_eq!(bench.counters.received().dropped, 0);
}

#[test]
fn a_frame_that_no_buffers_can_hold_is_dropped() {
    let mut bench = Bench::new();
    for _ in 0..ENTRIES {
        bench.receive.offer(&[(BUFFERS, 20, true)]);
    }
    bench.serve(Event::Queue(0));
    bench.peer.send(&frame(1000)).unwrap();
    bench.peer.send(&frame(20)).unwrap();
    bench.peer.send(&frame(3)).unwrap();
    bench.peer.send(&frame(1519)).unwrap();
    bench.serve_sources();
    assert_eq!(bench.receive.used(), [20, 12]);
    assert_eq!(bench.counters.received().dropped, 3);
}

#[test]
fn a_driver_that_merges_no_buffers_gets_each_frame_in_one() {
    let mut bench = Bench::with(
        !(1 << net::VIRTIO_NET_F_MRG_RXBUF),
        Offloads::default(),
        |_| {},
    );
    bench.receive.offer(&[(BUFFERS, 100, true)]);
    bench
        .receive
        .offer(&[(BUFFERS, 12, true), (BUFFERS + 12, 1514, true)]);
    bench.serve(Event::Queue(0));
    bench.peer.send(&frame(89)).unwrap();
    bench.peer.send(&frame(88)).unwrap();
    bench.peer.send(&frame(1514)).unwrap();
    bench.serve_sources();
    assert_eq!(bench.receive.used(), [100, 1526]);
    assert_eq!(bench.counters.received().dropped, 1);
    assert_eq!(bench.bytes(BUFFERS + 10, 2), [1, 0]);
}

#[test]
fn a_full_network_holds_the_guest_up_until_there_is_room() {
    let mut bench = Bench::new();
    let numbered = |number: u16| number.to_be_bytes().repeat(20);
    let mut sent = 0u16;
    loop {
        bench.send([0; 12], &numbered(sent));
        sent += 1;
        if bench.transmit.used().is_empty() {
            break;
        }
    }
    assert!(sent > 1, "a socket takes some frames");
    assert_eq!(
        bench.readable(),
        None,
        "a full network does not make the device spin"
    );
    for number in 0..sent {
        assert_eq!(bench.sent(), Some(numbered(number)));
        bench.serve_sources();
    }
    assert_eq!(bench.transmit.used(), [0]);
    assert_eq!(bench.sent(), None);
    assert_eq!(bench.counters.sent().dropped, 0);
}

#[test]
fn frames_that_wait_are_dropped_when_receiving_finds_the_network_gone() {
    let mut bench = Bench::new();
    let mut sent = 0;
    loop {
        bench.send([0; 12], &frame(60));
        if bench.transmit.used().is_empty() {
            break;
        }
        sent += 1;
    }
    assert!(sent > 0, "a socket takes some frames");
    bench.log.lock().unwrap().gone = true;
    bench.receive.offer(&[(BUFFERS, 2000, true)]);
    bench.serve(Event::Queue(0));
    assert_eq!(bench.transmit.used(), [0]);
    assert_eq!(bench.counters.sent().dropped, 1);
}

#[test]
fn without_its_network_a_device_drops_frames_and_stays_quiet() {
    let mut bench = Bench::new();
    bench.receive.offer(&[(BUFFERS, 2000, true)]);
    bench.serve(Event::Queue(0));
    let (_, other) = UnixDatagram::pair().unwrap();
    drop(std::mem::replace(&mut bench.peer, other));
    for _ in 0..3 {
        bench.send([0; 12], &frame(60));
    }
    bench.serve_sources();
    assert_eq!(bench.transmit.used(), [0, 0, 0]);
    assert_eq!(bench.counters.sent().dropped, 3);
    bench.device.reset();
    assert_eq!(bench.readable(), None);
}

#[test]
fn only_what_was_negotiated_is_left_to_the_network() {
    let checksum = [1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 7, 7];
    let segments = [1, 1, 54, 0, 0, 5, 34, 0, 16, 0, 0, 0];
    let csum = 1u64 << net::VIRTIO_NET_F_CSUM;
    let tso4 = 1u64 << net::VIRTIO_NET_F_HOST_TSO4;
    let base = COMMON_FEATURES | 1 << net::VIRTIO_NET_F_MRG_RXBUF;
    for (features, takes_checksum, takes_segments) in [
        (base, false, false),
        (base | csum, true, false),
        (base | tso4, false, false),
        (base | csum | tso4, true, true),
    ] {
        let mut bench = Bench::with(features, ALL_OFFLOADS, |_| {});
        bench.send(checksum, &frame(60));
        assert_eq!(bench.sent().is_some(), takes_checksum);
        bench.send(segments, &frame(4000));
        assert_eq!(bench.sent().is_some(), takes_segments);
        if takes_checksum {
            let mut header = checksum;
            header[10..].fill(0);
            assert_eq!(bench.log.lock().unwrap().sent[0].to_bytes(), header);
        }
    }
}

#[test]
fn only_what_was_negotiated_is_left_to_the_guest() {
    let csum = 1u64 << net::VIRTIO_NET_F_GUEST_CSUM;
    let tso6 = 1u64 << net::VIRTIO_NET_F_GUEST_TSO6;
    let base = COMMON_FEATURES | 1 << net::VIRTIO_NET_F_MRG_RXBUF;
    for (features, checksum, wide) in [(base, false, false), (base | csum | tso6, true, true)] {
        let mut bench = Bench::with(features, ALL_OFFLOADS, |_| {});
        let used = Offloads {
            checksum,
            tso6: wide,
            ..Offloads::default()
        };
        assert_eq!(bench.log.lock().unwrap().used_offloads, [used]);
        bench.receive.offer(&[(BUFFERS, 5000, true)]);
        bench.serve(Event::Queue(0));
        // The network says that the checksum is right, and leaves the cut into packets of 1000 bytes.
        let (cut, size) = if wide { (4, 1000u16) } else { (0, 0) };
        let [low, high] = size.to_le_bytes();
        let valid = OffloadHeader::from_bytes([2, cut, 0, 0, low, high, 0, 0, 0, 0, 0, 0]);
        bench.log.lock().unwrap().next = valid;
        bench.peer.send(&frame(4000)).unwrap();
        bench.peer.send(&frame(60)).unwrap();
        bench.serve_sources();
        let length = if wide { 4012 } else { 72 };
        assert_eq!(bench.receive.used(), [length]);
        assert_eq!(bench.bytes(BUFFERS, 1), [2 * u8::from(checksum)]);
    }
}

#[test]
fn frames_keep_to_the_mtu_whatever_is_left_to_the_network() {
    let mut bench = Bench::with(u64::MAX, ALL_OFFLOADS, |net| net.mtu = Some(1000));
    let cut_into = |size: u16, kind: u8, tcp_at: u8| {
        let [low, high] = size.to_le_bytes();
        [1, kind, 54, 0, low, high, tcp_at, 0, 16, 0, 0, 0]
    };
    let tcp_of = |words: u8, at: usize| {
        let mut frame = frame(9000);
        frame[at + 12] = words << 4;
        frame
    };
    for (size, kind, tcp_at, words) in [
        // Packets of 1000 bytes: TCP without options behind IPv4 and IPv6, and behind a VLAN tag.
        (960, 1, 34, 5),
        (940, 4, 54, 5),
        (940, 0x84, 54, 5),
        (960, 1, 38, 5),
        // All options that TCP and IPv4 have room for, and room for a tag that is not there.
        (884, 1, 74, 15),
    ] {
        for (more, passes) in [(0, true), (1, false)] {
            let sent = tcp_of(words, tcp_at.into());
            bench.send(cut_into(size + more, kind, tcp_at), &sent);
            assert_eq!(bench.sent().is_some(), passes, "{size} + {more}, {kind}");
        }
    }
    // Who does not say where TCP is has at least a header of it.
    for (size, passes) in [(960, true), (961, false)] {
        let mut header = cut_into(size, 1, 0);
        header[0] = 0;
        bench.send(header, &frame(9000));
        assert_eq!(bench.sent().is_some(), passes, "{size}");
    }
    bench.send([0; 12], &frame(1018));
    assert_eq!(bench.sent().map(|sent| sent.len()), Some(1018));
    bench.send([0; 12], &frame(1019));
    assert_eq!(bench.sent(), None);
    assert_eq!(bench.counters.sent().dropped, 7);
}

#[test]
fn packets_that_the_network_leaves_to_the_guest_keep_to_its_mtu() {
    let features = u64::MAX;
    let mut bench = Bench::with(features, ALL_OFFLOADS, |net| net.mtu = Some(1000));
    for (size, passes) in [(960u16, true), (961, false)] {
        bench.receive.offer(&[(BUFFERS, 5000, true)]);
        bench.serve(Event::Queue(0));
        let [low, high] = size.to_le_bytes();
        let cut = OffloadHeader::from_bytes([1, 1, 54, 0, low, high, 34, 0, 16, 0, 0, 0]);
        bench.log.lock().unwrap().next = cut;
        let mut sent = frame(4000);
        sent[34 + 12] = 5 << 4;
        bench.peer.send(&sent).unwrap();
        bench.serve_sources();
        assert_eq!(!bench.receive.used().is_empty(), passes, "{size}");
    }
    assert_eq!(bench.counters.received().dropped, 1);
}

#[test]
fn what_the_driver_sees_follows_from_the_configuration() {
    let (socket, _peer) = UnixDatagram::pair().unwrap();
    let mut net = Net::new(Wire {
        socket,
        offloads: Offloads::default(),
        log: Arc::default(),
    });
    let seen = config_space(&net, 3);
    assert_eq!(seen[..6], [0x02, 0x76, 0x6d, 0, 0, 3]);
    let common = COMMON_FEATURES
        | 1 << net::VIRTIO_NET_F_MAC
        | 1 << net::VIRTIO_NET_F_STATUS
        | 1 << net::VIRTIO_NET_F_MRG_RXBUF;
    assert_eq!(info(&net).features, common);
    net.mac = Some([2, 1, 2, 3, 4, 5]);
    net.mtu = Some(9000);
    let seen = config_space(&net, 3);
    assert_eq!(seen[..6], [2, 1, 2, 3, 4, 5]);
    assert_eq!(seen[10..], 9000u16.to_le_bytes());
    assert_eq!(info(&net).features, common | 1 << net::VIRTIO_NET_F_MTU);
}

#[test]
fn limited_frames_wait_and_none_is_lost() {
    let limits = RateLimits {
        operations: Some(RateLimit {
            per_second: 100,
            burst: 1,
        }),
        bytes: None,
    };
    let mut bench = Bench::with(u64::MAX, Offloads::default(), |net| {
        net.transmit_limiter.set(limits).unwrap();
        net.receive_limiter.set(limits).unwrap();
    });
    for index in 0..5 {
        bench
            .receive
            .offer(&[(BUFFERS + 0x1000 * (index + 1), 100, true)]);
    }
    bench.serve(Event::Queue(0));
    let begun = Instant::now();
    for _ in 0..5 {
        bench.peer.send(&frame(60)).unwrap();
        bench.send([0; 12], &frame(60));
    }
    let (mut sent, mut received) = (bench.transmit.used().len(), 0);
    assert_eq!(sent, 1);
    while sent < 5 || received < 5 {
        assert!(begun.elapsed() < Duration::from_secs(10));
        // What waits for its time does not wake anybody before.
        std::thread::sleep(Duration::from_millis(1));
        bench.serve_sources();
        sent += bench.transmit.used().len();
        received += bench.receive.used().len();
    }
    assert!(begun.elapsed() >= Duration::from_millis(40));
    assert_eq!(
        bench.counters.sent().dropped + bench.counters.received().dropped,
        0
    );
}

/// What the driver reads as the device's address, status and MTU.
fn seen(bench: &Bench) -> (Vec<u8>, u16, u16) {
    let config = bench.device.live_config().unwrap();
    let mut bytes = [0; CONFIG_BYTES];
    config.read(0, &mut bytes);
    let mut status = [0; 2];
    config.read(6, &mut status);
    let [mac @ .., s0, s1, _, _, m0, m1] = bytes;
    assert_eq!([s0, s1], status);
    (
        mac.to_vec(),
        u16::from_le_bytes(status),
        u16::from_le_bytes([m0, m1]),
    )
}

/// The reasons for interrupts since the last call.
fn interrupts(bench: &Bench) -> u32 {
    let pending = bench.interrupt.pending();
    bench.interrupt.acknowledge(pending);
    pending
}

fn with_driver() -> Bench {
    let bench = Bench::new();
    bench.interrupt.add_status(VIRTIO_CONFIG_S_DRIVER_OK);
    let config = bench.device.live_config().unwrap();
    config.connect(bench.interrupt.clone());
    bench
}

#[test]
fn a_cable_that_is_pulled_out_is_seen_and_lets_nothing_pass() {
    let mut bench = with_driver();
    let config = bench.device.live_config().unwrap();
    assert_eq!(seen(&bench), (vec![2, 0x76, 0x6d, 0, 0, 0], 1, 1500));
    bench.receive.offer(&[(BUFFERS, 100, true)]);
    bench.serve(Event::Queue(0));
    let before = config.generation();
    bench.link.set_up(false);
    bench.link.set_up(false);
    assert_eq!((seen(&bench).1, config.generation() - before), (0, 1));
    assert_eq!(interrupts(&bench), VIRTIO_MMIO_INT_CONFIG);
    bench.send([0; 12], &frame(60));
    bench.peer.send(&frame(60)).unwrap();
    bench.serve_sources();
    assert_eq!(bench.sent(), None);
    assert_eq!(bench.transmit.used(), [0]);
    assert_eq!(bench.receive.used(), [0; 0]);
    let counters = &bench.counters;
    let dropped = (counters.sent().dropped, counters.received().dropped);
    assert_eq!(dropped, (1, 1));
    bench.link.set_up(true);
    assert_eq!(seen(&bench).1, 1);
    bench.send([0; 12], &frame(61));
    bench.peer.send(&frame(62)).unwrap();
    bench.serve_sources();
    assert_eq!(bench.sent(), Some(frame(61)));
    assert_eq!(bench.receive.used(), [74]);
}

#[test]
fn a_network_that_is_gone_takes_the_link_down_until_the_guest_starts_anew() {
    let mut bench = with_driver();
    bench.receive.offer(&[(BUFFERS, 100, true)]);
    bench.serve(Event::Queue(0));
    bench.log.lock().unwrap().gone = true;
    bench.peer.send(&frame(60)).unwrap();
    bench.serve_sources();
    assert!(!bench.link.is_up());
    assert_eq!(interrupts(&bench), VIRTIO_MMIO_INT_CONFIG);
    // Wanting it does not bring it back.
    bench.link.set_up(true);
    assert_eq!((seen(&bench).1, interrupts(&bench)), (0, 0));
    bench.device.reset();
    bench.device.activate(COMMON_FEATURES);
    assert_eq!(seen(&bench).1, 1);
}

#[test]
fn the_owner_is_told_once_that_a_network_is_gone_however_often_a_guest_asks_for_it_again() {
    let mut bench = with_driver();
    let told = Arc::<Mutex<Vec<String>>>::default();
    let listener = Arc::clone(&told);
    let events = Events::new(Some(Box::new(move |event| {
        listener.lock().unwrap().push(format!("{event:?}"));
    })));
    bench.device = bench.device.telling(events, 3);
    bench.log.lock().unwrap().gone = true;
    for _ in 0..3 {
        bench.serve(Event::Queue(0));
        assert!(!bench.link.is_up());
        bench.device.reset();
        bench.device.activate(COMMON_FEATURES);
        assert!(bench.link.is_up());
    }
    let expected = "NetworkLost { net: 3, error: Kind(ConnectionReset) }";
    assert_eq!(*told.lock().unwrap(), [expected]);
}

#[test]
fn buffers_in_crumbs_cost_a_turn_no_more_than_its_share() {
    const CRUMBS: u16 = 1000;
    let mut bench = Bench::with(u64::MAX, Offloads::default(), |net| net.mtu = Some(9000));
    let table = BUFFERS + 0x10_000;
    for place in 0..CRUMBS {
        let last = place + 1 == CRUMBS;
        let flags = VRING_DESC_F_WRITE | if last { 0 } else { VRING_DESC_F_NEXT };
        let flags = u16::try_from(flags).unwrap();
        let crumb = RawDescriptor::from(Descriptor::new(BUFFERS, 1, flags, place + 1));
        let at = GuestAddress(table + 16 * u64::from(place));
        bench.memory.write_obj(crumb, at).unwrap();
    }
    for _ in 0..ENTRIES {
        bench
            .receive
            .offer(&[(table, 16 * u32::from(CRUMBS), false)]);
    }
    let indirect = u16::try_from(VRING_DESC_F_INDIRECT).unwrap();
    for place in 0..u64::from(ENTRIES) {
        let entry = Descriptor::new(table, 16 * u32::from(CRUMBS), indirect, 0);
        let at = GuestAddress(bench.receive.base + 16 * place);
        bench
            .memory
            .write_obj(RawDescriptor::from(entry), at)
            .unwrap();
    }
    bench.serve(Event::Queue(0));
    for _ in 0..6 {
        bench.peer.send(&frame(9000)).unwrap();
    }
    bench.serve(Event::Source(0));
    // 5000 descriptors for each are more than a frame is worth, and four are more than a turn.
    assert_eq!(bench.counters.received().dropped, 4);
    assert_eq!(bench.kick.read().unwrap(), 1);
    bench.serve(Event::Queue(0));
    assert_eq!(bench.counters.received().dropped, 6);
    // What needs fewer is delivered.
    bench.peer.send(&frame(1500)).unwrap();
    bench.serve_sources();
    assert_eq!(bench.receive.used(), [1000, 512]);
}

#[test]
fn a_turn_ends_though_frames_keep_coming() {
    /// A network that always has a frame that is too short.
    struct Flood(UnixDatagram);
    impl AsFd for Flood {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }
    impl NetBackend for Flood {
        fn receive(&mut self, _: &mut [u8], _: &mut OffloadHeader) -> io::Result<usize> {
            Ok(1)
        }
        fn send(&mut self, _: &[u8], _: &OffloadHeader) -> io::Result<()> {
            Ok(())
        }
    }
    let mut bench = Bench::new();
    let (socket, _peer) = UnixDatagram::pair().unwrap();
    bench.device = NetDevice::new(Net::new(Flood(socket))).unwrap();
    bench.device.activate(COMMON_FEATURES);
    bench.serve(Event::Queue(0));
    assert_eq!(bench.kick.read().unwrap(), 1);
}

#[test]
fn a_reset_forgets_the_frame_that_waits() {
    let mut bench = Bench::new();
    bench.peer.send(&frame(60)).unwrap();
    bench.serve_sources();
    bench.device.reset();
    bench
        .device
        .activate(COMMON_FEATURES | 1 << net::VIRTIO_NET_F_MRG_RXBUF);
    bench.receive.offer(&[(BUFFERS, 100, true)]);
    bench.serve(Event::Queue(0));
    assert_eq!(bench.receive.used(), [0; 0]);
    bench.peer.send(&frame(50)).unwrap();
    bench.serve_sources();
    assert_eq!(bench.receive.used(), [62]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What goes out is what the driver's buffers hold, however a frame is scattered over them.
    #[test]
    fn frames_go_out_byte_by_byte_as_scattered(
        length in 14usize..1519,
        cuts in proptest::collection::vec(0usize..600, 0..12),
    ) {
        let mut bench = Bench::new();
        bench.memory.write_slice(&[0xee; 0x2_0000], GuestAddress(BUFFERS)).unwrap();
        let packet = [vec![0; 12], frame(length)].concat();
        let (mut rest, mut parts) = (&packet[..], Vec::new());
        for (place, cut) in (0u64..).zip(cuts.into_iter().chain([usize::MAX])) {
            let (piece, others) = rest.split_at(rest.len().min(cut));
            rest = others;
            let address = BUFFERS + place * 0x1003;
            bench.memory.write_slice(piece, GuestAddress(address)).unwrap();
            parts.push((address, u32::try_from(piece.len()).unwrap(), false));
        }
        bench.transmit.offer(&parts);
        bench.serve(Event::Queue(1));
        prop_assert_eq!(bench.sent(), Some(packet[12..].to_vec()));
        prop_assert_eq!(bench.transmit.used(), [0]);
    }

    /// What comes in lies in the driver's buffers in order, and nothing is written beside it.
    #[test]
    fn frames_come_in_to_buffers_of_any_size_and_nowhere_else(
        lengths in proptest::collection::vec(14usize..1519, 1..5),
        rooms in proptest::collection::vec(0u32..900, 1..16),
    ) {
        let mut bench = Bench::new();
        let all = 0x10_000;
        bench.memory.write_slice(&vec![0xee; all], GuestAddress(BUFFERS)).unwrap();
        for (place, room) in (0u64..).zip(&rooms) {
            bench.receive.offer(&[(BUFFERS + place * 0x1000, *room, true)]);
        }
        bench.serve(Event::Queue(0));
        for length in &lengths {
            bench.peer.send(&frame(*length)).unwrap();
        }
        bench.serve_sources();
        let used = bench.receive.used();
        let mut expected = vec![0xee; all];
        let (mut place, mut left) = (0, &rooms[..]);
        for length in lengths {
            let needed = u32::try_from(12 + length).unwrap();
            let mut room = 0;
            let Some(count) = left.iter().position(|r| { room += r; room >= needed }) else {
                break;
            };
            let mut packet = [vec![0; 12], frame(length)].concat();
            packet[10] = u8::try_from(count + 1).unwrap();
            let mut rest = &packet[..];
            for room in &left[..=count] {
                let (piece, others) = rest.split_at(rest.len().min(*room as usize));
                rest = others;
                expected[place * 0x1000..][..piece.len()].copy_from_slice(piece);
                prop_assert_eq!(used[place] as usize, piece.len());
                place += 1;
            }
            left = &left[count + 1..];
        }
        prop_assert_eq!(used.len(), place);
        prop_assert!(bench.bytes(BUFFERS, all) == expected);
    }

    /// Whatever the driver writes to its rings, turns end, and only its own memory goes out.
    #[test]
    fn hostile_rings_do_no_harm(
        rings in proptest::collection::vec(any::<u8>(), 0x300),
        at in 0u64..0x100,
        available in any::<u16>(),
        features in any::<u64>(),
    ) {
        let mut bench = Bench::with(features, ALL_OFFLOADS, |_| {});
        for base in [0x4000, 0x8000] {
            bench.memory.write_slice(&rings, GuestAddress(base + at)).unwrap();
            let index = GuestAddress(base + AVAILABLE + 2);
            bench.memory.write_obj(available % (2 * ENTRIES), index).unwrap();
            bench.memory.write_slice(&rings[..0x20], GuestAddress(base + AVAILABLE + 4)).unwrap();
        }
        for _ in 0..4 {
            let _ = bench.peer.send(&frame(60));
            for event in [Event::Queue(0), Event::Queue(1), Event::Source(0)] {
                if bench.device.serve(event, &mut bench.queues).is_err() {
                    return Ok(());
                }
            }
            while let Some(sent) = bench.sent() {
                prop_assert!(sent.len() >= 14);
            }
        }
    }
}
