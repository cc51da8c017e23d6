//! What driver and device have agreed on for the frames of each direction.

use virtio_bindings::bindings::virtio_net as net;

use super::{FRAME_OVERHEAD_BYTES, MAX_FRAME_BYTES, OffloadHeader, Offloads};

/// The feature bits for one direction: checksum, TSO for IPv4 and IPv6, ECN.
pub(super) type OffloadBits = [u32; 4];
/// What the guest may leave to the device.
pub(super) const HOST_BITS: OffloadBits = [
    net::VIRTIO_NET_F_CSUM,
    net::VIRTIO_NET_F_HOST_TSO4,
    net::VIRTIO_NET_F_HOST_TSO6,
    net::VIRTIO_NET_F_HOST_ECN,
];
/// What the device may leave to the guest.
pub(super) const GUEST_BITS: OffloadBits = [
    net::VIRTIO_NET_F_GUEST_CSUM,
    net::VIRTIO_NET_F_GUEST_TSO4,
    net::VIRTIO_NET_F_GUEST_TSO6,
    net::VIRTIO_NET_F_GUEST_ECN,
];

/// The features by which `offloads` are offered, in both directions.
pub(super) fn offload_features(offloads: Offloads) -> u64 {
    let offered = [
        offloads.checksum,
        offloads.checksum && offloads.tso4,
        offloads.checksum && offloads.tso6,
        offloads.checksum && (offloads.tso4 || offloads.tso6) && offloads.ecn,
    ];
    let both = HOST_BITS.into_iter().zip(GUEST_BITS).zip(offered);
    both.filter(|(_, offered)| *offered)
        .fold(0, |features, ((host, guest), _)| {
            features | 1 << host | 1 << guest
        })
}

/// What `features` leave to the other side, without what nothing may be made of alone (virtio 1.2, section
/// 5.1.3.1).
fn accepted(features: u64, bits: OffloadBits) -> Offloads {
    let [checksum, tso4, tso6, ecn] = bits.map(|bit| features & 1 << bit != 0);
    Offloads {
        checksum,
        tso4: checksum && tso4,
        tso6: checksum && tso6,
        ecn: checksum && ecn,
    }
}

/// What holds for frames of one direction since the driver set the device up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rules {
    /// What may be left to the receiver.
    pub(super) offloads: Offloads,
    /// The longest packet that a frame may hold, or be cut into.
    mtu: u16,
    /// The longest frame.
    pub(super) max_bytes: usize,
    /// Whether a frame may fill several buffers of the driver's.
    pub(super) mergeable: bool,
}

impl Rules {
    pub(super) fn new(features: u64, bits: OffloadBits, mtu: u16) -> Self {
        let offloads = accepted(features, bits);
        Self {
            offloads,
            mtu,
            max_bytes: if offloads.tso4 || offloads.tso6 {
                MAX_FRAME_BYTES
            } else {
                usize::from(mtu) + FRAME_OVERHEAD_BYTES
            },
            mergeable: features & 1 << net::VIRTIO_NET_F_MRG_RXBUF != 0,
        }
    }

    /// Whether a frame keeps to the MTU: as it is, or once it is cut.
    pub(super) fn allow(&self, frame: &[u8], header: &OffloadHeader) -> bool {
        let mtu = usize::from(self.mtu);
        let longest = mtu + FRAME_OVERHEAD_BYTES;
        header
            .cut(frame)
            .map_or(frame.len() <= longest, |(packet, frame)| {
                packet <= mtu && frame <= longest
            })
    }
}
