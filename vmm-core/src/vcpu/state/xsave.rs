//! The XSAVE area, whose size depends on what the process has asked the kernel for.

#![expect(
    unsafe_code,
    reason = "KVM reads and writes as many bytes as it says beforehand"
)]

use kvm_bindings::{Xsave, kvm_xsave};
use kvm_ioctls::{Cap, VcpuFd, VmFd};
use vmm_sys_util::errno::Error;

/// Words of an area without features that have to be asked for.
const WORDS: usize = 1024;
/// The most words that are believed: AMX, the largest there is, needs a fifth of it.
const MAX_WORDS: usize = 16 << 10;

/// The words behind the first 1024 that KVM reads and writes for vCPUs of `vm`.
fn extra_words(vm: &VmFd) -> Result<usize, Error> {
    let bytes = usize::try_from(vm.check_extension_int(Cap::Xsave2)).unwrap_or(0);
    let words = bytes.div_ceil(4).max(WORDS);
    if words > MAX_WORDS {
        return Err(Error::new(libc::E2BIG));
    }
    Ok(words - WORDS)
}

pub(super) fn read(vm: &VmFd, vcpu: &VcpuFd) -> Result<Vec<u32>, Error> {
    let extra = extra_words(vm)?;
    if extra == 0 {
        return Ok(vcpu.get_xsave()?.region.to_vec());
    }
    let mut area = Xsave::new(extra).map_err(|_| Error::new(libc::ENOMEM))?;
    // SAFETY: the area has as many bytes as KVM has said that it writes.
    unsafe { vcpu.get_xsave2(&mut area) }?;
    let mut words = area.as_fam_struct_ref().xsave.region.to_vec();
    words.extend(area.as_slice());
    Ok(words)
}

pub(super) fn write(vm: &VmFd, vcpu: &VcpuFd, words: &[u32]) -> Result<(), Error> {
    let extra = extra_words(vm)?;
    let region: Option<[u32; WORDS]> = words.first_chunk().copied();
    let region = region.filter(|_| words.len() == WORDS + extra);
    let region = region.ok_or_else(|| Error::new(libc::EINVAL))?;
    if extra == 0 {
        let area = kvm_xsave {
            region,
            ..Default::default()
        };
        // SAFETY: KVM has said that it reads no more than the fixed part of the area.
        return unsafe { vcpu.set_xsave(&area) };
    }
    let mut area = Xsave::from_entries(&words[WORDS..]).map_err(|_| Error::new(libc::ENOMEM))?;
    // SAFETY: the length of the area behind, which is all that must not change, is left alone.
    unsafe { area.as_mut_fam_struct() }.xsave.region = region;
    // SAFETY: the area has as many bytes as KVM has said that it reads.
    unsafe { vcpu.set_xsave2(&area) }
}
