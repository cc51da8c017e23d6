//! `struct virtio_net_hdr` (virtio 1.2, section 5.1.6): what is left to do for a frame.
//!
//! flags u8, gso_type u8, hdr_len u16, gso_size u16, csum_start u16, csum_offset u16, num_buffers u16;
//! little-endian.

use virtio_bindings::bindings::virtio_net as net;

use super::Offloads;

pub(super) const HEADER_BYTES: usize = 12;
/// Bytes of an Internet checksum.
const CHECKSUM_BYTES: usize = 2;
/// Bytes of headers without options.
const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
const TCP_BYTES: usize = 20;
/// Where a TCP header says in its upper four bits how many words of it there are.
const TCP_OFFSET_AT: usize = 12;
const WORD_BYTES: usize = 4;

const NEEDS_CHECKSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCP4: u8 = 1;
const GSO_TCP6: u8 = 4;
const GSO_ECN: u8 = 0x80;
const _: () = assert!(
    NEEDS_CHECKSUM as u32 == net::VIRTIO_NET_HDR_F_NEEDS_CSUM
        && DATA_VALID as u32 == net::VIRTIO_NET_HDR_F_DATA_VALID
        && GSO_TCP4 as u32 == net::VIRTIO_NET_HDR_GSO_TCPV4
        && GSO_TCP6 as u32 == net::VIRTIO_NET_HDR_GSO_TCPV6
        && GSO_ECN as u32 == net::VIRTIO_NET_HDR_GSO_ECN
);

/// What there is left to do for a frame; the default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OffloadHeader {
    flags: u8,
    gso_type: u8,
    header_length: u16,
    gso_size: u16,
    checksum_start: u16,
    checksum_offset: u16,
}

impl OffloadHeader {
    /// Reads a `struct virtio_net_hdr_v1`, as TAP interfaces have it.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 12]) -> Self {
        let [flags, gso_type, h0, h1, g0, g1, s0, s1, o0, o1, _, _] = bytes;
        Self {
            flags,
            gso_type,
            header_length: u16::from_le_bytes([h0, h1]),
            gso_size: u16::from_le_bytes([g0, g1]),
            checksum_start: u16::from_le_bytes([s0, s1]),
            checksum_offset: u16::from_le_bytes([o0, o1]),
        }
    }

    /// Its bytes, with 0 as the number of buffers.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 12] {
        self.with_buffers(0)
    }

    /// Its bytes for a driver that gets the frame in so many buffers.
    pub(super) fn with_buffers(self, buffers: u16) -> [u8; HEADER_BYTES] {
        let [h0, h1] = self.header_length.to_le_bytes();
        let [g0, g1] = self.gso_size.to_le_bytes();
        let [s0, s1] = self.checksum_start.to_le_bytes();
        let [o0, o1] = self.checksum_offset.to_le_bytes();
        let [n0, n1] = buffers.to_le_bytes();
        [
            self.flags,
            self.gso_type,
            h0,
            h1,
            g0,
            g1,
            s0,
            s1,
            o0,
            o1,
            n0,
            n1,
        ]
    }

    /// What a sender may leave to a receiver that takes `offloads`, for a frame of `length` bytes; `None` if
    /// this header asks for anything else, or contradicts itself.
    pub(super) fn checked(self, length: usize, offloads: Offloads) -> Option<Self> {
        if !offloads.checksum {
            // That the checksum is right already may be said, but is nothing to such a receiver.
            let is_plain = self.flags & NEEDS_CHECKSUM == 0 && self.gso_type == GSO_NONE;
            return is_plain.then(Self::default);
        }
        let needs_checksum = self.flags & NEEDS_CHECKSUM != 0;
        let end =
            usize::from(self.checksum_start) + usize::from(self.checksum_offset) + CHECKSUM_BYTES;
        if needs_checksum && end > length {
            return None;
        }
        let mut checked = Self {
            flags: self.flags & (NEEDS_CHECKSUM | DATA_VALID),
            gso_type: self.gso_type,
            ..Self::default()
        };
        if needs_checksum {
            checked.checksum_start = self.checksum_start;
            checked.checksum_offset = self.checksum_offset;
        }
        if self.gso_type != GSO_NONE {
            let may_cut = match self.gso_type & !GSO_ECN {
                GSO_TCP4 => offloads.tso4,
                GSO_TCP6 => offloads.tso6,
                _ => false,
            };
            let fits = usize::from(self.header_length) <= length && self.gso_size > 0;
            let ecn_fits = self.gso_type & GSO_ECN == 0 || offloads.ecn;
            if !(may_cut && fits && ecn_fits) {
                return None;
            }
            checked.header_length = self.header_length;
            checked.gso_size = self.gso_size;
        }
        Some(checked)
    }

    /// What `frame`, if it is to be cut, makes: the least length of its longest packet, and the length of the frame
    /// around that, as far as the frame's own headers tell it.
    pub(super) fn cut(&self, frame: &[u8]) -> Option<(usize, usize)> {
        let ip_bytes = match self.gso_type & !GSO_ECN {
            GSO_NONE => return None,
            GSO_TCP6 => IPV6_BYTES,
            _ => IPV4_BYTES,
        };
        let data = usize::from(self.gso_size);
        let packet = ip_bytes + TCP_BYTES + data;
        // Only who leaves the checksum, as drivers must for what is to be cut, says where the TCP header is.
        let headers = match self.flags & NEEDS_CHECKSUM {
            0 => 0,
            _ => end_of_tcp_header(frame, self.checksum_start.into()),
        };
        Some((packet, headers + data))
    }

    /// Without what only a device may say.
    pub(super) fn without_device_bits(self) -> Self {
        Self {
            flags: self.flags & NEEDS_CHECKSUM,
            ..self
        }
    }
}

/// Where the TCP header of `frame` that starts at `start` ends (RFC 9293, section 3.1).
fn end_of_tcp_header(frame: &[u8], start: usize) -> usize {
    let words = frame.get(start + TCP_OFFSET_AT).map_or(0, |byte| byte >> 4);
    start + WORD_BYTES * usize::from(words)
}

#[cfg(test)]
mod tests;
