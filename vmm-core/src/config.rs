//! What a VM is made of, and the checks on it.

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use crate::block::{BlockBackend, SECTOR_BYTES};
use crate::boot::{BootProtocol, RECOMMENDED_COMMAND_LINE, check_command_line};
use crate::error::StartError;
use crate::event::Event;
use crate::kernel::KernelSource;
use crate::layout::MAX_VIRTIO_DEVICES;
use crate::memory::Pages;
use crate::net::Net;
use crate::rate::RateLimiter;
use crate::seccomp::Seccomp;
use crate::vsock::{self, VsockSocketError};

/// The most vCPUs that a VM can have.
pub const MAX_VCPUS: u8 = 32;
/// The least memory that a VM can have, in MiB.
pub const MIN_MEMORY_MIB: u32 = 16;
/// The memory of a VM for which none is asked for, in MiB: enough for a distribution's kernel and a shell.
const DEFAULT_MEMORY_MIB: u32 = 256;
/// The most drives that a VM can have; vsock, balloon, entropy and network devices share the slots with them.
pub const MAX_DRIVES: usize = MAX_VIRTIO_DEVICES - 3;
/// The most drives, network devices, vsock and balloon together; entropy takes the other device slot.
pub(crate) const MAX_OPTIONAL_DEVICES: usize = MAX_VIRTIO_DEVICES - 1;
/// The longest serial number of a drive, in bytes (virtio 1.2, section 5.2.6).
pub const MAX_SERIAL_BYTES: usize = 20;
/// The lowest vsock address that a guest can have; lower ones are reserved.
pub const MIN_GUEST_CID: u32 = 3;

/// What to boot, and on which machine: [`VmConfig::new`] and then the fields that should be different.
#[non_exhaustive]
pub struct VmConfig {
    /// The kernel: the path of a file, or a [`Kernel`](crate::Kernel) that was read before.
    pub kernel: KernelSource,
    /// How the kernel is entered; by Linux's own protocol at first.
    pub boot_protocol: BootProtocol,
    /// The initial RAM disk's bytes, handed to the guest as they are. None at first.
    pub initrd: Option<Vec<u8>>,
    /// The kernel's command line, used word for word: ASCII, at most 2047 bytes. At first
    /// [`RECOMMENDED_COMMAND_LINE`].
    pub command_line: String,
    /// Processors: 1 to [`MAX_VCPUS`]; 1 at first.
    pub vcpus: u8,
    /// Memory in MiB, at least [`MIN_MEMORY_MIB`], and any number from there on if [`pages`](Self::pages) stays at its
    /// default; 256 at first. Pages cost host memory once the guest touches them, so a guest may have more than its
    /// host. What is more than 3 GiB lies from 4 GiB on, and must end where the guest's physical addresses do.
    pub memory_mib: u32,
    /// What pages of the host's the memory is made of; [`Pages::Default`] at first.
    pub pages: Pages,
    /// Disks, at most [`MAX_DRIVES`]; the guest sees the first as `/dev/vda`. None at first.
    pub drives: Vec<Drive>,
    /// Network devices; the guest sees the first as `eth0`. None at first.
    pub nets: Vec<Net>,
    /// The guest's vsock address, [`MIN_GUEST_CID`] or higher, or `None`, as at first, for no vsock device. It
    /// means something to this VM alone: several VMs in a process may have the same one.
    pub vsock_cid: Option<u32>,
    /// Where other processes reach the guest's vsock by Unix sockets, or `None`, as at first, for nowhere. The rules
    /// are Firecracker's:
    ///
    /// - A client connects to this path and sends `CONNECT <port>\n`. Once a program of the guest has accepted on
    ///   that port, it gets `OK <port of the host>\n`, and from then on it has a stream; if none does, the socket is
    ///   closed. So it is after 10 seconds without an answer, or without a whole line.
    /// - The guest's connection to the host's port N, if this process has no listener for it
    ///   ([`VsockHost::listen`](crate::VsockHost::listen)), goes to the socket at this path with `_N` behind it,
    ///   if somebody listens there at that moment.
    ///
    /// Either side can shut down each direction alone. At most [`MAX_VSOCK_CLIENTS`](crate::MAX_VSOCK_CLIENTS)
    /// sockets of each direction are connected at a time, for which the process needs descriptors; each buffers
    /// 256 KiB each way.
    /// A guest's bytes that a client has not taken when the VM ends are lost, but for what is in its socket already.
    ///
    /// The path has at most 96 bytes. Its file belongs to this process's user, who alone may connect (mode 0600), and
    /// is removed when the VM has ended. A socket of a process that is no more is replaced; anything else that is
    /// there is an error. Two VMs that are started at the same moment must not have the same path.
    pub vsock_socket: Option<PathBuf>,
    /// Whether the guest has a balloon (Linux' module `virtio_balloon`), by which it reports memory that it
    /// does not use, which goes back to the host, and by which
    /// [`Vm::set_balloon_mib`](crate::Vm::set_balloon_mib) takes more. No at first.
    pub balloon: bool,
    /// Whether the guest finds a watchdog (ACPI's WDAT; on Linux the module `wdat_wdt`), which resets the
    /// machine if the guest has started it and does not kick it in time: [`Event::WatchdogExpired`], then
    /// [`Exit::Reboot`](crate::Exit::Reboot). No at first.
    pub watchdog: bool,
    /// Where the guest's serial port prints; nowhere at first. Written by vCPU threads one byte at a time, so that a
    /// buffering writer pays off; flushed once, after the VM has stopped. Errors are ignored. What a guest
    /// prints has no limit. A write that blocks holds up the guest, and the end of
    /// [`Vm::stop`](crate::Vm::stop).
    pub console: Box<dyn Write + Send>,
    /// Called for each [`Event`] of the VM, on the thread of the VM that meets it; nobody is told at first.
    /// It must return soon, and not wait for the VM: the guest or one of its devices stands still
    /// meanwhile. A panic in it ends this VM, with [`RunError::ThreadDied`](crate::RunError::ThreadDied) if
    /// there is no other reason yet.
    pub on_event: Option<Box<dyn Fn(Event) + Send + Sync>>,
    /// What becomes of a system call that a vCPU's or a device's thread has no use for;
    /// [`Refuse`](Seccomp::Refuse) at first. This also binds the backends, the console and `on_event`.
    pub seccomp: Seccomp,
}

impl fmt::Debug for VmConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VmConfig")
            .field("kernel", &self.kernel)
            .field("boot_protocol", &self.boot_protocol)
            .field("initrd_bytes", &self.initrd.as_ref().map(Vec::len))
            .field("command_line", &self.command_line)
            .field("vcpus", &self.vcpus)
            .field("memory_mib", &self.memory_mib)
            .field("pages", &self.pages)
            .field("drives", &self.drives)
            .field("nets", &self.nets)
            .field("vsock_cid", &self.vsock_cid)
            .field("vsock_socket", &self.vsock_socket)
            .field("balloon", &self.balloon)
            .field("watchdog", &self.watchdog)
            .field("seccomp", &self.seccomp)
            .finish_non_exhaustive()
    }
}

/// A disk of a VM: [`Drive::new`] and then the fields that should be different.
#[derive(Clone)]
#[non_exhaustive]
pub struct Drive {
    /// Where the disk's bytes live.
    pub backend: Arc<dyn BlockBackend>,
    /// Whether the guest is told that it can't write, and is refused when it tries. It can write at first.
    pub read_only: bool,
    /// What the guest reads in `/sys/block/vdX/serial`: at most [`MAX_SERIAL_BYTES`] bytes, none at first.
    pub serial: String,
    /// How many queues the guest may put requests on, each with a thread of its own here, so that several
    /// vCPUs' requests run at once: 1, as at first, to as many as there are vCPUs. The backend is then called
    /// by several threads at a time.
    pub queues: u16,
    /// Limits on reads and writes, which can be changed while the VM runs; none at first. Each request is an
    /// operation, flushes, discards and write-zeroes included. Reads and writes count their bytes, discards
    /// and write-zeroes a sixty-fourth of what they cover, as hosts seldom have to write it. No request moves more
    /// than 16 MiB. Requests wait in the guest's memory for their turn.
    pub limiter: RateLimiter,
}

impl fmt::Debug for Drive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drive")
            .field("bytes", &self.backend.size())
            .field("read_only", &self.read_only)
            .field("serial", &self.serial)
            .field("queues", &self.queues)
            .field("limits", &self.limiter.limits())
            .finish_non_exhaustive()
    }
}

impl VmConfig {
    /// A small machine that boots `kernel`: one vCPU, 256 MiB, and no device but a serial port that prints nowhere.
    #[must_use]
    pub fn new(kernel: impl Into<KernelSource>) -> Self {
        Self {
            kernel: kernel.into(),
            boot_protocol: BootProtocol::default(),
            initrd: None,
            command_line: RECOMMENDED_COMMAND_LINE.to_owned(),
            vcpus: 1,
            memory_mib: DEFAULT_MEMORY_MIB,
            pages: Pages::default(),
            drives: Vec::new(),
            nets: Vec::new(),
            vsock_cid: None,
            vsock_socket: None,
            balloon: false,
            watchdog: false,
            console: Box::new(io::sink()),
            on_event: None,
            seccomp: Seccomp::default(),
        }
    }

    /// Checks everything that can be checked without touching the host.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        if self.vcpus == 0 || self.vcpus > MAX_VCPUS {
            return Err(StartError::Vcpus { asked: self.vcpus });
        }
        if self.memory_mib < MIN_MEMORY_MIB {
            return Err(StartError::TooLittleMemory {
                asked_mib: self.memory_mib,
            });
        }
        self.pages.check(self.memory_mib)?;
        if self.balloon && self.pages.are_reserved() {
            return Err(StartError::BalloonOfHugePages);
        }
        check_command_line(&self.command_line)?;
        if let Some(cid) = self.vsock_cid
            && !(MIN_GUEST_CID..u32::MAX).contains(&cid)
        {
            return Err(StartError::VsockCid { cid });
        }
        if let Some(path) = &self.vsock_socket {
            vsock::check_path(path)?;
            if self.vsock_cid.is_none() {
                return Err(VsockSocketError::NoDevice { path: path.clone() }.into());
            }
        }
        if self.drives.len() > MAX_DRIVES {
            return Err(StartError::TooManyDrives {
                asked: self.drives.len(),
            });
        }
        let devices = self.drives.len()
            + self.nets.len()
            + usize::from(self.vsock_cid.is_some())
            + usize::from(self.balloon);
        if devices > MAX_OPTIONAL_DEVICES {
            return Err(StartError::TooManyDevices { asked: devices });
        }
        for (index, net) in self.nets.iter().enumerate() {
            net.check(index)?;
        }
        self.drives
            .iter()
            .enumerate()
            .try_for_each(|(index, drive)| drive.check(index, self.vcpus))
    }
}

impl Drive {
    /// A disk that the guest can write, without a serial number.
    #[must_use]
    pub fn new(backend: Arc<dyn BlockBackend>) -> Self {
        Self {
            backend,
            read_only: false,
            serial: String::new(),
            queues: 1,
            limiter: RateLimiter::default(),
        }
    }

    fn check(&self, index: usize, vcpus: u8) -> Result<(), StartError> {
        if !(1..=u16::from(vcpus)).contains(&self.queues) {
            return Err(StartError::DriveQueues {
                index,
                asked: self.queues,
                vcpus,
            });
        }
        if self.serial.len() > MAX_SERIAL_BYTES {
            return Err(StartError::DriveSerial {
                index,
                serial: self.serial.clone(),
            });
        }
        let bytes = self.backend.size();
        if bytes == 0 || !bytes.is_multiple_of(SECTOR_BYTES) {
            return Err(StartError::DriveSize { index, bytes });
        }
        if self.backend.is_read_only() && !self.read_only {
            return Err(StartError::DriveNotWritable { index });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
