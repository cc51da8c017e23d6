//! Why a VM did not start, or stopped running.

use std::io;
use std::path::PathBuf;

use crate::boot::CommandLineError;
use crate::config::{
    MAX_DRIVES, MAX_OPTIONAL_DEVICES, MAX_SERIAL_BYTES, MAX_VCPUS, MIN_GUEST_CID, MIN_MEMORY_MIB,
};
use crate::kernel::KernelError;
use crate::net::MIN_MTU;
use crate::state::StateError;
use crate::vsock::VsockSocketError;

/// Why [`Vm::start`](crate::Vm::start) failed. Nothing is left behind: no thread, no descriptor, no mapping.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// This host has no KVM.
    #[error(
        "there is no KVM on this machine (could not open /dev/kvm): load the kvm_intel or kvm_amd module, \
         and check that virtualisation is switched on in the firmware (or passed on, if this is a VM)"
    )]
    NoKvm {
        /// What opening the device answered.
        source: io::Error,
    },
    /// This user may not use KVM.
    #[error("no permission to open /dev/kvm: add this user to the group kvm and log in again")]
    KvmPermission {
        /// What opening the device answered.
        source: io::Error,
    },
    /// What there is instead of KVM speaks another language.
    #[error(
        "/dev/kvm is no KVM that can be used: its interface has version {found}, and 12 is needed: check what that file \
         is, and that the host's kernel is Linux 4.11 or later"
    )]
    KvmVersion {
        /// The version of its interface; negative if it does not know the question.
        found: i32,
    },
    /// This host's KVM can't do what every VM needs.
    #[error(
        "the host's KVM has no {name}, which it takes to {purpose}: run Linux 4.11 or later on the host, and, if that is a \
         VM itself, on its own host"
    )]
    KvmCapability {
        /// The capability, as `linux/kvm.h` calls it.
        name: &'static str,
        /// What it is for.
        purpose: &'static str,
    },
    /// KVM refused a request that setting up a VM needs.
    #[error("KVM could not {action}")]
    Kvm {
        /// What was asked of it.
        action: &'static str,
        /// Its answer.
        source: io::Error,
    },
    /// The kernel's file could not be read.
    #[error("could not read the kernel {path}: give the path of a vmlinux or vmlinuz file that this user can read", path = path.display())]
    ReadKernel {
        /// The file.
        path: PathBuf,
        /// What reading it answered.
        source: io::Error,
    },
    /// The kernel's file is not a kernel that can be booted.
    #[error("could not boot the kernel {path}", path = path.display())]
    Kernel {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KernelError,
    },
    /// The initrd leaves no room in memory.
    #[error(
        "an initrd of {initrd_bytes} bytes does not fit beside the kernel in {memory_mib} MiB of memory, which leave \
         {room_bytes} bytes for it: raise memory_mib or shrink the initrd"
    )]
    InitrdTooLarge {
        /// Size of the initrd.
        initrd_bytes: u64,
        /// The most that would fit.
        room_bytes: u64,
        /// The VM's memory.
        memory_mib: u32,
    },
    /// No vCPU, or too many.
    #[error("{asked} vCPUs asked for: a VM has 1 to {MAX_VCPUS}")]
    Vcpus {
        /// How many were asked for.
        asked: u8,
    },
    /// Not enough memory for any kernel.
    #[error("{asked_mib} MiB of memory asked for: a VM needs at least {MIN_MEMORY_MIB} MiB")]
    TooLittleMemory {
        /// How much was asked for.
        asked_mib: u32,
    },
    /// The host would not give the VM's memory.
    #[error(
        "could not map {asked_mib} MiB for the guest: ask for less, or free memory or address space on the host"
    )]
    MapMemory {
        /// How much was asked for.
        asked_mib: u32,
        /// What mapping it answered.
        source: io::Error,
    },
    /// Memory that the processor's addresses don't reach.
    #[error(
        "{asked_mib} MiB of memory would end at address {end:#x}, but the guest's physical addresses have \
         {address_bits} bits on this host: ask for less"
    )]
    MemoryOutOfReach {
        /// How much was asked for.
        asked_mib: u32,
        /// Where it would end: there is a hole in it from 3 to 4 GiB.
        end: u64,
        /// Bits of a physical address.
        address_bits: u8,
    },
    /// Memory that can't be made of such pages.
    #[error(
        "{asked_mib} MiB of memory asked for: with pages of {page_mib} MiB it must be a multiple of that"
    )]
    OddMemory {
        /// How much was asked for.
        asked_mib: u32,
        /// The size of a page.
        page_mib: u32,
    },
    /// The host has not set enough huge pages aside.
    #[error(
        "{asked_mib} MiB of memory take {needed} pages of {page_mib} MiB, and the host has {} free: raise {}, \
         which for pages of the default size is also /proc/sys/vm/nr_hugepages",
        free.map_or("none".to_owned(), |free| free.to_string()),
        setting.display()
    )]
    HugePages {
        /// How much was asked for.
        asked_mib: u32,
        /// The size of a page.
        page_mib: u32,
        /// How many pages that is.
        needed: u32,
        /// How many of them the host has free and has promised to nobody; `None` if it has no such pages.
        free: Option<u64>,
        /// The file that says how many the host sets aside.
        setting: PathBuf,
        /// What mapping or taking them answered.
        source: io::Error,
    },
    /// The host's kernel was built without transparent huge pages.
    #[error("this host has no transparent huge pages: leave `pages` at its default")]
    NoTransparentHugePages {
        /// What asking for them answered.
        source: io::Error,
    },
    /// A balloon in memory whose pages stay.
    #[error(
        "memory of huge pages that the host has set aside is never given back: leave out the balloon, or take \
         transparent huge pages"
    )]
    BalloonOfHugePages,
    /// The command line can't be passed on.
    #[error(transparent)]
    CommandLine(#[from] CommandLineError),
    /// A vsock address that is reserved.
    #[error(
        "vsock CID {cid} is reserved: a guest's is {MIN_GUEST_CID} or higher, and not 4294967295"
    )]
    VsockCid {
        /// The address.
        cid: u32,
    },
    /// The vsock device has no socket for other processes.
    #[error(transparent)]
    VsockSocket(#[from] VsockSocketError),
    /// More drives than there are device slots.
    #[error("{asked} drives asked for: a VM has at most {MAX_DRIVES}")]
    TooManyDrives {
        /// How many were asked for.
        asked: usize,
    },
    /// More devices than there are slots for.
    #[error(
        "{asked} devices asked for: a VM has at most {MAX_OPTIONAL_DEVICES} drives, network devices, vsock and \
         balloon together"
    )]
    TooManyDevices {
        /// How many were asked for.
        asked: usize,
    },
    /// An Ethernet address that no station can have.
    #[error(
        "the address {mac:02x?} of network device {index} is for many stations or all zeroes: a station's first byte is \
         even, and 02 for addresses of one's own"
    )]
    NetMac {
        /// Which network device, counted from 0.
        index: usize,
        /// Its address.
        mac: [u8; 6],
    },
    /// An MTU with which IP does not work.
    #[error("the MTU of network device {index} is {mtu} bytes: at least {MIN_MTU} are needed")]
    NetMtu {
        /// Which network device, counted from 0.
        index: usize,
        /// Its MTU.
        mtu: u16,
    },
    /// A network backend whose descriptor is of no use.
    #[error(
        "could not wait for the backend of network device {index}: its descriptor must be a socket, an eventfd, a TAP \
         interface or the like"
    )]
    NetBackend {
        /// Which network device, counted from 0.
        index: usize,
        /// The host's answer.
        source: io::Error,
    },
    /// A serial number that does not fit.
    #[error("the serial of drive {index} is longer than {MAX_SERIAL_BYTES} bytes: {serial:?}")]
    DriveSerial {
        /// Which drive, counted from 0.
        index: usize,
        /// Its serial.
        serial: String,
    },
    /// A disk that is empty or ends within a sector.
    #[error("drive {index} has {bytes} bytes: its size must be a multiple of 512 and not 0")]
    DriveSize {
        /// Which drive, counted from 0.
        index: usize,
        /// Its size.
        bytes: u64,
    },
    /// A guest may write to what can't be written.
    #[error(
        "drive {index} may be written by the guest, but not by its backend: set `read_only`, or open what is behind the \
         backend for writing"
    )]
    DriveNotWritable {
        /// Which drive, counted from 0.
        index: usize,
    },
    /// No queue of a drive, or more than could be used at once.
    #[error(
        "{asked} queues asked for drive {index}: it has 1 to as many as there are vCPUs, {vcpus}"
    )]
    DriveQueues {
        /// Which drive, counted from 0.
        index: usize,
        /// How many were asked for.
        asked: u16,
        /// The VM's vCPUs.
        vcpus: u8,
    },
    /// The host would not filter the system calls of a thread.
    #[error(
        "could not filter the system calls of the thread {thread}: the host's kernel needs CONFIG_SECCOMP_FILTER, and \
         what confines this process must allow seccomp(2); or set `seccomp` to `Off`"
    )]
    Seccomp {
        /// The thread's name.
        thread: String,
        /// The host's answer.
        source: io::Error,
    },
    /// The state that the VM was to go on from is refused.
    #[error("could not go on from the VM's state")]
    State(#[from] StateError),
    /// The host is out of threads or descriptors.
    #[error(
        "could not {action}: check the process's limits on descriptors and threads (ulimit -n, -u)"
    )]
    Host {
        /// What was tried.
        action: &'static str,
        /// The host's answer.
        source: io::Error,
    },
}

/// Why a balloon can't be set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BalloonError {
    /// The VM was started without one.
    #[error("this VM has no balloon: start it with `balloon` set in its configuration")]
    NoBalloon,
    /// The guest does not have so much.
    #[error("{asked_mib} MiB asked for from a guest that has {memory_mib}: ask for at most that")]
    TooLarge {
        /// How much was asked for.
        asked_mib: u32,
        /// The VM's memory.
        memory_mib: u32,
    },
}

/// Why a VM that had started could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// `KVM_RUN` itself failed.
    #[error("KVM could not run vCPU {vcpu}")]
    Kvm {
        /// Which vCPU, counted from 0.
        vcpu: u8,
        /// KVM's answer.
        source: io::Error,
    },
    /// KVM stopped a vCPU for a reason that leaves no way on.
    #[error("vCPU {vcpu} stopped at address {rip:#x} for good: {reason}")]
    Vcpu {
        /// Which vCPU, counted from 0.
        vcpu: u8,
        /// Its instruction pointer.
        rip: u64,
        /// KVM's reason.
        reason: String,
    },
    /// One of the VM's threads ended on its own.
    #[error(
        "the thread {name} of the VM died; a panic in a block or network backend, a console writer or \
         `on_event` does that"
    )]
    ThreadDied {
        /// The thread's name.
        name: String,
    },
    /// A device's thread could not wait for events.
    #[error("the device thread {name} could not wait for events")]
    Device {
        /// The thread's name.
        name: String,
        /// What waiting answered.
        source: io::Error,
    },
}
