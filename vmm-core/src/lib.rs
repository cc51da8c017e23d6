//! A small KVM virtual machine monitor that lives inside its caller's process.
//!
//! [`Vm::start`] takes a [`VmConfig`] (a stock Linux kernel, an optional initrd, disks behind
//! [`BlockBackend`]s, a console to print to) and returns at once; the guest then runs on threads of
//! its own until it powers off, reboots, or is stopped. [`Vm::wait`] says which it was.
//!
//! ```no_run
//! use vmm_core::{Exit, Vm, VmConfig};
//!
//! let mut config = VmConfig::new("/boot/vmlinuz");
//! config.initrd = Some(std::fs::read("/boot/initrd.img")?);
//! config.vcpus = 2;
//! config.vsock_cid = Some(3);
//! config.console = Box::new(std::io::stdout());
//! let vm = Vm::start(config)?;
//! assert!(matches!(vm.wait(), Exit::PowerOff));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The guest's machine
//!
//! No PCI and no firmware: the kernel is entered through the 64-bit Linux boot protocol, and finds
//! its processors, its serial port and its virtio-mmio 1.2 devices (disks, network, vsock, entropy) in
//! ACPI tables. The interrupt controllers and timers are KVM's. Guest memory starts at address 0, leaves
//! a hole between 3 and 4 GiB, and goes on above it.
//!
//! Frames of a network device go to a [`NetBackend`]: an interface of the host ([`Tap`]), a process such
//! as `passt`, which needs no privileges ([`FrameStream`]), or other VMs of this process ([`Switch`]).
//!
//! ```
//! use vmm_core::{Net, Switch, VmConfig};
//!
//! let switch = Switch::new();
//! let mut config = VmConfig::new("/boot/vmlinuz");
//! config.nets = vec![Net::new(switch.port()?)];
//! # Ok::<(), vmm_core::NetError>(())
//! ```
//!
//! # What it does to its process
//!
//! - Threads: one a vCPU, one a device, one supervisor for each VM. All are joined, and every file
//!   descriptor is closed, when [`Vm`] is dropped. All signals are blocked on them, but for one.
//! - One signal: [`kick_signal`], a real-time signal that takes vCPU threads out of `KVM_RUN`. Its
//!   handler, which does nothing, is installed once for the process when the first VM starts. That
//!   is the only process-wide state.
//! - Nothing here calls `exit`, changes the working directory, or forks.
//!
//! # Limits
//!
//! x86-64 Linux hosts and guests only; no PCI, graphics, hot plug or serial input. Network devices have one
//! queue pair, and the guest's link stays up when its network is gone.

mod block;
mod boot;
mod config;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod kernel;
mod layout;
mod machine;
mod memory;
mod net;
mod rate;
mod rng;
mod thread;
mod vcpu;
mod virtio;
mod vm;
mod vsock;

pub use block::BlockBackend;
pub use boot::{CommandLineError, RECOMMENDED_COMMAND_LINE};
pub use config::{
    Drive, MAX_DRIVES, MAX_SERIAL_BYTES, MAX_VCPUS, MIN_GUEST_CID, MIN_MEMORY_MIB, VmConfig,
};
pub use error::{RunError, StartError};
pub use kernel::KernelError;
pub use net::{
    FrameStream, MAX_FRAME_BYTES, MAX_MTU, MIN_MTU, Net, NetBackend, NetCounters, NetError,
    NetTraffic, OffloadHeader, Offloads, Switch, SwitchPort, Tap,
};
pub use rate::{RateLimit, RateLimitError, RateLimiter, RateLimits};
pub use thread::kick_signal;
pub use vm::{Exit, Vm, VmHandle};
pub use vsock::{HOST_CID, VsockHost, VsockListener, VsockStream};
