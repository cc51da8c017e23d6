//! The interrupt controllers and the timer that KVM has for a VM, as plain data.

#![expect(
    unsafe_code,
    reason = "KVM hands interrupt controllers over in a union"
)]

use kvm_bindings::{
    KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, kvm_ioapic_state,
    kvm_ioapic_state__bindgen_ty_1, kvm_irqchip, kvm_pic_state,
};
use kvm_ioctls::{Error, VmFd};
use serde::{Deserialize, Serialize};

use crate::layout::{IO_APIC, LAST_GSI};

const PINS: usize = LAST_GSI as usize + 1;

/// The interrupt controllers that vCPUs share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InterruptControllersState {
    /// The two 8259s, the master first.
    pub pics: [PicState; 2],
    /// The I/O APIC.
    pub io_apic: IoApicState,
}

/// An 8259, in the fields of KVM's `struct kvm_pic_state`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are KVM's")]
#[non_exhaustive]
pub struct PicState {
    pub last_irr: u8,
    pub irr: u8,
    pub imr: u8,
    pub isr: u8,
    pub priority_add: u8,
    pub irq_base: u8,
    pub read_reg_select: u8,
    pub poll: u8,
    pub special_mask: u8,
    pub init_state: u8,
    pub auto_eoi: u8,
    pub rotate_on_auto_eoi: u8,
    pub special_fully_nested_mode: u8,
    pub init4: u8,
    pub elcr: u8,
    pub elcr_mask: u8,
}

/// The I/O APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct IoApicState {
    /// The index register.
    pub register_select: u32,
    /// Its number among APICs.
    pub id: u32,
    /// Pins with an interrupt that waits.
    pub irr: u32,
    /// The redirection table.
    pub redirections: [u64; PINS],
}

impl InterruptControllersState {
    pub(super) fn read(vm: &VmFd) -> Result<Self, Error> {
        let pic = |chip_id| {
            let chip = chip(vm, chip_id)?;
            // SAFETY: for these two chips, KVM has filled in this field of the union; any bytes make one.
            Ok::<_, Error>(PicState::from(unsafe { chip.chip.pic }))
        };
        let io_apic = chip(vm, KVM_IRQCHIP_IOAPIC)?;
        Ok(Self {
            pics: [pic(KVM_IRQCHIP_PIC_MASTER)?, pic(KVM_IRQCHIP_PIC_SLAVE)?],
            // SAFETY: for this chip, KVM has filled in this field of the union; any bytes make one.
            io_apic: IoApicState::from(unsafe { io_apic.chip.ioapic }),
        })
    }

    pub(super) fn write(&self, vm: &VmFd) -> Result<(), Error> {
        for (chip_id, state) in [KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE]
            .into_iter()
            .zip(self.pics)
        {
            let mut chip = kvm_irqchip {
                chip_id,
                ..Default::default()
            };
            chip.chip.pic = state.into();
            vm.set_irqchip(&chip)?;
        }
        let mut chip = kvm_irqchip {
            chip_id: KVM_IRQCHIP_IOAPIC,
            ..Default::default()
        };
        chip.chip.ioapic = self.io_apic.into();
        vm.set_irqchip(&chip)
    }
}

fn chip(vm: &VmFd, chip_id: u32) -> Result<kvm_irqchip, Error> {
    let mut chip = kvm_irqchip {
        chip_id,
        ..Default::default()
    };
    vm.get_irqchip(&mut chip)?;
    Ok(chip)
}

/// Both ways, as the fields are the same.
macro_rules! same_fields {
    ($($field:ident)*) => {
        impl From<kvm_pic_state> for PicState {
            fn from(pic: kvm_pic_state) -> Self {
                Self { $($field: pic.$field),* }
            }
        }

        impl From<PicState> for kvm_pic_state {
            fn from(pic: PicState) -> Self {
                Self { $($field: pic.$field),* }
            }
        }
    };
}

same_fields! {
    last_irr irr imr isr priority_add irq_base read_reg_select poll special_mask init_state auto_eoi
    rotate_on_auto_eoi special_fully_nested_mode init4 elcr elcr_mask
}

impl From<kvm_ioapic_state> for IoApicState {
    fn from(io_apic: kvm_ioapic_state) -> Self {
        Self {
            register_select: io_apic.ioregsel,
            id: io_apic.id,
            irr: io_apic.irr,
            // SAFETY: all bytes of an entry are those of this field of the union.
            redirections: io_apic.redirtbl.map(|entry| unsafe { entry.bits }),
        }
    }
}

impl From<IoApicState> for kvm_ioapic_state {
    fn from(io_apic: IoApicState) -> Self {
        Self {
            // Kernels could move it on some chipsets; KVM's stays where it is.
            base_address: IO_APIC.into(),
            ioregsel: io_apic.register_select,
            id: io_apic.id,
            irr: io_apic.irr,
            pad: 0,
            redirtbl: io_apic
                .redirections
                .map(|bits| kvm_ioapic_state__bindgen_ty_1 { bits }),
        }
    }
}
