//! One connection: its buffers, its credit both ways, and what it has to tell the guest.
//!
//! Invariants: at most [`RECEIVE_BYTES`] wait for the host's reader and [`SEND_BYTES`] for the guest; no
//! more is sent than the guest has said it has room for.

mod forwarding;

use std::collections::VecDeque;
use std::sync::{Arc, Condvar};

use super::packet::{Header, SHUTDOWN_RECEIVE, SHUTDOWN_SEND, TYPE_STREAM, op};

/// Bytes from the guest that may wait for the host's reader; the guest is told.
pub(super) const RECEIVE_BYTES: u32 = 256 << 10;
/// Bytes from the host's writer that may wait for the guest.
pub(super) const SEND_BYTES: usize = 256 << 10;
/// The guest hears of room in the receive buffer when this much has been read since it last heard.
const CREDIT_STEP: u32 = RECEIVE_BYTES / 4;

/// Who talks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ports {
    pub(super) host: u32,
    pub(super) guest: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The host has asked, and the guest has not answered.
    Connecting,
    Open,
    /// One side refused it or broke it off, or the VM is gone. The guest may still have to hear of that.
    Reset,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) ports: Ports,
    pub(super) state: State,
    /// Whether a handle of the host's is there, or still in a listener's backlog.
    pub(super) owned: bool,
    /// Whether the connection is in the mux's list of those with something to send.
    pub(super) queued: bool,
    pub(super) changed: Arc<Condvar>,
    /// Whether the host's side is a socket, and whether it is about to hear of something.
    pub(super) watched: bool,
    pub(super) is_news: bool,
    received: VecDeque<u8>,
    unsent: VecDeque<u8>,
    /// Control packets that are due, each at most once.
    due: Due,
    /// The guest's side has said that it will send, or receive, no more.
    guest_sends_no_more: bool,
    guest_receives_no_more: bool,
    host_sends_no_more: bool,
    host_receives_no_more: bool,
    sent: u32,
    guest_buffer: u32,
    guest_taken: u32,
    taken: u32,
    told_taken: u32,
}

#[derive(Debug, Default)]
struct Due {
    reset: bool,
    request: bool,
    response: bool,
    credit: bool,
    shutdown: bool,
}

impl Connection {
    /// A connection that the host asks for.
    pub(super) fn outgoing(ports: Ports) -> Self {
        Self {
            ports,
            state: State::Connecting,
            owned: true,
            queued: false,
            changed: Arc::new(Condvar::new()),
            watched: false,
            is_news: false,
            received: VecDeque::new(),
            unsent: VecDeque::new(),
            due: Due {
                request: true,
                ..Due::default()
            },
            guest_sends_no_more: false,
            guest_receives_no_more: false,
            host_sends_no_more: false,
            host_receives_no_more: false,
            sent: 0,
            guest_buffer: 0,
            guest_taken: 0,
            taken: 0,
            told_taken: 0,
        }
    }

    /// A connection that the guest has asked for with `header`, and gets.
    pub(super) fn incoming(ports: Ports, header: &Header) -> Self {
        let mut connection = Self::outgoing(ports);
        connection.state = State::Open;
        connection.due = Due {
            response: true,
            ..Due::default()
        };
        connection.note_credit(header);
        connection
    }

    /// Takes in what every packet says about the guest's buffer.
    pub(super) fn note_credit(&mut self, header: &Header) {
        self.guest_buffer = header.buf_alloc;
        self.guest_taken = header.fwd_cnt;
    }

    /// Room in the guest's buffer. A guest that claims to have taken more than it got has none.
    fn credit(&self) -> u32 {
        let in_flight = self.sent.wrapping_sub(self.guest_taken);
        self.guest_buffer.saturating_sub(in_flight)
    }

    /// Takes data from the guest. `false`: there is more than the guest was told there is room for.
    pub(super) fn receive(&mut self, data: &[u8]) -> bool {
        let used = self.received.len();
        if data.len() > (RECEIVE_BYTES as usize).saturating_sub(used) {
            return false;
        }
        if self.host_receives_no_more {
            // Nobody will read it; it counts as read, so that the guest isn't stuck.
            self.count_taken(data.len());
        } else {
            self.received.extend(data);
        }
        true
    }

    /// Moves received bytes into `target`; returns how many.
    pub(super) fn read(&mut self, target: &mut [u8]) -> usize {
        let count = target.len().min(self.received.len());
        let (front, back) = self.received.as_slices();
        let from_front = count.min(front.len());
        target[..from_front].copy_from_slice(&front[..from_front]);
        target[from_front..count].copy_from_slice(&back[..count - from_front]);
        self.received.drain(..count);
        self.count_taken(count);
        count
    }

    fn count_taken(&mut self, count: usize) {
        let count = u32::try_from(count).expect("the receive buffer is smaller than 4 GiB");
        self.taken = self.taken.wrapping_add(count);
        let is_much = self.taken.wrapping_sub(self.told_taken) >= CREDIT_STEP;
        // Who has nothing more to send, or has forgotten the connection, has no use for it; the ports may belong to
        // another one by now.
        if is_much && self.state == State::Open && !self.guest_sends_no_more {
            self.due.credit = true;
        }
    }

    /// Whether nothing more will come out of [`read`](Self::read).
    pub(super) fn at_end(&self) -> bool {
        self.received.is_empty() && (self.guest_sends_no_more || self.host_receives_no_more)
    }

    /// Whether bytes can still be sent.
    pub(super) fn can_send(&self) -> bool {
        self.state == State::Open && !self.host_sends_no_more && !self.guest_receives_no_more
    }

    /// Takes bytes from the host's writer; returns how many there was room for.
    pub(super) fn write(&mut self, source: &[u8]) -> usize {
        let count = source.len().min(SEND_BYTES - self.unsent.len());
        self.unsent.extend(&source[..count]);
        count
    }

    /// Shuts down the host's directions; the guest hears of it once all that was written is sent.
    pub(super) fn shut_down(&mut self, send: bool, receive: bool) {
        let news = send && !self.host_sends_no_more || receive && !self.host_receives_no_more;
        self.host_sends_no_more |= send;
        self.host_receives_no_more |= receive;
        if receive {
            let count = self.received.len();
            self.received.clear();
            self.count_taken(count);
        }
        self.due.shutdown |= news && self.state == State::Open;
    }

    /// Takes in a shutdown by the guest. `true`: both directions are, and the guest waits for a reset.
    pub(super) fn guest_shut_down(&mut self, flags: u32) -> bool {
        self.guest_receives_no_more |= flags & SHUTDOWN_RECEIVE != 0;
        self.guest_sends_no_more |= flags & SHUTDOWN_SEND != 0;
        if self.guest_receives_no_more {
            self.unsent.clear();
        }
        self.guest_receives_no_more && self.guest_sends_no_more
    }

    /// The guest is told how much room there is, because it asked.
    pub(super) fn owe_credit(&mut self) {
        self.due.credit = true;
    }

    /// Whether the guest has not yet heard of the connection.
    pub(super) fn is_unasked(&self) -> bool {
        self.due.request
    }

    /// Ends the connection without a word to the guest. What it had sent can still be read.
    pub(super) fn end(&mut self, cleanly: bool) {
        self.state = State::Reset;
        self.due = Due::default();
        self.unsent.clear();
        self.guest_receives_no_more = true;
        self.guest_sends_no_more |= cleanly;
    }

    /// Breaks the connection off: what was not sent or not read is dropped, and a reset is the only thing that the guest
    /// still hears.
    pub(super) fn break_off(&mut self) {
        self.state = State::Reset;
        self.unsent.clear();
        self.received.clear();
        self.due = Due {
            reset: true,
            ..Due::default()
        };
    }

    /// Whether [`next_packet`](Self::next_packet) would give a packet.
    pub(super) fn has_packet(&self) -> bool {
        let due = &self.due;
        due.reset
            || due.request
            || due.response
            || due.credit
            || due.shutdown && self.unsent.is_empty()
            || self.can_push_data()
    }

    fn can_push_data(&self) -> bool {
        self.state == State::Open && !self.unsent.is_empty() && self.credit() > 0
    }

    /// The next packet for the guest, its data (at most `room` bytes) appended to `data`.
    pub(super) fn next_packet(&mut self, room: usize, data: &mut Vec<u8>) -> Option<Header> {
        let mut flags = 0;
        let op = if std::mem::take(&mut self.due.reset) {
            op::RST
        } else if std::mem::take(&mut self.due.request) {
            op::REQUEST
        } else if std::mem::take(&mut self.due.response) {
            op::RESPONSE
        } else if room > 0 && self.can_push_data() {
            let credit = usize::try_from(self.credit()).unwrap_or(room);
            let count = self.unsent.len().min(room).min(credit);
            let (front, back) = self.unsent.as_slices();
            let from_front = count.min(front.len());
            data.extend_from_slice(&front[..from_front]);
            data.extend_from_slice(&back[..count - from_front]);
            self.unsent.drain(..count);
            let count = u32::try_from(count).expect("credit is a u32, and count no more");
            self.sent = self.sent.wrapping_add(count);
            op::RW
        } else if self.due.shutdown && self.unsent.is_empty() {
            self.due.shutdown = false;
            flags |= u32::from(self.host_sends_no_more) * SHUTDOWN_SEND;
            flags |= u32::from(self.host_receives_no_more) * SHUTDOWN_RECEIVE;
            op::SHUTDOWN
        } else if self.due.credit {
            op::CREDIT_UPDATE
        } else {
            return None;
        };
        // Every packet carries the credit.
        self.due.credit = false;
        self.told_taken = self.taken;
        Some(Header {
            src_port: self.ports.host,
            dst_port: self.ports.guest,
            length: u32::try_from(data.len()).expect("credit is a u32, and data no longer"),
            kind: TYPE_STREAM,
            op,
            flags,
            buf_alloc: RECEIVE_BYTES,
            fwd_cnt: self.taken,
            ..Header::default()
        })
    }
}
