//! The device: what its driver sees, and what it does when something happens.
//!
//! Invariant: the device waits for its backend only while it can do something about what it hears, so that a
//! guest without buffers, or a full backend, costs nothing.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;

use virtio_bindings::bindings::virtio_net as net;
use vmm_sys_util::epoll::EventSet;

use super::config::DEFAULT_MTU;
use super::link::Link;
use super::receive::{ReceiveEnd, Receiver};
use super::rules::{GUEST_BITS, HOST_BITS, Rules, offload_features};
use super::transmit::{SendEnd, Transmitter};
use super::watch::Watch;
use super::{Net, NetBackend, NetCounters};
use crate::calls::{Calls, CountedNet};
use crate::event::{Event as OwnerEvent, Events};
use crate::rate::RateGate;
use crate::virtio::{
    COMMON_FEATURES, DeviceInfo, Event, Handler, LiveConfig, QueueError, ServedQueue,
};

const DEVICE_ID: u32 = 1;
/// Receive and transmit queue.
const QUEUE_SIZES: &[u16] = &[256, 256];
const TRANSMIT: usize = 1;
const CONFIG_BYTES: usize = 12;
/// Places of the device's sources: the backend, and what wakes each direction when its limits do.
const RECEIVE_GATE: usize = 1;
const TRANSMIT_GATE: usize = RECEIVE_GATE + RateGate::SOURCES;

/// What the driver sees of `net`, besides what its link shows.
pub(crate) fn info(net: &Net) -> DeviceInfo {
    let mut features = COMMON_FEATURES
        | 1 << net::VIRTIO_NET_F_MAC
        | 1 << net::VIRTIO_NET_F_STATUS
        | 1 << net::VIRTIO_NET_F_MRG_RXBUF
        | offload_features(net.backend.offloads());
    if net.mtu.is_some() {
        features |= 1 << net::VIRTIO_NET_F_MTU;
    }
    DeviceInfo {
        id: DEVICE_ID,
        features,
        queue_sizes: QUEUE_SIZES,
        config: Vec::new(),
    }
}

/// `struct virtio_net_config` of virtio 1.2, section 5.1.4, of the VM's network device at this place: address, status,
/// queue pairs, MTU. The status is filled in when it is read.
fn config_space(net: &Net, index: usize) -> Vec<u8> {
    let mut config = vec![0; CONFIG_BYTES];
    config[..6].copy_from_slice(&net.mac_at(index));
    config[8..10].copy_from_slice(&1u16.to_le_bytes());
    config[10..].copy_from_slice(&net.mtu.unwrap_or(DEFAULT_MTU).to_le_bytes());
    config
}

/// A network device at work.
pub(crate) struct NetDevice {
    backend: Box<dyn NetBackend>,
    watch: Watch,
    mtu: u16,
    receiver: Receiver,
    transmitter: Transmitter,
    /// What is worth being told of the backend's descriptor, for each direction.
    receive_wish: EventSet,
    send_wish: EventSet,
    link: Arc<Link>,
    /// Whether the network is there, as far as is known.
    connected: bool,
    /// Whether it was said that it isn't: a guest can bring that about again by resets.
    reported: bool,
    /// Who is told, and by which number they know the device.
    events: Events,
    index: usize,
}

impl NetDevice {
    /// The device of `net`, whose address is [settled](Net::settle_mac).
    ///
    /// # Errors
    /// If the backend's descriptor can't be waited for, or there are no descriptors left.
    pub(crate) fn new(net: Net) -> io::Result<Self> {
        let counters: Arc<NetCounters> = net.counters();
        net.link.show(config_space(&net, 0));
        Ok(Self {
            watch: Watch::new(net.backend.as_fd())?,
            mtu: net.mtu.unwrap_or(DEFAULT_MTU),
            receiver: Receiver::new(RateGate::new(&net.receive_limiter)?, Arc::clone(&counters)),
            transmitter: Transmitter::new(RateGate::new(&net.transmit_limiter)?, counters),
            backend: net.backend,
            link: net.link,
            receive_wish: EventSet::empty(),
            send_wish: EventSet::empty(),
            connected: true,
            reported: false,
            events: Events::default(),
            index: 0,
        })
    }

    /// The same device, the VM's network device number `index`, which tells `events` when its network is gone.
    pub(crate) fn telling(self, events: Events, index: usize) -> Self {
        Self {
            events,
            index,
            ..self
        }
    }

    /// The same device, whose calls of the backend count as `calls`.
    pub(crate) fn calling_as(self, calls: Arc<Calls>) -> Self {
        let backend = Box::new(CountedNet::new(self.backend, calls));
        Self { backend, ..self }
    }

    fn receive(&mut self, queue: &mut ServedQueue) -> Result<(), QueueError> {
        if !self.connected {
            return Ok(());
        }
        self.receive_wish = EventSet::empty();
        match self
            .receiver
            .run(&mut *self.backend, queue, self.link.is_up())?
        {
            ReceiveEnd::NoFrame => self.receive_wish = EventSet::IN,
            ReceiveEnd::NoBuffer | ReceiveEnd::Limited => {}
            ReceiveEnd::Gone(error) => self.lose(error),
        }
        Ok(())
    }

    fn transmit(&mut self, queue: &mut ServedQueue) -> Result<(), QueueError> {
        self.send_wish = EventSet::empty();
        let (connected, up) = (self.connected, self.link.is_up());
        match self
            .transmitter
            .run(&mut *self.backend, queue, connected, up)?
        {
            SendEnd::NoFrame | SendEnd::Limited => {}
            SendEnd::Blocked => self.send_wish = EventSet::OUT,
            SendEnd::Gone(error) => self.lose(error),
        }
        Ok(())
    }

    fn lose(&mut self, error: io::Error) {
        self.connected = false;
        self.link.set_connected(false);
        if !std::mem::replace(&mut self.reported, true) {
            let net = self.index;
            tracing::warn!(%error, net, "a network device lost its network");
            let error = Arc::new(error);
            self.events.tell(OwnerEvent::NetworkLost { net, error });
        }
    }

    /// Waits for what the device can do something about.
    fn watch(&mut self) {
        if !self.connected {
            self.forget_wishes();
        }
        if let Err(error) = self.watch.set(self.receive_wish | self.send_wish) {
            self.lose(error);
        }
    }

    fn forget_wishes(&mut self) {
        self.receive_wish = EventSet::empty();
        self.send_wish = EventSet::empty();
    }
}

impl Handler for NetDevice {
    fn activate(&mut self, features: u64) {
        self.receiver.rules = Rules::new(features, GUEST_BITS, self.mtu);
        self.transmitter.rules = Rules::new(features, HOST_BITS, self.mtu);
        self.connected = true;
        self.link.set_connected(true);
        if let Err(error) = self.backend.use_offloads(self.receiver.rules.offloads) {
            self.lose(error);
        }
    }

    fn reset(&mut self) {
        self.receiver.reset();
        self.transmitter.reset();
        self.forget_wishes();
        self.watch();
    }

    fn live_config(&self) -> Option<Arc<dyn LiveConfig>> {
        Some(Arc::clone(&self.link) as Arc<dyn LiveConfig>)
    }

    fn sources(&self) -> Vec<RawFd> {
        let mut sources = vec![self.watch.as_raw_fd()];
        sources.extend(self.receiver.gate.sources());
        sources.extend(self.transmitter.gate.sources());
        sources
    }

    fn serve(&mut self, event: Event, queues: &mut [ServedQueue]) -> Result<(), QueueError> {
        let [receive, transmit] = queues else {
            // The device is idle, or its queues were wrecked.
            self.receiver.gate.rearm();
            self.transmitter.gate.rearm();
            self.forget_wishes();
            self.watch();
            return Ok(());
        };
        let (sends, receives) = match event {
            Event::Queue(TRANSMIT) => (true, false),
            Event::Queue(_) => (false, true),
            Event::Source(RECEIVE_GATE..TRANSMIT_GATE) => {
                self.receiver.gate.rearm();
                (false, true)
            }
            Event::Source(TRANSMIT_GATE..) => {
                self.transmitter.gate.rearm();
                (true, false)
            }
            Event::Source(_) => (!self.send_wish.is_empty(), !self.receive_wish.is_empty()),
        };
        let was_connected = self.connected;
        if sends {
            self.transmit(transmit)?;
        }
        if receives {
            self.receive(receive)?;
        }
        self.watch();
        if was_connected && !self.connected {
            // Frames that wait for the network would wait for ever: this drops them.
            self.transmit(transmit)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
