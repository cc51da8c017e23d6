//! The border between the block device and whatever holds a disk's bytes.

use std::io;

use super::{ReadTarget, WriteSource};
use crate::seccomp::HostCalls;

/// A disk: bytes `0..size`, read and written at any offset.
///
/// # Duties of the device that calls
/// - Ranges lie within `0..size`, are multiples of 512 bytes long, start at multiples of 512, and are never
///   empty.
/// - Calls come from the device's threads, one for each of the drive's [`queues`](crate::Drive::queues): with
///   one queue, one call at a time; with more, several at once, ranges that overlap included. None of them is
///   the thread that made the backend.
/// - A drive that is read-only gets `read_at` alone.
/// - After the run has ended ([`Vm::wait`](crate::Vm::wait) has returned), no more calls come.
///
/// # Duties of the backend
/// - A read sees all writes that returned before it began, zeroes where nothing was written.
/// - What was written before a `flush` began survives the loss of power once `flush` has returned `Ok`.
///   Other writes may be lost or torn, in any order, at the granularity of 512 bytes.
/// - An error fails that one request in the guest (`VIRTIO_BLK_S_IOERR`). What the range then holds is
///   either the old or the new bytes, sector by sector. After a failed `flush`, later flushes must not
///   claim success for writes that may have been lost.
/// - A call that blocks delays the guest's disk, and the ends of [`Vm::pause`](crate::Vm::pause) and
///   [`Vm::stop`](crate::Vm::stop), which wait for it. One that takes long is told
///   ([`Event::BackendSlow`](crate::Event::BackendSlow), [`Event::StopDelayed`](crate::Event::StopDelayed)).
/// - A panic ends the VM with [`RunError::ThreadDied`](crate::RunError::ThreadDied).
pub trait BlockBackend: Send + Sync {
    /// Size in bytes: a multiple of 512, and the same on every call while a VM has the drive. A guest can't be told
    /// of another size: once there is one, every request fails, which is told as an I/O error.
    fn size(&self) -> u64;

    /// Whether it can't be written at all. A drive with such a backend must be
    /// [`read_only`](crate::Drive::read_only), too, or the VM does not start.
    fn is_read_only(&self) -> bool {
        false
    }

    /// Puts the bytes that start at `offset` into `target`: all that [remain](ReadTarget::remaining), at most
    /// [`MAX_TRANSFER_BYTES`](crate::MAX_TRANSFER_BYTES). To return `Ok` before is an error of the request,
    /// too.
    ///
    /// # Errors
    /// Any. What was put by then is in the guest's memory, with the request's failure.
    fn read_at(&self, target: &mut ReadTarget<'_>, offset: u64) -> io::Result<()>;

    /// Writes the bytes of `source` at `offset`: all that [remain](WriteSource::remaining), at most
    /// [`MAX_TRANSFER_BYTES`](crate::MAX_TRANSFER_BYTES). To return `Ok` before is an error of the request,
    /// too.
    ///
    /// # Errors
    /// Any, for instance that the host's disk is full.
    fn write_at(&self, source: &mut WriteSource<'_>, offset: u64) -> io::Result<()>;

    /// Makes all writes, discards and write-zeroes that have returned durable.
    ///
    /// # Errors
    /// Any; nothing can then be said about what is durable.
    fn flush(&self) -> io::Result<()>;

    /// Takes note that the guest no longer needs the bytes of this range, of at most
    /// [`MAX_RANGE_CALL_BYTES`](crate::MAX_RANGE_CALL_BYTES); it may read anything there, the old bytes included, until
    /// it writes again.
    ///
    /// # Errors
    /// Any. A backend that has no use for the hint returns `Ok`.
    fn discard(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Makes the range, of at most [`MAX_RANGE_CALL_BYTES`](crate::MAX_RANGE_CALL_BYTES), read as zeroes. The guest
    /// would like to find its space still there when it writes; a backend that keeps no space may ignore that.
    ///
    /// # Errors
    /// Any, as for [`write_at`](Self::write_at).
    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()>;

    /// The same, for a guest that does not mind if the space is given back (`VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP`),
    /// which is what Linux mostly asks for. If not implemented, does what [`write_zeroes`](Self::write_zeroes) does.
    ///
    /// # Errors
    /// As for that.
    fn unmap_to_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        self.write_zeroes(offset, len)
    }

    /// What the calls above, and dropping the backend, do with the host: anything else is
    /// [refused](crate::Seccomp) to the drive's threads. Asked once, when the VM starts. If not implemented,
    /// [`Files`](HostCalls::Files); a backend that opens none while it serves should say so.
    fn host_calls(&self) -> HostCalls {
        HostCalls::Files
    }
}
