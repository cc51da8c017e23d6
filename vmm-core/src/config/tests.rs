use std::io;

use super::*;
use crate::net::Switch;
use crate::{ReadTarget, WriteSource};

struct Sized(u64);

impl BlockBackend for Sized {
    fn size(&self) -> u64 {
        self.0
    }
    fn read_at(&self, _: &mut ReadTarget<'_>, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn write_at(&self, _: &mut WriteSource<'_>, _: u64) -> io::Result<()> {
        Ok(())
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

fn drive(bytes: u64, serial: &str) -> Drive {
    let mut drive = Drive::new(Arc::new(Sized(bytes)));
    drive.serial = serial.to_owned();
    drive
}

fn net() -> Net {
    Net::new(Switch::new().port().unwrap())
}

fn net_at(mac: [u8; 6]) -> Net {
    let mut net = net();
    net.mac = Some(mac);
    net
}

fn good() -> VmConfig {
    let mut config = VmConfig::new("/boot/vmlinuz");
    config.drives = vec![drive(4096, "disk0")];
    config.nets = vec![net()];
    config.vsock_cid = Some(3);
    config
}

#[test]
fn a_sensible_machine_is_accepted() {
    assert!(good().check().is_ok());
}

#[test]
fn machines_out_of_bounds_are_refused_with_a_reason() {
    let with = |change: fn(&mut VmConfig)| {
        let mut config = good();
        change(&mut config);
        config.check().unwrap_err()
    };
    assert!(matches!(
        with(|c| c.vcpus = 0),
        StartError::Vcpus { asked: 0 }
    ));
    assert!(matches!(
        with(|c| c.vcpus = 33),
        StartError::Vcpus { asked: 33 }
    ));
    assert!(matches!(
        with(|c| c.memory_mib = 15),
        StartError::TooLittleMemory { asked_mib: 15 }
    ));
    assert!(matches!(
        with(|c| c.vsock_cid = Some(2)),
        StartError::VsockCid { cid: 2 }
    ));
    assert!(matches!(
        with(|c| c.drives = vec![drive(1000, "")]),
        StartError::DriveSize {
            index: 0,
            bytes: 1000
        }
    ));
    assert!(matches!(
        with(|c| c.drives = vec![drive(0, "")]),
        StartError::DriveSize { bytes: 0, .. }
    ));
    assert!(matches!(
        with(|c| c.drives = vec![drive(512, "123456789012345678901")]),
        StartError::DriveSerial { index: 0, .. }
    ));
    for queues in [0, 2] {
        let mut config = good();
        config.drives[0].queues = queues;
        assert!(matches!(
            config.check(),
            Err(StartError::DriveQueues { index: 0, asked, vcpus: 1 }) if asked == queues
        ));
        config.vcpus = 2;
        assert_eq!(config.check().is_ok(), queues == 2);
    }
    assert!(matches!(
        with(|c| c.drives = vec![drive(512, ""); MAX_DRIVES + 1]),
        StartError::TooManyDrives { .. }
    ));
    assert!(matches!(
        with(|c| c.nets = vec![net(), net_at([3, 0, 0, 0, 0, 1])]),
        StartError::NetMac {
            index: 1,
            mac: [3, 0, 0, 0, 0, 1]
        }
    ));
    assert!(matches!(
        with(|c| c.nets = vec![net_at([0; 6])]),
        StartError::NetMac { index: 0, .. }
    ));
    assert!(matches!(
        with(|c| {
            c.nets = vec![net()];
            c.nets[0].mtu = Some(67);
        }),
        StartError::NetMtu { index: 0, mtu: 67 }
    ));
    assert!(matches!(
        with(|c| c.nets = (1..MAX_OPTIONAL_DEVICES).map(|_| net()).collect()),
        StartError::TooManyDevices { asked } if asked == MAX_OPTIONAL_DEVICES + 1
    ));
    assert!(matches!(
        with(|c| c.command_line = "a\0b".to_owned()),
        StartError::CommandLine(_)
    ));
}
