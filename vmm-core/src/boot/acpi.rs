//! ACPI tables of a hardware-reduced machine without PCI.
//!
//! RSDP → XSDT → FADT (→ DSDT), MADT and WDAT, packed from [`ACPI`] on, the RSDP first, since kernels that
//! are not told its address search for it there.

mod platform;
mod watchdog;

use acpi_tables::Aml;
use acpi_tables::aml;
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::madt::{
    EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic,
};
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;

use crate::layout::{
    ACPI, ACPI_BYTES, IO_APIC, LOCAL_APIC, RESET_PORT, RESET_VALUE, SERIAL_GSI, SERIAL_PORT,
    SERIAL_PORTS, SLEEP_CONTROL_PORT, SLEEP_STATUS_PORT, SLEEP_TYPE_S5, VIRTIO_FIRST_GSI,
    VIRTIO_MMIO, VIRTIO_MMIO_STRIDE,
};

const OEM_ID: [u8; 6] = *b"VMSESS";
const OEM_TABLE: [u8; 8] = *b"VMMCORE ";
const OEM_REVISION: u32 = 1;
const TABLE_ALIGN: usize = 16;
const SDT_HEADER_BYTES: u32 = 36;
const DSDT_REVISION: u8 = 2;

/// FADT boot flags: no VGA, no PCIe power management, no CMOS clock, and, by leaving out bits 0 and 1,
/// no legacy devices and no keyboard controller to probe for.
const BOOT_ARCHITECTURE: u16 = 1 << 2 | 1 << 4 | 1 << 5;

/// The tables as they lie in guest memory, from [`ACPI`] on.
pub(super) struct AcpiTables {
    pub(super) bytes: Vec<u8>,
}

impl AcpiTables {
    /// Appends a table; returns its guest-physical address.
    fn push(&mut self, table: &dyn Aml) -> u64 {
        self.bytes
            .resize(self.bytes.len().next_multiple_of(TABLE_ALIGN), 0);
        let address = ACPI + self.bytes.len() as u64;
        table.to_aml_bytes(&mut self.bytes);
        assert!(
            self.bytes.len() as u64 <= ACPI_BYTES,
            "the tables of the largest machine fit; a unit test builds them"
        );
        address
    }
}

/// Builds the tables for `vcpus` processors and `devices` virtio-mmio devices, and for a watchdog if there
/// is one.
pub(super) fn tables(vcpus: u8, devices: usize, has_watchdog: bool) -> AcpiTables {
    let mut tables = AcpiTables {
        bytes: vec![0; Rsdp::len()],
    };
    let dsdt = tables.push(&dsdt(vcpus, devices));
    let fadt = tables.push(&fadt(dsdt).finalize());
    let madt = tables.push(&madt(vcpus));
    let mut xsdt = XSDT::new(OEM_ID, OEM_TABLE, OEM_REVISION);
    xsdt.add_entry(fadt);
    xsdt.add_entry(madt);
    if has_watchdog {
        xsdt.add_entry(tables.push(&watchdog::wdat()));
    }
    let xsdt = tables.push(&xsdt);
    let mut rsdp = Vec::new();
    Rsdp::new(OEM_ID, xsdt).to_aml_bytes(&mut rsdp);
    tables.bytes[..rsdp.len()].copy_from_slice(&rsdp);
    tables
}

fn fadt(dsdt: u64) -> FADTBuilder {
    let mut fadt = FADTBuilder::new(OEM_ID, OEM_TABLE, OEM_REVISION)
        .dsdt_64(dsdt)
        .flag(Flags::Wbinvd)
        .flag(Flags::HwReducedAcpi)
        .flag(Flags::ResetRegSup)
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton);
    fadt.iapc_boot_arch = BOOT_ARCHITECTURE.into();
    fadt.reset_reg = port(RESET_PORT);
    fadt.reset_value = RESET_VALUE;
    fadt.sleep_control_reg = port(SLEEP_CONTROL_PORT);
    fadt.sleep_status_reg = port(SLEEP_STATUS_PORT);
    fadt
}

fn port(port: u16) -> GAS {
    GAS::new(
        AddressSpace::SystemIo,
        8,
        0,
        AccessSize::ByteAccess,
        port.into(),
    )
}

fn madt(vcpus: u8) -> MADT {
    let mut madt = MADT::new(
        OEM_ID,
        OEM_TABLE,
        OEM_REVISION,
        LocalInterruptController::Address(LOCAL_APIC),
    );
    madt.add_structure(IoApic::new(0, IO_APIC, 0));
    for id in 0..vcpus {
        madt.add_structure(ProcessorLocalApic::new(id, id, EnabledStatus::Enabled));
    }
    madt
}

fn dsdt(vcpus: u8, devices: usize) -> Sdt {
    let mut dsdt = Sdt::new(
        *b"DSDT",
        SDT_HEADER_BYTES,
        DSDT_REVISION,
        OEM_ID,
        OEM_TABLE,
        OEM_REVISION,
    );
    let mut aml = Vec::new();
    let s5 = aml::Package::new(vec![&SLEEP_TYPE_S5, &0u8, &0u8, &0u8]);
    aml::Name::new("_S5_".into(), &s5).to_aml_bytes(&mut aml);
    for id in 0..vcpus {
        processor(id, &mut aml);
    }
    serial_port(&mut aml);
    platform::power_button(&mut aml);
    platform::crash_port(&mut aml);
    for (index, gsi) in (0..devices as u64).zip(VIRTIO_FIRST_GSI..) {
        virtio_device(index, gsi, &mut aml);
    }
    dsdt.append_slice(&aml);
    dsdt
}

fn processor(id: u8, aml: &mut Vec<u8>) {
    aml::Device::new(
        format!("_SB_.C{id:03}").as_str().into(),
        vec![
            &aml::Name::new("_HID".into(), &"ACPI0007"),
            &aml::Name::new("_UID".into(), &id),
        ],
    )
    .to_aml_bytes(aml);
}

fn serial_port(aml: &mut Vec<u8>) {
    aml::Device::new(
        "_SB_.COM1".into(),
        vec![
            &aml::Name::new("_HID".into(), &aml::EISAName::new("PNP0501")),
            &aml::Name::new("_UID".into(), &0u8),
            &aml::Name::new(
                "_CRS".into(),
                &aml::ResourceTemplate::new(vec![
                    &aml::Interrupt::new(true, true, false, false, SERIAL_GSI),
                    &aml::IO::new(SERIAL_PORT, SERIAL_PORT, 1, SERIAL_PORTS),
                ]),
            ),
        ],
    )
    .to_aml_bytes(aml);
}

/// `LNRO0005` is the id that Linux's virtio-mmio driver answers to.
fn virtio_device(index: u64, gsi: u32, aml: &mut Vec<u8>) {
    let base = u32::try_from(VIRTIO_MMIO + index * VIRTIO_MMIO_STRIDE)
        .expect("device windows lie below 4 GiB");
    let window = u32::try_from(VIRTIO_MMIO_STRIDE).expect("a window is a page");
    aml::Device::new(
        format!("_SB_.V{index:03}").as_str().into(),
        vec![
            &aml::Name::new("_HID".into(), &"LNRO0005"),
            &aml::Name::new("_UID".into(), &index),
            &aml::Name::new("_CCA".into(), &aml::ONE),
            &aml::Name::new(
                "_CRS".into(),
                &aml::ResourceTemplate::new(vec![
                    &aml::Memory32Fixed::new(true, base, window),
                    &aml::Interrupt::new(true, true, false, false, gsi),
                ]),
            ),
        ],
    )
    .to_aml_bytes(aml);
}
