//! A switch inside this process: VMs whose devices are its ports share one Ethernet network.
//!
//! Invariant: a port's descriptor is readable if and only if its queue holds a frame. No lock is held while a
//! frame is copied, and a sender waits for no receiver.

mod bell;
mod table;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use super::{MIN_FRAME_BYTES, MULTICAST, Mac, NetBackend, NetError, OffloadHeader};
use bell::Bell;
use table::Table;

/// The most frames that wait for a port's VM. What comes then is dropped.
const MAX_QUEUED_FRAMES: usize = 1024;
/// The most bytes that wait for a port's VM.
const MAX_QUEUED_BYTES: usize = 2 << 20;
/// How the addresses begin that ports suggest; the rest is the port's number.
const MAC_PREFIX: [u8; 3] = [0x02, 0x76, 0x6e];

/// A learning Ethernet switch. Clones are the same switch.
///
/// Each of its ports is a [`NetBackend`]. A frame goes to the port from which its destination was last heard,
/// and to all others if that is not known. A port whose VM does not keep up loses frames, and holds up
/// nobody.
#[derive(Clone, Default)]
pub struct Switch {
    shared: Arc<Shared>,
}

/// A place on a [`Switch`] for one VM, or for code of the embedder's. It leaves the switch when it is
/// dropped.
#[derive(Debug)]
pub struct SwitchPort {
    switch: Switch,
    port: Arc<Port>,
}

#[derive(Default)]
struct Shared {
    /// Replaced as a whole, so that a sender holds no lock while it goes through it.
    ports: RwLock<Arc<[Arc<Port>]>>,
    table: Mutex<Table>,
    next_number: AtomicU32,
    dropped: AtomicU64,
}

#[derive(Debug)]
struct Port {
    number: u32,
    queue: Mutex<Queue>,
    /// Set while the queue holds frames; changed under its lock.
    filled: Bell,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Arc<[u8]>>,
    bytes: usize,
}

impl Switch {
    /// A switch without ports.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A new port.
    ///
    /// # Errors
    /// [`NetError::Host`] if the process is out of descriptors.
    pub fn port(&self) -> Result<SwitchPort, NetError> {
        let filled = Bell::new().map_err(|source| NetError::Host {
            action: "make a descriptor for a port of a switch",
            source,
        })?;
        let port = Arc::new(Port {
            number: self.shared.next_number.fetch_add(1, Ordering::Relaxed),
            queue: Mutex::default(),
            filled,
        });
        self.change_ports(|ports| ports.push(Arc::clone(&port)));
        Ok(SwitchPort {
            switch: self.clone(),
            port,
        })
    }

    /// Frames that were dropped because the VM they were for did not keep up.
    #[must_use]
    pub fn dropped_frames(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    fn change_ports(&self, change: impl FnOnce(&mut Vec<Arc<Port>>)) {
        let ports = self.shared.ports.write();
        let mut ports = ports.unwrap_or_else(PoisonError::into_inner);
        let mut list = ports.to_vec();
        change(&mut list);
        *ports = list.into();
    }

    fn ports(&self) -> Arc<[Arc<Port>]> {
        let ports = self.shared.ports.read();
        Arc::clone(&ports.unwrap_or_else(PoisonError::into_inner))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        let table = self.shared.table.lock();
        table.unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends `frame`, which came from the port `from`, to where it should go at `now`.
    fn forward(&self, from: u32, frame: &[u8], now: Instant) {
        let Some((target, rest)) = frame.split_first_chunk::<6>() else {
            return;
        };
        let Some(source) = rest
            .first_chunk::<6>()
            .filter(|_| frame.len() >= MIN_FRAME_BYTES)
        else {
            return;
        };
        let known = {
            let mut table = self.table();
            table.learn(*source, from, now);
            table.find(*target, now)
        };
        if known == Some(from) {
            return;
        }
        let ports = self.ports();
        let is_meant = |port: &&Arc<Port>| known.map_or(port.number != from, |n| port.number == n);
        let mut copy: Option<Arc<[u8]>> = None;
        for port in ports.iter().filter(is_meant) {
            let frame = copy.get_or_insert_with(|| frame.into());
            if !port.push(Arc::clone(frame)) {
                self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Port {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a frame; `false` if there is no room.
    fn push(&self, frame: Arc<[u8]>) -> bool {
        let mut queue = self.queue();
        let is_full =
            queue.frames.len() >= MAX_QUEUED_FRAMES || queue.bytes + frame.len() > MAX_QUEUED_BYTES;
        if is_full {
            return false;
        }
        queue.bytes += frame.len();
        queue.frames.push_back(frame);
        if queue.frames.len() == 1 {
            self.filled.set();
        }
        true
    }

    fn pop(&self) -> Option<Arc<[u8]>> {
        let mut queue = self.queue();
        let frame = queue.frames.pop_front()?;
        queue.bytes -= frame.len();
        if queue.frames.is_empty() {
            self.filled.clear();
        }
        Some(frame)
    }
}

impl NetBackend for SwitchPort {
    fn receive(&mut self, frame: &mut [u8], _offload: &mut OffloadHeader) -> io::Result<usize> {
        let next = self.port.pop().ok_or(io::ErrorKind::WouldBlock)?;
        let target = frame.get_mut(..next.len()).ok_or_else(|| {
            let reason = "the next frame is longer than the buffer for it";
            io::Error::new(io::ErrorKind::InvalidInput, reason)
        })?;
        target.copy_from_slice(&next);
        Ok(next.len())
    }

    fn send(&mut self, frame: &[u8], _offload: &OffloadHeader) -> io::Result<()> {
        self.switch.forward(self.port.number, frame, Instant::now());
        Ok(())
    }

    fn suggested_mac(&self) -> Option<[u8; 6]> {
        let [a, b, c] = MAC_PREFIX;
        let [_, d, e, f] = self.port.number.to_be_bytes();
        Some([a, b, c, d, e, f])
    }
}

impl AsFd for SwitchPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.port.filled.as_fd()
    }
}

impl Drop for SwitchPort {
    fn drop(&mut self) {
        let number = self.port.number;
        self.switch
            .change_ports(|ports| ports.retain(|port| port.number != number));
        self.switch.table().forget(number);
    }
}

impl fmt::Debug for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Switch")
            .field("ports", &self.ports().len())
            .field("dropped_frames", &self.dropped_frames())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("frames", &self.frames.len())
            .field("bytes", &self.bytes)
            .finish()
    }
}

#[cfg(test)]
mod tests;
