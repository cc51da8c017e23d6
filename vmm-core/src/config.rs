//! What a VM is made of, and the checks on it.

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use crate::block::{BlockBackend, SECTOR_BYTES};
use crate::boot::{RECOMMENDED_COMMAND_LINE, check_command_line};
use crate::error::StartError;
use crate::layout::MAX_VIRTIO_DEVICES;
use crate::net::Net;

/// The most vCPUs that a VM can have.
pub const MAX_VCPUS: u8 = 32;
/// The least memory that a VM can have, in MiB.
pub const MIN_MEMORY_MIB: u32 = 16;
/// The memory of a VM for which none is asked for, in MiB: enough for a distribution's kernel and a shell.
const DEFAULT_MEMORY_MIB: u32 = 256;
/// The most drives that a VM can have; vsock and entropy take the other two device slots.
pub const MAX_DRIVES: usize = MAX_VIRTIO_DEVICES - 2;
/// The most drives, network devices and vsock together; entropy takes the other device slot.
pub(crate) const MAX_OPTIONAL_DEVICES: usize = MAX_VIRTIO_DEVICES - 1;
/// The longest serial number of a drive, in bytes (virtio 1.2, section 5.2.6).
pub const MAX_SERIAL_BYTES: usize = 20;
/// The lowest vsock address that a guest can have; lower ones are reserved.
pub const MIN_GUEST_CID: u32 = 3;

/// What to boot, and on which machine: [`VmConfig::new`] and then the fields that should be different.
#[non_exhaustive]
pub struct VmConfig {
    /// A kernel: an ELF `vmlinux`, or a bzImage (`vmlinuz` of a distribution).
    pub kernel: PathBuf,
    /// The initial RAM disk's bytes, handed to the guest as they are. None at first.
    pub initrd: Option<Vec<u8>>,
    /// The kernel's command line, used word for word: ASCII, at most 2047 bytes. At first
    /// [`RECOMMENDED_COMMAND_LINE`].
    pub command_line: String,
    /// Processors: 1 to [`MAX_VCPUS`]; 1 at first.
    pub vcpus: u8,
    /// Memory in MiB, at least [`MIN_MEMORY_MIB`]; 256 at first. Pages cost host memory once the guest touches them.
    pub memory_mib: u32,
    /// Disks, at most [`MAX_DRIVES`]; the guest sees the first as `/dev/vda`. None at first.
    pub drives: Vec<Drive>,
    /// Network devices; the guest sees the first as `eth0`. None at first.
    pub nets: Vec<Net>,
    /// The guest's vsock address, [`MIN_GUEST_CID`] or higher, or `None`, as at first, for no vsock device. It
    /// means something to this VM alone: several VMs in a process may have the same one.
    pub vsock_cid: Option<u32>,
    /// Where the guest's serial port prints; nowhere at first. Written by vCPU threads one byte at a time, so that a
    /// buffering writer pays off; flushed once, after the VM has stopped. Errors are ignored. What a guest
    /// prints has no limit. A write that blocks holds up the guest, and the end of
    /// [`Vm::stop`](crate::Vm::stop).
    pub console: Box<dyn Write + Send>,
}

impl fmt::Debug for VmConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VmConfig")
            .field("kernel", &self.kernel)
            .field("initrd_bytes", &self.initrd.as_ref().map(Vec::len))
            .field("command_line", &self.command_line)
            .field("vcpus", &self.vcpus)
            .field("memory_mib", &self.memory_mib)
            .field("drives", &self.drives)
            .field("nets", &self.nets)
            .field("vsock_cid", &self.vsock_cid)
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
}

impl fmt::Debug for Drive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drive")
            .field("bytes", &self.backend.size())
            .field("read_only", &self.read_only)
            .field("serial", &self.serial)
            .finish_non_exhaustive()
    }
}

impl VmConfig {
    /// A small machine that boots `kernel`: one vCPU, 256 MiB, and no device but a serial port that prints nowhere.
    #[must_use]
    pub fn new(kernel: impl Into<PathBuf>) -> Self {
        Self {
            kernel: kernel.into(),
            initrd: None,
            command_line: RECOMMENDED_COMMAND_LINE.to_owned(),
            vcpus: 1,
            memory_mib: DEFAULT_MEMORY_MIB,
            drives: Vec::new(),
            nets: Vec::new(),
            vsock_cid: None,
            console: Box::new(io::sink()),
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
        check_command_line(&self.command_line)?;
        if let Some(cid) = self.vsock_cid
            && !(MIN_GUEST_CID..u32::MAX).contains(&cid)
        {
            return Err(StartError::VsockCid { cid });
        }
        if self.drives.len() > MAX_DRIVES {
            return Err(StartError::TooManyDrives {
                asked: self.drives.len(),
            });
        }
        let devices = self.drives.len() + self.nets.len() + usize::from(self.vsock_cid.is_some());
        if devices > MAX_OPTIONAL_DEVICES {
            return Err(StartError::TooManyDevices { asked: devices });
        }
        for (index, net) in self.nets.iter().enumerate() {
            net.check(index)?;
        }
        self.drives
            .iter()
            .enumerate()
            .try_for_each(|(index, drive)| drive.check(index))
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
        }
    }

    fn check(&self, index: usize) -> Result<(), StartError> {
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
        Ok(())
    }
}

#[cfg(test)]
mod tests;
