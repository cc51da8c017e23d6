//! The virtio network device (virtio 1.2, section 5.1) and what its frames go to.
//!
//! `device` moves frames between the queues and a [`NetBackend`], on the device's thread. Backends: `tap`, an
//! interface of the host; `stream`, a process such as `passt` behind a socket; `switch`, other VMs of this
//! process.

mod backend;
mod config;
mod counters;
mod device;
mod error;
mod header;
mod link;
mod receive;
mod rules;
mod state;
mod stream;
mod switch;
mod tap;
mod transmit;
mod watch;

pub use backend::{NetBackend, Offloads};
pub use config::{MAX_MTU, MIN_MTU, Net};
pub use counters::{NetCounters, NetTraffic};
pub(crate) use device::{NetDevice, info};
pub use error::NetError;
pub use header::OffloadHeader;
pub(crate) use link::Link;
pub use link::NetLink;
pub use state::NetState;
pub use stream::FrameStream;
pub use switch::{Switch, SwitchPort};
pub use tap::Tap;

/// Ethernet's header: two addresses and a type.
pub(crate) const MIN_FRAME_BYTES: usize = 14;
/// What a frame has besides its packet: Ethernet's header and a VLAN tag.
const FRAME_OVERHEAD_BYTES: usize = 18;
/// The longest packet that IP can express.
const MAX_PACKET_BYTES: usize = 65535;
/// The longest frame, in bytes, that ever goes to or comes from a [`NetBackend`].
pub const MAX_FRAME_BYTES: usize = MAX_PACKET_BYTES + FRAME_OVERHEAD_BYTES;

/// An Ethernet address.
type Mac = [u8; 6];
/// The bit of an address' first byte that says that it is for many.
const MULTICAST: u8 = 1;
