//! QEMU's `microvm`, at its best for the comparison: no option ROM, no legacy timers or clock, disks with io_uring in a
//! thread of their own.

use std::process::Command;

use crate::spec::{MEMORY_MIB, Spec};

/// The guest's vsock address on the host.
pub(crate) const GUEST_CID: u32 = 52;

/// The command line.
pub(crate) fn command(spec: &Spec<'_>) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    command.args([
        "-machine",
        "microvm,accel=kvm,x-option-roms=off,rtc=off,auto-kernel-cmdline=off",
    ]);
    command.args(["-cpu", "host", "-smp", "1", "-m"]);
    command.arg(MEMORY_MIB.to_string());
    command.args(["-nodefaults", "-no-user-config", "-no-reboot"]);
    command.args(["-display", "none", "-serial", "stdio"]);
    command.arg("-kernel").arg(spec.kernel);
    command.arg("-initrd").arg(spec.initrd);
    command.args(["-append", &spec.command_line()]);
    if let Some(disk) = &spec.disk {
        command.args(["-object", "iothread,id=disk"]);
        command.arg("-drive").arg(format!(
            "id=disk,if=none,format=raw,cache=writeback,aio=io_uring,file={}",
            disk.display()
        ));
        command.args(["-device", "virtio-blk-device,drive=disk,iothread=disk"]);
    }
    if let Some(tap) = spec.tap {
        command.arg("-netdev").arg(format!(
            "tap,id=net,ifname={tap},script=no,downscript=no,vhost=off"
        ));
        command.args(["-device", "virtio-net-device,netdev=net"]);
    }
    if spec.has_vsock {
        let device = format!("vhost-vsock-device,guest-cid={GUEST_CID}");
        command.args(["-device", &device]);
    }
    command
}
