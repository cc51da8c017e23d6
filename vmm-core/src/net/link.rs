//! A network device's configuration space, in which its link comes and goes.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use virtio_bindings::bindings::virtio_net::VIRTIO_NET_S_LINK_UP;

use crate::virtio::{Interrupt, LiveConfig};

/// Where `status` lies in `struct virtio_net_config` (virtio 1.2, section 5.1.4).
const STATUS: usize = 6;

/// The cable of a network device: whether the guest sees a link. Clones are the same one; they outlive the VM
/// without harm.
///
/// The link is up while the embedder wants it to be, as at first, and the network is there: when a
/// [`NetBackend`](super::NetBackend) says that its network is gone, for instance because `passt` has ended, the
/// guest sees the link go down (on Linux, `carrier` of the interface), and up once it has set the device up anew.
/// While it is down, frames are dropped in both directions, but for those from the network that the guest had no
/// buffers for: they wait, here and with the backend, and are delivered when it is up.
#[derive(Clone)]
pub struct NetLink(Arc<Link>);

impl NetLink {
    pub(super) fn new(link: &Arc<Link>) -> Self {
        Self(Arc::clone(link))
    }

    /// Plugs the cable in, or pulls it out; also before the VM is started. A network that is gone is not back by that.
    pub fn set_up(&self, up: bool) {
        self.0.change(|state| state.wanted = up);
    }

    /// Whether the guest sees a link, or would if it looked.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.0.is_up()
    }
}

impl fmt::Debug for NetLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetLink")
            .field("up", &self.is_up())
            .finish()
    }
}

/// What [`NetLink`]s, the device and its registers share.
#[derive(Debug)]
pub(crate) struct Link {
    /// Whether the guest sees a link; changes under the lock.
    up: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    wanted: bool,
    connected: bool,
    /// The configuration space, but for the link.
    config: Vec<u8>,
    generation: u32,
    interrupt: Option<Interrupt>,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            up: AtomicBool::new(true),
            state: Mutex::new(State {
                wanted: true,
                connected: true,
                config: Vec::new(),
                generation: 0,
                interrupt: None,
            }),
        }
    }
}

impl Link {
    /// What the driver is to see besides the link.
    pub(super) fn show(&self, config: Vec<u8>) {
        self.lock().config = config;
    }

    /// The network is there, or gone.
    pub(super) fn set_connected(&self, connected: bool) {
        self.change(|state| state.connected = connected);
    }

    pub(super) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Whether the guest sees a link, and the generation of its configuration space.
    pub(crate) fn save(&self) -> (bool, u32) {
        let state = self.lock();
        (self.is_up(), state.generation)
    }

    /// Goes on for a driver that knows the link so; if it is otherwise now, the driver is told.
    pub(crate) fn take_over(&self, up: bool, generation: u32) {
        let mut state = self.lock();
        state.generation = generation;
        if self.is_up() != up {
            state.tell();
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let up = state.wanted && state.connected;
        if self.up.swap(up, Ordering::Relaxed) != up {
            state.tell();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Tells the driver that the configuration space is another one.
    fn tell(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        if let Some(interrupt) = &self.interrupt {
            interrupt.config_changed();
        }
    }
}

impl LiveConfig for Link {
    fn read(&self, offset: usize, data: &mut [u8]) {
        let state = self.lock();
        let status = if self.is_up() {
            VIRTIO_NET_S_LINK_UP
        } else {
            0
        }
        .to_le_bytes();
        let config = state.config.iter().copied().enumerate().skip(offset);
        for (byte, (at, value)) in data.iter_mut().zip(config) {
            *byte = match at {
                STATUS => status[0],
                _ => value,
            };
        }
    }

    fn write(&self, _: u64, _: usize, _: &[u8]) {}

    fn reset(&self) {}

    fn generation(&self) -> u32 {
        self.lock().generation
    }

    fn connect(&self, interrupt: Interrupt) {
        self.lock().interrupt = Some(interrupt);
    }

    fn disconnect(&self) {
        self.lock().interrupt = None;
    }
}
