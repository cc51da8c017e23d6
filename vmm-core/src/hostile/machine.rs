//! The machine that a hostile driver runs on, which is another one now and then.

use std::time::Instant;

use virtio_bindings::bindings::virtio_config::VIRTIO_CONFIG_S_NEEDS_RESET;

use super::peer::Peer;
use super::{BORDER, Device, HIGH_BYTES, LOW_END};
use crate::config::VmConfig;
use crate::layout::MMIO_GAP_END;
use crate::memory::{Memory, Pages, map_ranges};
use crate::state::{DeviceKindState, DeviceState};
use crate::vm::BareVm;

/// A machine with its device, and who is at the device's other end.
pub(super) struct Machine {
    device: Device,
    pub(super) bare: BareVm,
    pub(super) peer: Peer,
}

impl Machine {
    pub(super) fn start(device: Device) -> Self {
        let mut config = VmConfig::new("");
        let peer = Peer::new(device, &mut config);
        let bare = BareVm::start(config, memory());
        Self::new(device, bare, peer)
    }

    fn new(device: Device, bare: BareVm, mut peer: Peer) -> Self {
        peer.connect(&bare);
        Self { device, bare, peer }
    }

    /// Suspends the machine, and goes on with another one that has its memory and its state.
    pub(super) fn move_on(self) -> Self {
        let now = Instant::now();
        let failure = self.bare.failure();
        assert!(failure.is_none(), "{failure:?}");
        let (state, memory) = self.bare.suspend(now);
        let mut config = VmConfig::new("");
        let peer = Peer::new(self.device, &mut config);
        let next = match BareVm::restore(config, memory, &state, now) {
            Ok(next) => next,
            Err(error) => panic!("a state that was brought about is refused: {error}"),
        };
        let again = next.save(now);
        for (was, is) in state.devices.iter().zip(&again.devices) {
            assert_same(was, is);
        }
        Self::new(self.device, next, peer)
    }
}

/// Makes sure that a device is what it was, but for what it did since then.
fn assert_same(was: &DeviceState, is: &DeviceState) {
    let needs_reset = is.transport.status & VIRTIO_CONFIG_S_NEEDS_RESET != 0;
    assert_eq!(was.transport.status & !is.transport.status, 0, "its status");
    let lasting = |state: &DeviceState| {
        let mut transport = state.transport.clone();
        transport.status &= !VIRTIO_CONFIG_S_NEEDS_RESET;
        transport.interrupt_status = 0;
        for queue in &mut transport.queues {
            (queue.next_available, queue.next_used) = (0, 0);
        }
        if needs_reset {
            transport.queues.clear();
        }
        transport
    };
    assert_eq!(lasting(was), lasting(is));
    let is_told = |state: &DeviceState| state.transport.interrupt_status;
    assert_eq!(is_told(was) & !is_told(is), 0, "interrupts are lost");
    // The link is that of another network.
    if !matches!(was.kind, DeviceKindState::Net(_)) {
        assert_eq!(was.kind, is.kind);
    }
}

fn memory() -> Memory {
    let pieces = [
        (0, BORDER),
        (BORDER, LOW_END - BORDER),
        (MMIO_GAP_END, HIGH_BYTES),
    ];
    map_ranges(&pieces, Pages::Default).expect("the host has memory")
}
