//! The devices of the DSDT that are no virtio: power button, and the crash port.

use acpi_tables::Aml;
use acpi_tables::aml;

use crate::layout::{PANIC_PORT, POWER_BUTTON_GSI};

/// What a button's driver is told when it was pressed (ACPI 6.4, section 4.8.3.1).
const PRESSED: u8 = 0x80;

/// A control-method power button (ACPI 6.4, section 4.8.2.2.1.2), and the generic event device (section
/// 5.6.9) whose interrupt says that it was pressed.
pub(super) fn power_button(aml: &mut Vec<u8>) {
    aml::Device::new(
        "_SB_.PWRB".into(),
        vec![&aml::Name::new(
            "_HID".into(),
            &aml::EISAName::new("PNP0C0C"),
        )],
    )
    .to_aml_bytes(aml);
    let button: aml::Path = "\\_SB_.PWRB".into();
    aml::Device::new(
        "_SB_.GED_".into(),
        vec![
            &aml::Name::new("_HID".into(), &"ACPI0013"),
            &aml::Name::new("_UID".into(), &0u8),
            &aml::Name::new(
                "_CRS".into(),
                &aml::ResourceTemplate::new(vec![&aml::Interrupt::new(
                    true,
                    true,
                    false,
                    false,
                    POWER_BUTTON_GSI,
                )]),
            ),
            &aml::Method::new(
                "_EVT".into(),
                1,
                true,
                vec![&aml::If::new(
                    &aml::Equal::new(&aml::Arg(0), &POWER_BUTTON_GSI),
                    vec![&aml::Notify::new(&button, &PRESSED)],
                )],
            ),
        ],
    )
    .to_aml_bytes(aml);
}

/// The pvpanic device, by the id that QEMU gave it.
pub(super) fn crash_port(aml: &mut Vec<u8>) {
    aml::Device::new(
        "_SB_.PEVT".into(),
        vec![
            &aml::Name::new("_HID".into(), &"QEMU0001"),
            &aml::Name::new(
                "_CRS".into(),
                &aml::ResourceTemplate::new(vec![&aml::IO::new(PANIC_PORT, PANIC_PORT, 1, 1)]),
            ),
        ],
    )
    .to_aml_bytes(aml);
}
