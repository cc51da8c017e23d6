//! A whole machine without a guest: what its vCPUs would find when they leave guest mode.

use std::time::Instant;

use vm_memory::{Bytes, GuestAddress};

use crate::boot;
use crate::config::VmConfig;
use crate::error::StartError;
use crate::machine::PowerEvent;
use crate::memory::{self, Memory};
use crate::vm::BareVm;

/// A machine with devices on their threads.
pub struct BareMachine(BareVm);

impl std::fmt::Debug for BareMachine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BareMachine").finish_non_exhaustive()
    }
}

impl BareMachine {
    /// The machine of `config`, without its kernel.
    ///
    /// # Panics
    /// If the configuration is wrong, or the host has no descriptors, threads or memory.
    #[must_use]
    pub fn start(config: VmConfig) -> Self {
        let memory = memory::map(config.memory_mib).expect("the host has memory");
        Self(BareVm::start(config, memory))
    }

    /// Suspends the machine, and goes on as another one of `config`, which is its own, in the same memory.
    ///
    /// # Panics
    /// If the state that the guest has brought about is refused, or as for [`start`](Self::start).
    #[must_use]
    pub fn move_on(self, config: VmConfig) -> Self {
        let now = Instant::now();
        let (state, memory) = self.0.suspend(now);
        let next = BareVm::restore(config, memory, &state, now);
        Self(next.unwrap_or_else(|error| panic!("{error}: {state:?}")))
    }

    /// A guest's read from a port.
    pub fn port_in(&self, port: u16, data: &mut [u8]) {
        self.0.machine.port_in(port, data);
    }

    /// A guest's write to a port; whether it ends the run, and if so, whether by a reset.
    #[must_use]
    pub fn port_out(&self, port: u16, data: &[u8]) -> Option<bool> {
        let event = self.0.machine.port_out(port, data);
        event.map(|event| event == PowerEvent::Reset)
    }

    /// A guest's read from an address without memory.
    pub fn mmio_read(&self, address: u64, data: &mut [u8]) {
        self.0.machine.mmio_read(address, data);
    }

    /// A guest's write to an address without memory.
    pub fn mmio_write(&self, address: u64, data: &[u8]) {
        self.0.machine.mmio_write(address, data);
    }

    /// Writes to guest memory; `false` if not all of `source` fits there.
    pub fn write(&self, address: u64, source: &[u8]) -> bool {
        let address = GuestAddress(address);
        self.0.memory.write_slice(source, address).is_ok()
    }

    /// How many virtio devices there are.
    #[must_use]
    pub fn devices(&self) -> usize {
        self.0.machine.transports().len()
    }

    /// Why one of the devices died, if one has.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.0.failure().map(|exit| format!("{exit:?}"))
    }
}

/// A guest's memory before its first instruction.
#[derive(Debug)]
pub struct Prepared {
    memory: Memory,
}

/// Checks a configuration, and fills a guest's memory as it says.
///
/// # Errors
/// Those of [`Vm::start`](crate::Vm::start).
pub fn prepare(config: &VmConfig) -> Result<Prepared, StartError> {
    config.check()?;
    let memory = memory::map(config.memory_mib)?;
    let entropy_alone = 1;
    boot::load(config, &memory, entropy_alone)?;
    Ok(Prepared { memory })
}

impl Prepared {
    /// What is in guest memory at `address`, if all of `target` is.
    #[must_use]
    pub fn read(&self, address: u64, target: &mut [u8]) -> bool {
        let address = GuestAddress(address);
        self.memory.read_slice(target, address).is_ok()
    }
}
