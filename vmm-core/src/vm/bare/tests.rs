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
