//! The state in which processors start.

use kvm_bindings::{Msrs, kvm_fpu, kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs};
use kvm_ioctls::VcpuFd;
use vmm_sys_util::errno::Error;

use crate::boot::{BootEntry, GDT_ENTRIES};
use crate::layout::{BOOT_STACK, GDT, PAGE_TABLES, PVH_START_INFO, ZERO_PAGE};

const CODE_SELECTOR: u16 = 0x10;
const DATA_SELECTOR: u16 = 0x18;
/// Last byte of the descriptor table: four entries of eight bytes.
const GDT_LIMIT: u16 = 31;
const _: () = assert!(GDT_ENTRIES.len() * 8 - 1 == GDT_LIMIT as usize);

const CR0_PROTECTED: u64 = 1;
const CR0_EXTENSION_TYPE: u64 = 1 << 4;
const CR0_PAGING: u64 = 1 << 31;
const CR4_PHYSICAL_ADDRESS_EXTENSION: u64 = 1 << 5;
const EFER_LONG_MODE: u64 = 1 << 8 | 1 << 10;
/// Only the bit that is always one.
const FLAGS: u64 = 1 << 1;

const MSR_MISC_ENABLE: u32 = 0x1a0;
const MISC_FAST_STRINGS: u64 = 1;
const MSR_MTRR_DEFAULT_TYPE: u32 = 0x2ff;
const MTRR_ENABLE_WRITE_BACK: u64 = 1 << 11 | 6;

/// The x87 and SSE control words after reset.
const FPU_CONTROL: u16 = 0x37f;
const MXCSR: u32 = 0x1f80;

/// Sets what firmware would have set on each processor: caching by default, fast string copies.
pub(super) fn set_msrs(vcpu: &VcpuFd) -> Result<(), Error> {
    for (index, data) in [
        (MSR_MISC_ENABLE, MISC_FAST_STRINGS),
        (MSR_MTRR_DEFAULT_TYPE, MTRR_ENABLE_WRITE_BACK),
    ] {
        let entry = kvm_msr_entry {
            index,
            data,
            ..Default::default()
        };
        let msrs = Msrs::from_entries(&[entry]).map_err(|_| Error::new(libc::ENOMEM))?;
        if vcpu.set_msrs(&msrs)? != 1 {
            tracing::debug!(index, "KVM has no such model-specific register; left out");
        }
    }
    Ok(())
}

/// Puts the boot processor into the state that the protocol of its entry point asks for.
pub(super) fn set_boot_state(vcpu: &VcpuFd, entry: BootEntry) -> Result<(), Error> {
    let mut sregs = vcpu.get_sregs()?;
    let mut regs = kvm_regs {
        rflags: FLAGS,
        ..Default::default()
    };
    match entry {
        BootEntry::Linux(address) => {
            set_segments(&mut sregs, Mode::Long);
            sregs.gdt.base = GDT;
            sregs.gdt.limit = GDT_LIMIT;
            sregs.cr0 = CR0_PROTECTED | CR0_EXTENSION_TYPE | CR0_PAGING;
            sregs.cr3 = PAGE_TABLES;
            sregs.cr4 |= CR4_PHYSICAL_ADDRESS_EXTENSION;
            sregs.efer |= EFER_LONG_MODE;
            (regs.rip, regs.rsi) = (address, ZERO_PAGE);
            (regs.rsp, regs.rbp) = (BOOT_STACK, BOOT_STACK);
        }
        BootEntry::Pvh(address) => {
            set_segments(&mut sregs, Mode::Protected);
            sregs.tr = TASK_SEGMENT;
            sregs.cr0 = CR0_PROTECTED | CR0_EXTENSION_TYPE;
            sregs.cr4 = 0;
            (regs.rip, regs.rbx) = (address.into(), PVH_START_INFO);
        }
    }
    sregs.idt.base = 0;
    sregs.idt.limit = 0;
    vcpu.set_sregs(&sregs)?;
    vcpu.set_regs(&regs)?;
    vcpu.set_fpu(&kvm_fpu {
        fcw: FPU_CONTROL,
        mxcsr: MXCSR,
        ..Default::default()
    })
}

/// The width that code runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Protected,
    Long,
}

/// Xen's `misc/pvh.pandoc` asks for a busy 32-bit task of this size.
const TASK_SEGMENT: kvm_segment = kvm_segment {
    base: 0,
    limit: 0x67,
    selector: 0,
    type_: 0b1011,
    present: 1,
    dpl: 0,
    db: 0,
    s: 0,
    l: 0,
    g: 0,
    avl: 0,
    unusable: 0,
    padding: 0,
};

fn set_segments(sregs: &mut kvm_sregs, mode: Mode) {
    sregs.cs = segment(CODE_SELECTOR, Some(mode));
    let data = segment(DATA_SELECTOR, None);
    for register in [
        &mut sregs.ds,
        &mut sregs.es,
        &mut sregs.fs,
        &mut sregs.gs,
        &mut sregs.ss,
    ] {
        *register = data;
    }
}

/// A flat segment over all memory, of code for a mode or of data, as the descriptor of the same selector in the GDT says.
fn segment(selector: u16, code: Option<Mode>) -> kvm_segment {
    const CODE_ACCESSED: u8 = 0b1011;
    const DATA_ACCESSED: u8 = 0b0011;
    let is_long = code == Some(Mode::Long);
    kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector,
        type_: if code.is_some() {
            CODE_ACCESSED
        } else {
            DATA_ACCESSED
        },
        present: 1,
        s: 1,
        l: is_long.into(),
        db: (!is_long).into(),
        g: 1,
        ..Default::default()
    }
}
