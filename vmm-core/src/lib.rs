//! A small KVM virtual machine monitor that lives inside its caller's process.
//!
//! [`Vm::start`] takes a [`VmConfig`] (a stock Linux kernel, an optional initrd, disks behind
//! [`BlockBackend`]s, a console to print to) and returns at once; the guest then runs on threads of
//! its own until it powers off, reboots, or is stopped. [`Vm::wait`] says which it was.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use vmm_core::{Drive, Exit, FileBackend, Vm, VmConfig};
//!
//! let mut config = VmConfig::new("/boot/vmlinuz");
//! config.initrd = Some(std::fs::read("/boot/initrd.img")?);
//! config.vcpus = 2;
//! let disk = FileBackend::open("/var/lib/guests/disk.raw", false)?;
//! config.drives.push(Drive::new(Arc::new(disk)));
//! config.vsock_cid = Some(3);
//! config.console = Box::new(std::io::stdout());
//! let vm = Vm::start(config)?;
//! assert!(matches!(vm.wait(), Exit::PowerOff));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The guest's machine
//!
//! No PCI and no firmware: the kernel is entered through the 64-bit Linux boot protocol, or by PVH
//! ([`BootProtocol`]), and finds its processors, its serial port and its virtio-mmio 1.2 devices
//! (disks, network, vsock, balloon, entropy) in ACPI tables. Kernels packed by LZ4, Zstandard, gzip or xz are
//! unpacked on the host; tests boot Debian's 5.10, 6.1 and 6.12. A [`Kernel`] that is opened once starts any
//! number of VMs, which share the pages that they don't change. The interrupt controllers and timers are
//! KVM's. Guest memory starts at address 0, leaves a hole between 3 and 4 GiB, and goes on above it; it may be
//! made of larger [`Pages`].
//!
//! A drive's bytes move between its backend and the guest's memory without a copy in between, if the backend
//! has them in a file. Drives may have a queue for each vCPU, and [`RateLimiter`]s that can be changed at any
//! time. Guests flush what must be durable, or ask that each write is (on Linux, `cache_type`).
//!
//! The same tables name a power button ([`Vm::press_power_button`]; Linux' module `button`), on request a
//! watchdog ([`VmConfig::watchdog`]; `wdat_wdt`), and the port of QEMU's pvpanic device (`pvpanic-mmio`).
//! A write to [`BOOT_MARK_PORT`] says that the guest has booted. What happens reaches the embedder as
//! [`Event`]s, and what it types ([`Vm::console_input`]) the guest's serial port.
//!
//! Programs of the host talk to the guest's by vsock: in this process ([`Vm::vsock`]), and from others by Unix
//! sockets ([`VmConfig::vsock_socket`]).
//!
//! Frames of a network device go to a [`NetBackend`]: an interface of the host ([`Tap`]), a process such
//! as `passt`, which needs no privileges ([`FrameStream`]), or other VMs of this process ([`Switch`]). The guest sees
//! its link go when the network is gone, or the embedder pulls the cable out ([`NetLink`]).
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
//! [`Vm::metrics`] tells what a VM has done: exits, page faults, requests, bytes, failures, for each vCPU, queue and
//! drive.
//!
//! A paused VM's [`state`](Vm::state) and [memory](Vm::copy_memory) are enough for another one to
//! [go on](Vm::restore) where it was, with the same disks and another console.
//!
//! # What it does to its process
//!
//! - Threads: one a vCPU, one a device (a drive has one for each queue), one supervisor for each VM. All are
//!   joined, and every file descriptor is closed, when [`Vm`] is dropped; one stays as long as a [`VsockHost`],
//!   [`VsockListener`] or [`VsockStream`] of the VM is kept. All signals are blocked on them, but for one.
//! - One signal: [`kick_signal`], a real-time signal that takes vCPU threads out of `KVM_RUN`. Its
//!   handler, which does nothing, is installed once for the process when the first VM starts. That
//!   is the only process-wide state.
//! - System calls: vCPU and device threads make those that they need, and others are refused to them, also
//!   in the embedder's callbacks ([`Seccomp`]).
//! - Nothing here calls `exit`, changes the working directory, or forks.
//!
//! # Limits
//!
//! x86-64 Linux hosts, 4.11 or later, and guests only; no PCI, graphics or hot plug, and neither nested
//! virtualisation nor performance counters. Network devices have one queue pair. A backend that does not return is
//! told of ([`Event::BackendSlow`]), but can't be helped. A [paused](Vm::pause) guest's clock stands still, so its
//! time of day is late afterwards; so is that of one that was [restored](Vm::restore), on a processor with the same
//! features.

mod balloon;
mod block;
mod boot;
mod calls;
mod config;
mod error;
mod event;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(any(test, feature = "fuzzing"))]
mod hostile;
mod kernel;
mod layout;
mod machine;
mod memory;
mod metrics;
mod net;
mod rate;
mod rng;
mod seccomp;
pub mod state;
mod thread;
#[cfg(test)]
mod unprivileged;
mod vcpu;
mod virtio;
mod vm;
mod vsock;

pub use block::{
    BlockBackend, FileBackend, FileBackendError, MAX_RANGE_CALL_BYTES, MAX_TRANSFER_BYTES,
    ReadTarget, WriteSource,
};
pub use boot::{BootProtocol, CommandLineError, RECOMMENDED_COMMAND_LINE};
pub use config::{
    Drive, MAX_DRIVES, MAX_SERIAL_BYTES, MAX_VCPUS, MIN_GUEST_CID, MIN_MEMORY_MIB, VmConfig,
};
pub use error::{BalloonError, RunError, StartError};
pub use event::{Backend, CrashKind, DiskOperation, Event};
pub use kernel::{Kernel, KernelError, KernelSource};
pub use layout::{BOOT_MARK_PORT, BOOT_MARK_VALUE};
pub use machine::ConsoleInput;
pub use memory::Pages;
pub use metrics::{DeviceMetrics, DiskMetrics, KvmMetrics, Metrics, QueueMetrics, VcpuMetrics};
pub use net::{
    FrameStream, MAX_FRAME_BYTES, MAX_MTU, MIN_MTU, Net, NetBackend, NetCounters, NetError,
    NetLink, NetTraffic, OffloadHeader, Offloads, Switch, SwitchPort, Tap,
};
pub use rate::{RateLimit, RateLimitError, RateLimiter, RateLimits};
pub use seccomp::{HostCalls, Seccomp};
pub use state::{SaveError, StateError, VmState};
pub use thread::kick_signal;
pub use vm::{Exit, Vm, VmHandle};
pub use vsock::{
    HOST_CID, MAX_VSOCK_CLIENTS, VsockHost, VsockListener, VsockSocketError, VsockStream,
};
