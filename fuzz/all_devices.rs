//! A small machine with a device of every kind.

use std::io;
use std::sync::Arc;

use vmm_core::{BlockBackend, Drive, Net, ReadTarget, Switch, VmConfig, WriteSource};

/// A disk of zeroes that takes everything and stays one.
struct Zeroes;

impl BlockBackend for Zeroes {
    fn size(&self) -> u64 {
        4096
    }
    fn read_at(&self, target: &mut ReadTarget<'_>, _: u64) -> io::Result<()> {
        target.put(&vec![0; target.remaining()])
    }
    fn write_at(&self, source: &mut WriteSource<'_>, _: u64) -> io::Result<()> {
        source.take(&mut vec![0; source.remaining()])
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
    fn discard(&self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn write_zeroes(&self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }
}

/// Drive, network, vsock, balloon and entropy, in the order of their windows.
pub fn config() -> VmConfig {
    let mut config = VmConfig::new("/none");
    config.memory_mib = 16;
    config.drives = vec![Drive::new(Arc::new(Zeroes))];
    let mut net = Net::new(Switch::new().port().expect("the host has descriptors"));
    net.mac = Some([2, 0, 0, 0, 0, 1]);
    config.nets = vec![net];
    config.vsock_cid = Some(3);
    config.balloon = true;
    config
}
