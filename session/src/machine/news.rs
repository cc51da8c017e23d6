//! What of a VM's events is told to the session's owner.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vmm_core::{Backend, Event as VmEvent};

use crate::error::one_line;
use crate::event::{Device, Event, Events};

/// Who hears of a VM's events.
#[derive(Debug)]
pub(super) struct News {
    pub(super) events: Arc<Events>,
    /// The names of the drives behind the root's disk, in the order in which the VM has them.
    pub(super) drives: Vec<String>,
    /// Set when the guest is reset by a triple fault.
    pub(super) has_tripped: Arc<AtomicBool>,
}

impl News {
    /// Takes note of an event. This is called on threads of the VM, so it waits for nothing.
    pub(super) fn hear(&self, event: VmEvent) {
        match event {
            VmEvent::TripleFault { .. } => self.has_tripped.store(true, Ordering::Release),
            VmEvent::StopDelayed { thread } => {
                tracing::warn!(thread, "the end of a guest waits for a call of its device");
            }
            event => {
                if let Some(told) = self.to_tell(event) {
                    tracing::warn!(event = %told, "a guest's device is in trouble");
                    self.events.tell(told);
                }
            }
        }
    }

    fn to_tell(&self, event: VmEvent) -> Option<Event> {
        match event {
            VmEvent::NetworkLost { net, error } => Some(Event::NetworkLost {
                network: net,
                message: one_line(&*error),
            }),
            VmEvent::BackendSlow {
                backend, elapsed, ..
            } => Some(Event::DeviceSlow {
                device: self.device(backend)?,
                waited: elapsed,
            }),
            // Failed requests are told by the disks, and how a run ends when the session has seen to that.
            _ => None,
        }
    }

    fn device(&self, backend: Backend) -> Option<Device> {
        match backend {
            Backend::Drive(drive) => Some(self.disk(drive)),
            Backend::Net(network) => Some(Device::Network { network }),
            _ => None,
        }
    }

    fn disk(&self, drive: usize) -> Device {
        let further = drive.checked_sub(1).and_then(|at| self.drives.get(at));
        further.map_or(Device::RootDisk, |name| Device::Drive {
            name: name.clone(),
        })
    }
}

#[cfg(test)]
mod tests;
