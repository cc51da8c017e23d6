//! The table by which the guest finds its watchdog: WDAT, of Microsoft's "Hardware Watchdog Timers Design
//! Specification", 2006.

use acpi_tables::gas::AccessSize;
use acpi_tables::sdt::Sdt;
use acpi_tables::{Aml, gas};

use super::{OEM_ID, OEM_REVISION, OEM_TABLE};
use crate::layout::{
    WATCHDOG_CONTROL_PORT, WATCHDOG_COUNT_PORT, WATCHDOG_KICK_PORT, WATCHDOG_SETTING_PORT,
};
use crate::machine::{WATCHDOG_PERIOD_MS, WATCHDOG_RUNNING};

const REVISION: u8 = 1;
/// The table with its header, before the entries.
const HEAD_BYTES: u32 = 68;
/// Of that, what is no ACPI header.
const WATCHDOG_HEADER_BYTES: u32 = 32;
const ENTRY_BYTES: usize = 24;
const ENABLED: u8 = 1;
/// Segment, bus, device and function where there is no PCI.
const NO_PCI: [u8; 5] = [0xff, 0, 0xff, 0xff, 0xff];
const LEAST_COUNT: u32 = 1;

/// Actions.
const KICK: u8 = 1;
const GET_CURRENT_COUNT: u8 = 4;
const GET_COUNT: u8 = 5;
const SET_COUNT: u8 = 6;
const GET_RUNNING: u8 = 8;
const SET_RUNNING: u8 = 9;
const GET_STOPPED: u8 = 10;
const SET_STOPPED: u8 = 11;

/// Instructions.
const READ_VALUE: u8 = 0;
const READ_COUNT: u8 = 1;
const WRITE_VALUE: u8 = 2;
const WRITE_COUNT: u8 = 3;

const COUNT_MASK: u32 = u16::MAX as u32;
const BYTE_MASK: u32 = u8::MAX as u32;

struct Entry {
    action: u8,
    instruction: u8,
    port: u16,
    value: u32,
}

const fn entry(action: u8, instruction: u8, port: u16, value: u32) -> Entry {
    Entry {
        action,
        instruction,
        port,
        value,
    }
}

const ENTRY_COUNT: u32 = 8;
const ENTRIES: [Entry; ENTRY_COUNT as usize] = [
    entry(KICK, WRITE_VALUE, WATCHDOG_KICK_PORT, 1),
    entry(GET_CURRENT_COUNT, READ_COUNT, WATCHDOG_COUNT_PORT, 0),
    entry(GET_COUNT, READ_COUNT, WATCHDOG_SETTING_PORT, 0),
    entry(SET_COUNT, WRITE_COUNT, WATCHDOG_COUNT_PORT, 0),
    entry(
        GET_RUNNING,
        READ_VALUE,
        WATCHDOG_CONTROL_PORT,
        WATCHDOG_RUNNING as u32,
    ),
    entry(
        SET_RUNNING,
        WRITE_VALUE,
        WATCHDOG_CONTROL_PORT,
        WATCHDOG_RUNNING as u32,
    ),
    entry(GET_STOPPED, READ_VALUE, WATCHDOG_CONTROL_PORT, 0),
    entry(SET_STOPPED, WRITE_VALUE, WATCHDOG_CONTROL_PORT, 0),
];

impl Entry {
    fn bytes(&self) -> Vec<u8> {
        let is_count = [WATCHDOG_COUNT_PORT, WATCHDOG_SETTING_PORT].contains(&self.port);
        let (bits, access, mask) = if is_count {
            (16, AccessSize::WordAccess, COUNT_MASK)
        } else {
            (8, AccessSize::ByteAccess, BYTE_MASK)
        };
        let space = gas::AddressSpace::SystemIo;
        let mut bytes = vec![self.action, self.instruction, 0, 0];
        gas::GAS::new(space, bits, 0, access, self.port.into()).to_aml_bytes(&mut bytes);
        bytes.extend(self.value.to_le_bytes());
        bytes.extend(mask.to_le_bytes());
        debug_assert_eq!(bytes.len(), ENTRY_BYTES);
        bytes
    }
}

pub(super) fn wdat() -> Sdt {
    let (id, table) = (OEM_ID, OEM_TABLE);
    let mut wdat = Sdt::new(*b"WDAT", HEAD_BYTES, REVISION, id, table, OEM_REVISION);
    let mut head = WATCHDOG_HEADER_BYTES.to_le_bytes().to_vec();
    head.extend(NO_PCI);
    head.extend([0; 3]);
    for value in [WATCHDOG_PERIOD_MS, COUNT_MASK, LEAST_COUNT] {
        head.extend(value.to_le_bytes());
    }
    head.extend([ENABLED, 0, 0, 0]);
    head.extend(ENTRY_COUNT.to_le_bytes());
    wdat.write_bytes((HEAD_BYTES - WATCHDOG_HEADER_BYTES) as usize, &head);
    for entry in &ENTRIES {
        wdat.append_slice(&entry.bytes());
    }
    wdat
}
