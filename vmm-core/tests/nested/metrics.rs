//! What a guest with a stock kernel makes its VM count.

use std::sync::Arc;
use std::time::Duration;

use vmm_core::{Drive, Exit, FileBackend, Vm};

use super::machine::{Screen, config, end};

const DISK_BYTES: u64 = 8 << 20;

#[test]
fn the_figures_of_a_boot_and_of_its_disk_are_plausible() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(DISK_BYTES).unwrap();
    let disk = FileBackend::open(file.path(), false).unwrap();
    let screen = Screen::default();
    let mut config = config(
        "dd if=/dev/vda of=/dev/null bs=1M count=4 iflag=direct 2>/dev/null\n\
         dd if=/dev/zero of=/dev/vda bs=1M count=2 oflag=direct conv=fsync 2>/dev/null\n\
         head -c 16 /dev/hwrng >/dev/null; poweroff -f",
        &screen,
    );
    config.vcpus = 2;
    config.drives = vec![Drive::new(Arc::new(disk))];
    let vm = Vm::start(config).unwrap();
    assert!(matches!(end(&vm, &screen), Exit::PowerOff));
    let metrics = vm.metrics();
    println!("{metrics:#?}");
    assert_eq!(metrics.vcpus.len(), 2);
    let printed = screen.text().len() as u64;
    assert!(metrics.vcpus.iter().map(|v| v.port_writes).sum::<u64>() >= printed);
    for vcpu in &metrics.vcpus {
        assert_eq!((vcpu.shutdowns, vcpu.other), (0, 0));
        let kvm = vcpu.kvm.unwrap();
        assert!(kvm.exits >= vcpu.exits() - vcpu.interrupted, "{vcpu:?}");
        assert!(vcpu.cpu_time > Duration::ZERO && vcpu.cpu_time <= metrics.age);
        assert!(kvm.halts > 0 && kvm.interrupts > 0, "{vcpu:?}");
    }
    let faults = |v: &vmm_core::VcpuMetrics| v.kvm.unwrap().page_faults;
    // Each may bring a huge page.
    assert!(metrics.vcpus.iter().map(faults).sum::<u64>() > 10);
    let [disk, rng] = metrics.devices.as_slice() else {
        panic!("{:?}", metrics.devices);
    };
    let done = disk.disk.unwrap();
    assert!((4 << 20..16 << 20).contains(&done.read_bytes), "{done:?}");
    assert!(
        done.written_bytes >= 2 << 20 && done.flushes > 0,
        "{done:?}"
    );
    assert_eq!((done.errors, done.refused, disk.resets_needed), (0, 0, 0));
    let queue = disk.queues[0];
    assert!(
        queue.requests >= done.reads + done.writes + done.flushes,
        "{disk:?}"
    );
    assert!(
        queue.kicks > 0 && queue.kicks <= queue.requests,
        "{queue:?}"
    );
    assert!(disk.interrupts > 0 && disk.interrupts <= 2 * queue.requests);
    assert!(queue.bytes_to_guest >= done.read_bytes);
    assert!(queue.bytes_from_guest >= done.written_bytes);
    assert!(rng.queues[0].bytes_to_guest >= 16, "{rng:?}");
}
