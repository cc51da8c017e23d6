//! A guest that sends any vsock packets, in any order, to a host that uses its streams.
//!
//! Oracles: the guest never gets more than it has said it has room for; both directions of each connection are
//! a gapless run of what was written; nothing that is held grows past its limit; the guest hears nothing of a
//! connection that it broke off, and no reset of a kind that it did not ask for.
#![no_main]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use vmm_core::fuzzing::{GuestPort, PACKET_HEADER_BYTES};
use vmm_core::{HOST_CID, VsockHost, VsockListener, VsockStream};

const GUEST_CID: u32 = 3;
/// The host's ports for connections of its own begin here.
const FIRST_HOST_PORT: u32 = 1 << 30;
const MAX_STREAMS: usize = 24;
const MAX_CONNECTIONS: usize = 1024;
const MAX_RESETS: usize = 256;
/// More packets than all streams' buffers make when the guest takes 4 KiB at a time.
const MAX_PACKETS_LEFT: usize = MAX_STREAMS * 64 + MAX_CONNECTIONS * 4 + MAX_RESETS;
const NO_WAIT: Option<Duration> = Some(Duration::from_nanos(1));

const REQUEST: u16 = 1;
const RESPONSE: u16 = 2;
const RST: u16 = 3;
const RW: u16 = 5;

#[derive(Arbitrary, Debug)]
enum Step {
    Listen(u8),
    Unlisten,
    Accept,
    Connect(u8),
    /// The guest accepts what the host last asked for.
    Answer {
        credit: u16,
    },
    /// The guest connects in the way that drivers do.
    Request {
        host_port: u8,
        guest_port: u8,
        credit: u16,
    },
    Write {
        stream: u8,
        bytes: u16,
    },
    Read {
        stream: u8,
        bytes: u16,
    },
    ShutDownWrite {
        stream: u8,
    },
    ShutDown {
        stream: u8,
    },
    Drop {
        stream: u8,
    },
    Packet(Packet),
    Data {
        host_port: u8,
        guest_port: u8,
        own: bool,
        bytes: u16,
        credit: u16,
    },
    Bytes([u8; PACKET_HEADER_BYTES]),
    Take {
        room: Room,
        count: u8,
    },
    ResetDevice,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Packet {
    host_port: u8,
    /// Whether the port is one of those that the host connects from.
    own: bool,
    guest_port: u8,
    op: u8,
    odd: Odd,
    flags: u8,
    buf_alloc: u32,
    fwd_cnt: u32,
}

/// Packets that are not for this device, which should not be most of them.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum Odd {
    Not,
    NotEither,
    Kind,
    Cid,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Room {
    Any(u16),
    Page,
    Little(u8),
    None,
}

impl Room {
    fn bytes(self) -> usize {
        match self {
            Self::Any(room) => room.into(),
            Self::Page => 4096,
            Self::Little(room) => room.into(),
            Self::None => 0,
        }
    }
}

/// A run of bytes that tells of any gap: the writer's number in the upper bits, and a count in the lower.
#[derive(Clone, Copy, Debug)]
struct Run {
    writer: u8,
    count: usize,
}

impl Run {
    fn new(writer: usize) -> Self {
        Self {
            writer: (writer % 4) as u8,
            count: 0,
        }
    }

    fn byte(&self, at: usize) -> u8 {
        self.writer << 6 | ((self.count + at) % 64) as u8
    }

    fn next(&self, length: usize) -> Vec<u8> {
        (0..length).map(|at| self.byte(at)).collect()
    }

    /// Checks bytes that arrived; the first of all tells who wrote them.
    fn check(run: &mut Option<Self>, bytes: &[u8]) {
        let Some(first) = bytes.first() else {
            return;
        };
        let run = run.get_or_insert(Self::new(usize::from(first >> 6)));
        assert!(
            bytes
                .iter()
                .enumerate()
                .all(|(at, byte)| *byte == run.byte(at)),
            "a gap"
        );
        run.count += bytes.len();
    }
}

/// What the guest knows about a pair of ports.
struct Link {
    room: u32,
    taken: u32,
    got: u32,
    received: Option<Run>,
    sent: Run,
    /// Whether the guest broke it off, and neither side has asked for another one since.
    over: bool,
    /// Whether the guest has sent a packet that is of no stream.
    odd_kind: bool,
}

struct Stream {
    stream: VsockStream,
    written: Run,
    read: Option<Run>,
}

struct World {
    guest: GuestPort,
    host: VsockHost,
    listeners: Vec<VsockListener>,
    streams: Vec<Stream>,
    links: HashMap<(u32, u32), Link>,
    made: usize,
    /// Ports of the host's last request: its own, and the guest's.
    asked: Option<(u32, u32)>,
}

fn u16_at(header: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(header[at..at + 2].try_into().unwrap())
}

fn u32_at(header: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(header[at..at + 4].try_into().unwrap())
}

fn host_port(port: u8, own: bool) -> u32 {
    if own {
        FIRST_HOST_PORT + u32::from(port % 8)
    } else {
        u32::from(port % 3)
    }
}

impl World {
    fn new() -> Self {
        let guest = GuestPort::new(GUEST_CID);
        let host = guest.host();
        Self {
            guest,
            host,
            listeners: Vec::new(),
            streams: Vec::new(),
            links: HashMap::new(),
            made: 0,
            asked: None,
        }
    }

    /// A connection each way, so that few steps do much.
    fn with_connections() -> Self {
        let mut world = Self::new();
        world.step(Step::Listen(0));
        world.step(Step::Request {
            host_port: 0,
            guest_port: 0,
            credit: 1000,
        });
        world.step(Step::Accept);
        world.step(Step::Connect(1));
        world.step(Step::Take {
            room: Room::Page,
            count: 2,
        });
        world.step(Step::Answer { credit: 1000 });
        world
    }

    fn link(&mut self, ports: (u32, u32)) -> &mut Link {
        self.made += 1;
        let made = self.made;
        self.links.entry(ports).or_insert_with(|| Link {
            room: 0,
            taken: 0,
            got: 0,
            received: None,
            sent: Run::new(made),
            over: false,
            odd_kind: false,
        })
    }

    fn add(&mut self, stream: Option<VsockStream>) {
        let Some(stream) = stream else {
            return;
        };
        stream.set_read_timeout(NO_WAIT).unwrap();
        stream.set_write_timeout(NO_WAIT).unwrap();
        self.made += 1;
        self.streams.push(Stream {
            stream,
            written: Run::new(self.made),
            read: None,
        });
        if self.streams.len() > MAX_STREAMS {
            self.streams.remove(0);
        }
    }

    fn with_stream(&mut self, index: u8, act: impl FnOnce(&mut Stream)) {
        let count = self.streams.len().max(1);
        if let Some(stream) = self.streams.get_mut(usize::from(index) % count) {
            act(stream);
        }
    }

    /// Sends a packet, and remembers what it says about the guest's room.
    fn send(&mut self, header: &[u8; PACKET_HEADER_BYTES], data: &[u8]) {
        let cids = [
            u64::from(GUEST_CID).to_le_bytes(),
            u64::from(HOST_CID).to_le_bytes(),
        ];
        if header[..16] == cids.concat() {
            let link = self.link((u32_at(header, 20), u32_at(header, 16)));
            if u16_at(header, 28) == 1 {
                link.room = u32_at(header, 36);
                link.taken = u32_at(header, 40);
                match u16_at(header, 30) {
                    REQUEST => (link.sent.count, link.over) = (0, false),
                    RST => link.over = true,
                    _ => {}
                }
            } else {
                link.odd_kind = true;
            }
        }
        self.guest.send(header, data);
    }

    fn odd(&mut self, packet: Packet) {
        let ports = (
            host_port(packet.host_port, packet.own),
            u32::from(packet.guest_port % 3),
        );
        self.packet(ports, packet, u16::from(packet.op % 9), 0);
    }

    /// A packet of a guest that reads everything, and says how much more it has room for.
    fn polite(&mut self, ports: (u32, u32), op: u16, credit: u16, length: usize) {
        let packet = Packet {
            host_port: 0,
            own: false,
            guest_port: 0,
            op: 0,
            odd: Odd::Not,
            flags: 0,
            buf_alloc: credit.into(),
            fwd_cnt: if op == REQUEST {
                0
            } else {
                self.link(ports).got
            },
        };
        self.packet(ports, packet, op, length);
    }

    fn packet(&mut self, ports: (u32, u32), packet: Packet, op: u16, length: usize) {
        let (host_port, guest_port) = ports;
        let data = self.link(ports).sent.next(length);
        let mut header = [0; PACKET_HEADER_BYTES];
        header[0] = GUEST_CID as u8 + u8::from(packet.odd == Odd::Cid);
        header[8] = HOST_CID as u8;
        header[16..20].copy_from_slice(&guest_port.to_le_bytes());
        header[20..24].copy_from_slice(&host_port.to_le_bytes());
        header[24..28].copy_from_slice(&(length as u32).to_le_bytes());
        header[28] = 1 + u8::from(packet.odd == Odd::Kind);
        header[30..32].copy_from_slice(&op.to_le_bytes());
        header[32] = packet.flags;
        header[36..40].copy_from_slice(&packet.buf_alloc.to_le_bytes());
        header[40..44].copy_from_slice(&packet.fwd_cnt.to_le_bytes());
        self.send(&header, &data);
        if !matches!(packet.odd, Odd::Kind | Odd::Cid) {
            self.link(ports).sent.count += length;
        }
    }

    /// Takes a packet into a buffer with `room`, and checks it; `false` if there was none.
    fn take(&mut self, room: usize) -> bool {
        let Some((header, data)) = self.guest.take(room) else {
            return false;
        };
        assert!(data.len() <= room);
        assert_eq!(u32_at(&header, 24) as usize, data.len());
        assert_eq!(
            (u32_at(&header, 0), u32_at(&header, 8)),
            (HOST_CID, GUEST_CID)
        );
        let op = u16_at(&header, 30);
        assert!((REQUEST..=7).contains(&op));
        assert_eq!(op == RW, !data.is_empty());
        let link = self.link((u32_at(&header, 16), u32_at(&header, 20)));
        assert!(u16_at(&header, 28) == 1 || op == RST && link.odd_kind);
        if op == REQUEST || op == RESPONSE {
            (link.got, link.received, link.over) = (0, None, false);
        }
        assert!(
            op == RST || !link.over,
            "a packet of a connection that is over"
        );
        if op == REQUEST {
            link.sent.count = 0;
            self.asked = Some((u32_at(&header, 16), u32_at(&header, 20)));
        } else if op == RW {
            link.got = link.got.wrapping_add(data.len() as u32);
            assert!(
                link.got.wrapping_sub(link.taken) <= link.room,
                "more than there is room for"
            );
            Run::check(&mut link.received, &data);
        }
        true
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Listen(port) => self
                .listeners
                .extend(self.host.listen(host_port(port, false))),
            Step::Unlisten => drop(self.listeners.pop()),
            Step::Accept => {
                let accept = |listener: &VsockListener| listener.accept(NO_WAIT).ok();
                let stream = self.listeners.iter().find_map(accept);
                self.add(stream);
            }
            Step::Connect(port) => self.add(self.guest.connect(u32::from(port % 3))),
            Step::Write { stream, bytes } => self.with_stream(stream, |stream| {
                let bytes = stream.written.next(bytes.into());
                stream.written.count += stream.stream.write(&bytes).unwrap_or(0);
            }),
            Step::Read { stream, bytes } => self.with_stream(stream, |stream| {
                let mut bytes = vec![0; bytes.into()];
                let count = stream.stream.read(&mut bytes).unwrap_or(0);
                Run::check(&mut stream.read, &bytes[..count]);
            }),
            Step::ShutDownWrite { stream } => self.with_stream(stream, |stream| {
                let _may_be_over = stream.stream.shutdown_write();
            }),
            Step::ShutDown { stream } => self.with_stream(stream, |stream| {
                let _may_be_over = stream.stream.shutdown();
            }),
            Step::Drop { stream } => {
                if !self.streams.is_empty() {
                    self.streams
                        .remove(usize::from(stream) % self.streams.len());
                }
            }
            Step::Packet(packet) => self.odd(packet),
            Step::Data {
                host_port: port,
                guest_port,
                own,
                bytes,
                credit,
            } => {
                let ports = (host_port(port, own), u32::from(guest_port % 3));
                self.polite(ports, RW, credit, bytes.into());
            }
            Step::Answer { credit } => {
                if let Some(ports) = self.asked.take() {
                    self.polite(ports, RESPONSE, credit, 0);
                }
            }
            Step::Request {
                host_port: port,
                guest_port,
                credit,
            } => {
                let ports = (host_port(port, false), u32::from(guest_port % 3));
                self.polite(ports, REQUEST, credit, 0);
            }
            Step::Bytes(mut header) => {
                header[24..28].fill(0);
                self.send(&header, b"");
            }
            Step::Take { room, count } => {
                (0..count).all(|_| self.take(room.bytes()));
            }
            Step::ResetDevice => self.guest.reset(),
        }
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let mut world = World::with_connections();
    for step in steps {
        world.step(step);
        let (connections, in_line, resets) = world.guest.held();
        assert!(connections <= MAX_CONNECTIONS && in_line <= connections && resets <= MAX_RESETS);
    }
    let left = (0..=MAX_PACKETS_LEFT)
        .take_while(|_| world.take(4096))
        .count();
    assert!(left <= MAX_PACKETS_LEFT, "packets without end");
});
