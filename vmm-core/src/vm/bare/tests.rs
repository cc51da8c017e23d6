use proptest::prelude::*;

use super::*;
use crate::block::FileBackend;
use crate::config::Drive;
use crate::layout::{VIRTIO_MMIO, VIRTIO_MMIO_STRIDE};
use crate::memory;
use crate::net::{Net, Switch};
use crate::state::DeviceKindState;

const MEMORY_MIB: u32 = 16;

fn config() -> VmConfig {
    let mut config = VmConfig::new("/none");
    config.memory_mib = MEMORY_MIB;
    config.drives = vec![drive()];
    config.nets = vec![Net::new(Switch::new().port().unwrap())];
    config.vsock_cid = Some(3);
    config.balloon = true;
    config.watchdog = true;
    config
}

fn drive() -> Drive {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(4096).unwrap();
    Drive::new(Arc::new(FileBackend::open(file.path(), false).unwrap()))
}

fn memory() -> Memory {
    memory::map(MEMORY_MIB).unwrap()
}

#[test]
fn devices_go_on_as_they_were() {
    let now = Instant::now();
    let saved = BareVm::start(config(), memory()).save(now);
    let again = BareVm::restore(config(), memory(), &saved, now).unwrap();
    assert_eq!(again.save(now), saved);
}

#[test]
fn devices_of_another_kind_are_refused() {
    let now = Instant::now();
    let mut saved = BareVm::start(config(), memory()).save(now);
    saved.devices[0].kind = DeviceKindState::Entropy;
    let refused = BareVm::restore(config(), memory(), &saved, now).err();
    let Some(StateError::Differs { setting, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(setting.contains("vm-block0"), "{setting}");
}

#[test]
fn the_drivers_choice_to_write_through_goes_on() {
    let now = Instant::now();
    let mut saved = BareVm::start(config(), memory()).save(now);
    let DeviceKindState::Block(drive) = &mut saved.devices[0].kind else {
        panic!("{saved:?}");
    };
    assert!(std::mem::take(&mut drive.writeback));
    let again = BareVm::restore(config(), memory(), &saved, now).unwrap();
    let mut writeback = [1];
    again
        .machine
        .mmio_read(VIRTIO_MMIO + 0x100 + 32, &mut writeback);
    assert_eq!(writeback, [0]);
    assert_eq!(again.save(now), saved);
}

#[test]
fn a_driver_whose_link_is_another_one_is_told() {
    const DRIVER_OK: u32 = 15;
    const CONFIG_CHANGED: u32 = 2;
    let now = Instant::now();
    let mut saved = BareVm::start(config(), memory()).save(now);
    let transport = &mut saved.devices[1].transport;
    (transport.active, transport.status) = (true, DRIVER_OK);
    transport.driver_features = 1 << 32;
    for (link_up, told) in [(true, 0), (false, CONFIG_CHANGED)] {
        let DeviceKindState::Net(net) = &mut saved.devices[1].kind else {
            panic!("{saved:?}");
        };
        (net.link_up, net.config_generation) = (link_up, 7);
        let again = BareVm::restore(config(), memory(), &saved, now).unwrap();
        let register = |at| {
            let mut value = [0; 4];
            let window = VIRTIO_MMIO + VIRTIO_MMIO_STRIDE;
            again.machine.mmio_read(window + at, &mut value);
            u32::from_le_bytes(value)
        };
        assert_eq!(register(0x60), told);
        assert_eq!(register(0xfc), 7 + u32::from(!link_up));
    }
}

#[derive(Clone, Copy, Debug)]
enum Write {
    Port(u16, u32, usize),
    Register(u64, u64, u32),
    Config(u64, u64, u64, usize),
}

fn write() -> impl Strategy<Value = Write> {
    const MOST_ACTIVE: u32 = 0x8f;
    let port = prop_oneof![0x3f8..=0x3ffu16, 0x610..=0x615u16, Just(0x505), Just(0x601)];
    let value = prop_oneof![
        prop::sample::select(vec![0, 1, 3, 4, 8, 11, 15, 64, 79, MOST_ACTIVE]),
        any::<u32>(),
    ];
    let width = || prop::sample::select(vec![1, 2, 4, 8]);
    let device = || 0u64..5;
    prop_oneof![
        (port, any::<u32>(), prop::sample::select(vec![1, 2, 4]))
            .prop_map(|(port, value, width)| Write::Port(port, value, width)),
        (device(), value.clone())
            .prop_map(|(device, status)| Write::Register(device, 0x70, status)),
        (
            device(),
            prop::sample::select(vec![0x14, 0x20, 0x24]),
            value.clone()
        )
            .prop_map(|(device, register, value)| Write::Register(device, register, value)),
        (device(), 0u64..0x40, value).prop_map(|(device, register, value)| Write::Register(
            device,
            register * 4,
            value
        )),
        (device(), 0u64..64, any::<u64>(), width())
            .prop_map(|(device, at, value, width)| Write::Config(device, at, value, width)),
    ]
}

fn apply(machine: &Machine, write: Write) {
    let window = |device| VIRTIO_MMIO + device * VIRTIO_MMIO_STRIDE;
    match write {
        Write::Port(port, value, width) => {
            let ends = machine.port_out(port, &value.to_le_bytes()[..width]);
            assert_eq!(ends, None);
        }
        Write::Register(device, register, value) => {
            machine.mmio_write(window(device) + register, &value.to_le_bytes());
        }
        Write::Config(device, at, value, width) => {
            machine.mmio_write(window(device) + 0x100 + at, &value.to_le_bytes()[..width]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn whatever_a_guest_writes_the_state_of_its_machine_is_taken_back(
        lives in prop::collection::vec(prop::collection::vec(write(), 0..64), 1..4),
    ) {
        let mut vm = BareVm::start(config(), memory());
        for writes in lives {
            for write in writes {
                apply(&vm.machine, write);
            }
            let now = Instant::now();
            let (state, memory) = vm.suspend(now);
            vm = BareVm::restore(config(), memory, &state, now).unwrap();
            let again = vm.save(now);
            prop_assert_eq!(again.serial, state.serial);
            prop_assert_eq!(again.watchdog, state.watchdog);
            prop_assert_eq!(again.marks, state.marks);
            prop_assert!(vm.failure().is_none());
        }
    }
}

#[test]
fn what_a_driver_wrote_before_it_was_at_work_is_gone_with_its_reset() {
    const GIVEN: u64 = 4;
    const WRITEBACK: u64 = 32;
    let vm = BareVm::start(config(), memory());
    for (device, at, negotiate) in [
        (0, WRITEBACK, true),
        (0, WRITEBACK, false),
        (3, GIVEN, true),
    ] {
        let window = VIRTIO_MMIO + device * VIRTIO_MMIO_STRIDE;
        let set = |register, value: u32| {
            vm.machine
                .mmio_write(window + register, &value.to_le_bytes());
        };
        let (mut fresh, mut field) = ([0], [0]);
        vm.machine.mmio_read(window + 0x100 + at, &mut fresh);
        set(0x70, 1 | 2);
        // VIRTIO_BLK_F_CONFIG_WCE, and VIRTIO_F_VERSION_1.
        set(0x20, if negotiate && device == 0 { 1 << 11 } else { 0 });
        set(0x24, 1);
        set(0x20, 1);
        set(0x70, 1 | 2 | 8);
        let value = [1 - fresh[0], 0, 0, 0];
        let length = if at == GIVEN { 4 } else { 1 };
        vm.machine.mmio_write(window + 0x100 + at, &value[..length]);
        vm.machine.mmio_read(window + 0x100 + at, &mut field);
        assert_eq!(field != fresh, negotiate, "device {device}");
        set(0x70, 0);
        vm.machine.mmio_read(window + 0x100 + at, &mut field);
        assert_eq!(field, fresh, "device {device}");
    }
}
