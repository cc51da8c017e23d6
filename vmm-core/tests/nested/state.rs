//! A guest with a stock kernel that goes on in another VM.

use std::io::{Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use vmm_core::{Drive, Exit, FileBackend, Net, Switch, Vm, VmConfig};

use super::machine::{PATIENCE, Screen, config, end};

const DISK_BYTES: u64 = 4 << 20;
const AWAY: Duration = Duration::from_secs(10);
const TICKS: u32 = 25;

/// Counts to `TICKS`, and has the disk and the entropy device take part in each step.
fn script() -> String {
    format!(
        "load virtio_balloon; ifconfig eth0 10.0.0.1 up 2>/dev/null || ip link set eth0 up\n\
         echo 10 >/proc/sys/kernel/watchdog_thresh\n\
         vsock-peer echo 1234 >/log 2>&1 & peer=$!\n\
         n=0; begun=$(cut -d. -f1 /proc/uptime)\n\
         while [ $n -lt {TICKS} ]; do\n\
         n=$((n + 1)); echo tick $n\n\
         echo block $n | dd of=/dev/vda bs=512 seek=$n conv=sync,fsync 2>/dev/null || echo write failed\n\
         echo 3 >/proc/sys/vm/drop_caches\n\
         [ \"$(dd if=/dev/vda bs=512 skip=$n count=1 2>/dev/null | head -n 1)\" = \"block $n\" ] || echo read failed\n\
         [ $(head -c 16 /dev/hwrng | wc -c) = 16 ] || echo no randomness\n\
         sleep 0.1; done\n\
         echo took $(($(cut -d. -f1 /proc/uptime) - begun)) at $(date +%s)\n\
         wait $peer; echo peer $?; cat /log\n\
         vsock-peer echo 4321 & sleep 1; echo again; wait $!; echo second $?\n\
         dmesg | grep -i -E 'lockup|stall|unstable|error|reset'\n\
         echo done; poweroff -f"
    )
}

/// The same machine each time, but for its console.
fn machine(disk: &Arc<FileBackend>) -> (VmConfig, Screen) {
    let screen = Screen::default();
    let mut config = config(&script(), &screen);
    config.vcpus = 2;
    config.memory_mib = 192;
    config.drives = vec![Drive::new(Arc::clone(disk) as Arc<_>)];
    config.nets = vec![Net::new(Switch::new().port().unwrap())];
    config.vsock_cid = Some(3);
    config.balloon = true;
    (config, screen)
}

#[test]
fn a_guest_goes_on_in_another_vm_with_all_its_devices() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(DISK_BYTES).unwrap();
    let disk = Arc::new(FileBackend::open(file.path(), false).unwrap());
    let (config, first) = machine(&disk);
    let vm = Vm::start(config).unwrap();
    first.wait_for("tick 5\n");
    let mut stream = vm.vsock().unwrap().connect(1234, PATIENCE).unwrap();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    vm.set_balloon_mib(8).unwrap();
    while vm.balloon_mib() != Some(8) {
        thread::sleep(Duration::from_millis(10));
    }
    vm.pause();
    let state = vm.state().unwrap();
    let mut memory = Vec::new();
    vm.copy_memory(&mut memory).unwrap();
    drop(vm);
    assert!(!first.text().contains("took"), "{}", first.text());
    thread::sleep(AWAY);

    let (config, second) = machine(&disk);
    let vm = Vm::restore(config, &state, &mut memory.as_slice()).unwrap();
    drop(memory);
    assert_eq!(vm.balloon_mib(), Some(8));
    second.wait_for("again\n");
    // The stack of the guest lives on: it takes new connections.
    let mut stream = vm.vsock().unwrap().connect(4321, PATIENCE).unwrap();
    stream.write_all(b"hello").unwrap();
    stream.shutdown_write().unwrap();
    let mut back = String::new();
    stream.read_to_string(&mut back).unwrap();
    assert_eq!(back, "hello");
    assert!(matches!(end(&vm, &second), Exit::PowerOff));

    let text = first.text() + &second.text();
    println!("{}", second.text());
    let ticks: Vec<u32> = text
        .split("tick ")
        .skip(1)
        .map(|rest| rest.split('\n').next().unwrap().parse().unwrap())
        .collect();
    assert!(ticks.into_iter().eq(1..=TICKS), "{text}");
    for word in ["failed", "no randomness", "lockup", "stall", "unstable"] {
        assert!(!text.contains(word), "{word} in:\n{text}");
    }
    // The connection of the first VM is gone, and its end knows.
    assert!(text.contains("peer 1\n"), "{text}");
    assert!(text.contains("Connection reset by peer"), "{text}");
    for line in ["second 0\n", "done\n"] {
        assert!(text.contains(line), "no {line:?} in:\n{text}");
    }
    assert!(vm.metrics().devices.iter().all(|d| d.resets_needed == 0));
}
