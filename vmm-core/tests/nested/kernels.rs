//! Kernels of other series than the one that the other tests boot.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use vmm_core::{BootProtocol, Drive, Exit, FileBackend, Net, Switch, Vm};

use super::initramfs::{env, with_modules_and_script};
use super::machine::{PATIENCE, Screen, config};

const SECTOR: usize = 512;

/// Keeps guests from what emulated machines do wrong (QEMU 7.2): XSETBV is not told to KVM, so that CPUID
/// gives a size of the state that is too small; and CMPXCHG16B (feature 141) leaves an operand in the flags.
const AROUND_EMULATORS: &str = " noxsave clearcpuid=141";

/// Uses all that a machine has, and ends when its button is pressed.
const SCRIPT: &str = "load evdev button\n\
    echo release $(uname -r)\n\
    for cpu in 0 1; do taskset $((1 << cpu)) sh -c \"echo works $cpu\"; done\n\
    echo clock $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)\n\
    echo random $(head -c 16 /dev/hwrng | wc -c)\n\
    echo read $(head -c 13 /dev/vda)\n\
    printf 'from the guest' | dd of=/dev/vda bs=512 seek=1 conv=fsync 2>/dev/null\n\
    echo network $(cat /sys/class/net/eth0/address)\n\
    ip addr add 10.0.0.1/24 dev eth0; ip link set eth0 up; ping -c 1 -W 1 10.0.0.2 >/dev/null\n\
    vsock-peer echo 1234; echo echoed $?\n\
    dmesg | grep -E 'WARNING: CPU|BUG:|Oops|ACPI (BIOS )?Error|virtio.*(fail|error)' | \
    sed 's/^/complaint: /'\n\
    echo listening to the button; head -c 24 /dev/input/event0 >/dev/null; echo pressed; poweroff -f";

/// Boots the kernel that the variables with this suffix name.
fn works(suffix: &str, protocol: BootProtocol) -> String {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    let mut content = vec![0; 64 * SECTOR];
    content[..13].copy_from_slice(b"from the host");
    std::fs::write(&image, content).unwrap();

    let screen = Screen::default();
    let mut config = config("", &screen);
    config.kernel = Path::new(&env(&format!("VM_TEST_KERNEL_{suffix}"))).into();
    let modules = env(&format!("VM_TEST_MODULES_{suffix}"));
    config.initrd = Some(with_modules_and_script(Path::new(&modules), SCRIPT));
    config.boot_protocol = protocol;
    config.command_line.push_str(AROUND_EMULATORS);
    config.vcpus = 2;
    config.vsock_cid = Some(3);
    config.drives = vec![Drive::new(Arc::new(
        FileBackend::open(&image, false).unwrap(),
    ))];
    let mut net = Net::new(Switch::new().port().unwrap());
    net.mac = Some([0x02, 0xab, 0xcd, 0xef, 0x01, 0x02]);
    let counters = net.counters();
    config.nets = vec![net];

    let vm = Vm::start(config).unwrap();
    let boot = screen.wait_for("up ");
    screen.wait_for("listening\n");
    let mut stream = vm.vsock().unwrap().connect(1234, PATIENCE).unwrap();
    stream.write_all(b"there and back").unwrap();
    stream.shutdown_write().unwrap();
    let mut back = String::new();
    stream.read_to_string(&mut back).unwrap();
    assert_eq!(back, "there and back");
    screen.wait_for("listening to the button\n");
    // The first may come before the guest has opened its device.
    let pressed = (0..60).find_map(|_| {
        vm.press_power_button();
        vm.wait_timeout(Duration::from_secs(1))
    });
    assert!(matches!(pressed, Some(Exit::PowerOff)), "{}", screen.text());

    let text = screen.text();
    println!("init after {boot:?}\n{text}");
    for line in [
        "works 0\n",
        "works 1\n",
        "clock kvm-clock\n",
        "random 16\n",
        "read from the host\n",
        "network 02:ab:cd:ef:01:02\n",
        "echoed 0\n",
        "pressed\n",
    ] {
        assert!(text.contains(line), "no {line:?} in:\n{text}");
    }
    assert!(!text.contains("complaint: "), "{text}");
    let written = std::fs::read(&image).unwrap();
    assert!(written[SECTOR..].starts_with(b"from the guest"));
    assert!(counters.sent().frames > 0, "somebody was asked for");
    text
}

#[test]
fn the_oldest_kernel_that_is_supported_works_by_the_pvh_protocol() {
    let text = works("5_10", BootProtocol::Pvh);
    assert!(text.contains("release 5.10."), "{text}");
}

#[test]
fn a_newer_kernel_whose_modules_are_packed_works() {
    let text = works("6_12", BootProtocol::Linux);
    assert!(text.contains("release 6.12."), "{text}");
}
