use super::*;
use crate::block::FileBackend;
use crate::config::Drive;
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
