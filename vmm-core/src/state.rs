//! A VM's state as plain data: what another VM needs, besides the bytes of guest memory, to go on.
//!
//! Invariant: nothing here is ever shared with what runs. A state is a copy, and is checked on its way back,
//! field by field, as if an enemy had written it; what passes can harm the guest that it is for, and nobody
//! else.

mod error;

pub(crate) use error::{FieldError, check};
pub use error::{SaveError, StateError};

use kvm_bindings::kvm_pit_state2;
use serde::{Deserialize, Serialize};

pub use crate::balloon::BalloonState;
pub use crate::block::BlockState;
pub use crate::machine::{MarksState, SerialState, WatchdogState};
pub use crate::net::NetState;
pub use crate::rate::{BucketState, LimiterState};
pub use crate::vcpu::{MsrState, VcpuState};
pub use crate::virtio::{QueueState, TransportState};
pub use crate::vm::{InterruptControllersState, IoApicState, PicState};
pub use crate::vsock::VsockState;

/// The state of a paused VM, from [`Vm::state`](crate::Vm::state), for [`Vm::restore`](crate::Vm::restore).
///
/// It can be serialized; what that makes of it is no format to keep: fields come and go with versions of this
/// crate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VmState {
    /// The guest's memory, in MiB. Its bytes come from [`Vm::copy_memory`](crate::Vm::copy_memory).
    pub memory_mib: u32,
    /// The vCPUs, by their number.
    pub vcpus: Vec<VcpuState>,
    /// The interrupt controllers that vCPUs share.
    pub interrupt_controllers: InterruptControllersState,
    /// The interval timer (8254).
    pub timer: kvm_pit_state2,
    /// What KVM's clock shows, in nanoseconds; `None` if KVM could not say.
    pub clock_ns: Option<u64>,
    /// The serial port.
    pub serial: SerialState,
    /// The watchdog, if there is one.
    pub watchdog: Option<WatchdogState>,
    /// What the guest has told by its boot mark and its crash port.
    pub marks: MarksState,
    /// The virtio devices, in the order of their register windows.
    pub devices: Vec<DeviceState>,
}

/// The state of a virtio device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeviceState {
    /// Its registers and queues.
    pub transport: TransportState,
    /// What is particular to its kind.
    pub kind: DeviceKindState,
}

/// What is particular to a kind of device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DeviceKindState {
    /// A drive.
    Block(BlockState),
    /// A network device.
    Net(NetState),
    /// The vsock device.
    Vsock(VsockState),
    /// The balloon.
    Balloon(BalloonState),
    /// The entropy device, which has no state.
    Entropy,
}
