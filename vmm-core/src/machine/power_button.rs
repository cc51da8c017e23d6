//! The power button: an interrupt line to the guest's generic event device.

use std::sync::{Mutex, PoisonError};

use vmm_sys_util::eventfd::EventFd;

/// The button of one VM.
#[derive(Debug)]
pub(crate) struct PowerButton {
    /// `None` once the VM has ended.
    line: Mutex<Option<EventFd>>,
}

impl PowerButton {
    /// A button on `line`, which is connected with the guest.
    pub(crate) fn new(line: EventFd) -> Self {
        Self {
            line: Mutex::new(Some(line)),
        }
    }

    pub(crate) fn press(&self) {
        let line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = line.as_ref() {
            // A full counter is a press that is on its way.
            let _pressed_already = line.write(1);
        }
    }

    /// The VM has ended: nothing is connected any more.
    pub(crate) fn close(&self) {
        let line = self
            .line
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(line);
    }
}
