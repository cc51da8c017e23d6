//! What of a VM's events is told to the session's owner.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rootfs_store::DiskError;
use vmm_core::{Backend, Event as VmEvent};

use crate::disk::is_of_a_registry;
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
            // Whoever can't reach a registry is told of that by the disk.
            VmEvent::IoError { error, .. } if is_outage(&error) => None,
            VmEvent::IoError { drive, error, .. } => Some(Event::DiskFailed {
                device: self.disk(drive),
                message: one_line(&*error),
            }),
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
            // How a run ends is told when the session has seen to that.
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

fn is_outage(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    cause.is_some_and(|error: &DiskError| is_of_a_registry(error))
}

#[cfg(test)]
mod tests;
