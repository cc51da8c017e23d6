//! What KVM counts itself, from its binary statistics (Linux' `Documentation/virt/kvm/api.rst`, section
//! 4.133).
//!
//! The file begins with a header of six u32: flags, size of names, number of descriptors, and the offsets of
//! id, descriptors and data. A descriptor is flags u32, exponent i16, number of values u16, offset of the
//! values in the data u32, bucket size u32, and the name. Values are u64.

#![expect(unsafe_code, reason = "kvm-ioctls has no call for KVM's statistics")]

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;

use kvm_ioctls::VcpuFd;

use super::KvmMetrics;

/// `_IO(KVMIO, 0xce)`.
const KVM_GET_STATS_FD: libc::c_ulong = 0xaece;
const HEADER_BYTES: usize = 24;
const DESCRIPTOR_BYTES: usize = 16;
/// The longest name and the most descriptors that are looked at; x86 has names of 48 bytes and some fifty.
const MAX_NAME_BYTES: usize = 256;
const MAX_DESCRIPTORS: usize = 1024;

/// A vCPU's statistics, as a file.
#[derive(Debug)]
pub(crate) struct KvmStats(File);

impl KvmStats {
    /// `None` if KVM has none (before Linux 5.14), or the process no descriptor for them.
    pub(crate) fn of_vcpu(vcpu: &VcpuFd) -> Option<Self> {
        // SAFETY: the request takes no argument, and `vcpu` is open.
        let fd = unsafe { libc::ioctl(vcpu.as_raw_fd(), KVM_GET_STATS_FD) };
        if fd < 0 {
            return None;
        }
        // SAFETY: the call has just opened it, and nobody else knows of it.
        Some(Self(unsafe { File::from_raw_fd(fd) }))
    }

    /// The figures of this moment; `None` if KVM has others.
    pub(crate) fn read(&self) -> Option<KvmMetrics> {
        read(&self.0)
    }
}

pub(super) fn read(file: &File) -> Option<KvmMetrics> {
    let mut header = [0; HEADER_BYTES];
    file.read_exact_at(&mut header, 0).ok()?;
    let [_, name_bytes, count, _, descriptors, data] = u32s(&header);
    let (name_bytes, count) = (
        usize::try_from(name_bytes).ok()?,
        usize::try_from(count).ok()?,
    );
    if name_bytes > MAX_NAME_BYTES || count > MAX_DESCRIPTORS {
        return None;
    }
    let stride = DESCRIPTOR_BYTES + name_bytes;
    let mut table = vec![0; stride * count];
    file.read_exact_at(&mut table, descriptors.into()).ok()?;
    let value = |name: &str| {
        let descriptor = table.chunks_exact(stride).find(|descriptor| {
            let text = &descriptor[DESCRIPTOR_BYTES..];
            text.split(|byte| *byte == 0).next() == Some(name.as_bytes())
        })?;
        let [_, _, offset, _] = u32s(descriptor.first_chunk::<DESCRIPTOR_BYTES>()?);
        let mut value = [0; 8];
        let at = u64::from(data) + u64::from(offset);
        file.read_exact_at(&mut value, at).ok()?;
        Some(u64::from_ne_bytes(value))
    };
    Some(KvmMetrics {
        exits: value("exits")?,
        page_faults: value("pf_fixed")?,
        halts: value("halt_exits")?,
        interrupts: value("irq_injections")?,
    })
}

/// The numbers that `bytes`, four times as many, consist of.
fn u32s<const N: usize, const BYTES: usize>(bytes: &[u8; BYTES]) -> [u32; N] {
    let (numbers, _) = bytes.as_chunks::<4>();
    std::array::from_fn(|index| u32::from_ne_bytes(numbers[index]))
}
