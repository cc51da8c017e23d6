//! Where things are in guest-physical address space and among interrupt lines.
//!
//! Invariant: none of the fixed structures overlap, and all of them lie below [`HIGH_MEMORY_START`]
//! or inside the hole `MMIO_GAP_START..MMIO_GAP_END`, where no RAM is.

/// Global descriptor table of the boot processor.
pub(crate) const GDT: u64 = 0x500;
/// Linux's `boot_params`, 4 KiB.
pub(crate) const ZERO_PAGE: u64 = 0x7000;
/// Start info of the PVH protocol, 4 KiB, which kernels get in place of the zero page.
pub(crate) const PVH_START_INFO: u64 = ZERO_PAGE;
/// First stack of the boot processor, growing down.
pub(crate) const BOOT_STACK: u64 = 0x8ff0;
/// Root of the boot page tables; the tables below it follow, one 4 KiB page each.
pub(crate) const PAGE_TABLES: u64 = 0x9000;
/// The kernel command line, NUL-terminated.
pub(crate) const COMMAND_LINE: u64 = 0x2_0000;
/// End of conventional memory: the first kilobyte of a PC's extended BIOS data area.
pub(crate) const LOW_RAM_END: u64 = 0x9_fc00;
/// ACPI tables, the RSDP first: the range that kernels search for it.
pub(crate) const ACPI: u64 = 0xe_0000;
/// Bytes set aside for the ACPI tables.
pub(crate) const ACPI_BYTES: u64 = RESET_VECTOR - ACPI;
/// Where firmware would start, and where kernels jump, in real mode, to restart it.
pub(crate) const RESET_VECTOR: u64 = 0xf_fff0;
/// Where memory that a kernel may be loaded to begins.
pub(crate) const HIGH_MEMORY_START: u64 = 0x10_0000;

/// Start of the hole in RAM that holds memory-mapped devices.
pub(crate) const MMIO_GAP_START: u64 = 3 << 30;
/// End of that hole; RAM goes on here.
pub(crate) const MMIO_GAP_END: u64 = 4 << 30;

/// Registers of the first virtio-mmio device.
pub(crate) const VIRTIO_MMIO: u64 = 0xd000_0000;
/// Distance between, and size of, the register windows of virtio-mmio devices.
pub(crate) const VIRTIO_MMIO_STRIDE: u64 = 0x1000;
/// The I/O APIC, at the address that KVM's in-kernel one answers.
pub(crate) const IO_APIC: u32 = 0xfec0_0000;
/// The local APICs, as above.
pub(crate) const LOCAL_APIC: u32 = 0xfee0_0000;
/// Four pages that KVM needs on Intel processors for real-mode emulation.
pub(crate) const KVM_TSS: usize = 0xfffb_d000;
/// One more page for KVM: identity-mapping page table.
pub(crate) const KVM_IDENTITY_MAP: u64 = 0xfffb_c000;

/// Interrupt line of the power button: that of a second serial port, which there is none of.
pub(crate) const POWER_BUTTON_GSI: u32 = 3;
/// Interrupt line of the serial port.
pub(crate) const SERIAL_GSI: u32 = 4;
/// Interrupt line of the first virtio-mmio device; the others follow.
pub(crate) const VIRTIO_FIRST_GSI: u32 = 5;
/// Last interrupt line of the I/O APIC.
pub(crate) const LAST_GSI: u32 = 23;
/// The most virtio-mmio devices that have an interrupt line of their own.
pub(crate) const MAX_VIRTIO_DEVICES: usize = (LAST_GSI - VIRTIO_FIRST_GSI + 1) as usize;

/// First I/O port of the serial port, and how many it has.
pub(crate) const SERIAL_PORT: u16 = 0x3f8;
/// Number of I/O ports of a 16550.
pub(crate) const SERIAL_PORTS: u8 = 8;
/// Data port of the keyboard controller.
pub(crate) const KEYBOARD_DATA_PORT: u8 = 0x60;
/// Command port of the keyboard controller.
pub(crate) const KEYBOARD_COMMAND_PORT: u8 = 0x64;
/// The keyboard controller's command that pulses the reset line.
pub(crate) const KEYBOARD_RESET: u8 = 0xfe;
/// ACPI sleep control register.
pub(crate) const SLEEP_CONTROL_PORT: u16 = 0x600;
/// ACPI sleep status register.
pub(crate) const SLEEP_STATUS_PORT: u16 = 0x601;
/// ACPI reset register.
pub(crate) const RESET_PORT: u16 = 0x602;
/// What the guest writes to [`RESET_PORT`] to reset the machine.
pub(crate) const RESET_VALUE: u8 = 1;
/// Where a guest says that it has booted: it writes [`BOOT_MARK_VALUE`], one byte, to this I/O port. The
/// first time counts, for [`Event::Booted`](crate::Event::Booted) and
/// [`Vm::boot_time`](crate::Vm::boot_time).
///
/// A program of root's, for instance an initramfs' init, does it with `ioperm(0x604, 1, 1); outb(1,
/// 0x604);`, and a shell where the kernel has `/dev/port` with `printf '\001' | dd of=/dev/port bs=1
/// seek=1540`.
pub const BOOT_MARK_PORT: u16 = 0x604;
/// What a guest writes to [`BOOT_MARK_PORT`].
pub const BOOT_MARK_VALUE: u8 = 1;
/// Where a guest's kernel tells of its crash, the port that QEMU's pvpanic device has.
pub(crate) const PANIC_PORT: u16 = 0x505;
/// The watchdog's count, two bytes: what it counts from when written, what is left when read.
pub(crate) const WATCHDOG_COUNT_PORT: u16 = 0x610;
/// The watchdog's control register.
pub(crate) const WATCHDOG_CONTROL_PORT: u16 = 0x612;
/// A write here starts the watchdog's count again.
pub(crate) const WATCHDOG_KICK_PORT: u16 = 0x613;
/// What the watchdog counts from, two bytes, to be read.
pub(crate) const WATCHDOG_SETTING_PORT: u16 = 0x614;
/// Sleep type that `\_S5` names: power off.
pub(crate) const SLEEP_TYPE_S5: u8 = 5;
