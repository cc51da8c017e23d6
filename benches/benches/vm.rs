//! A VM's life as its embedder pays for it: starts, pauses, states and ends, by memory, vCPUs and devices.
//!
//! `cargo bench -p benches --bench vm`. Guests are a few instructions, so that any `/dev/kvm` will do; what a stock
//! kernel does is measured by `cargo xtask bench vm`.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that can not go on may panic"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;
use vmm_core::{
    BOOT_MARK_PORT, BOOT_MARK_VALUE, Drive, FileBackend, Kernel, Net, Switch, Vm, VmConfig,
};

/// Where the guest lies.
const GUEST: u64 = 16 << 20;
const MEMORY_MIB: u32 = 256;
const DISK_BYTES: u64 = 1 << 20;
const MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 1];

/// What machines are made of.
struct Supplies {
    dir: TempDir,
    kernel: Kernel,
    switch: Switch,
}

/// What a machine has besides memory.
#[derive(Clone, Copy)]
enum Devices {
    None,
    /// Two disks, a network, vsock, a balloon and a watchdog.
    All,
}

impl Supplies {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("kernel");
        std::fs::write(&path, elf(&guest())).unwrap();
        Self {
            kernel: Kernel::open(&path).unwrap(),
            dir,
            switch: Switch::new(),
        }
    }

    fn config(&self, memory_mib: u32, vcpus: u8, devices: Devices) -> VmConfig {
        let mut config = VmConfig::new(self.kernel.clone());
        config.memory_mib = memory_mib;
        config.vcpus = vcpus;
        if let Devices::All = devices {
            config.drives = vec![self.drive("first"), self.drive("second")];
            let mut net = Net::new(self.switch.port().unwrap());
            // Machines that go on from one another's states have the same.
            net.mac = Some(MAC);
            config.nets = vec![net];
            config.vsock_cid = Some(3);
            config.balloon = true;
            config.watchdog = true;
        }
        config
    }

    fn drive(&self, name: &str) -> Drive {
        let path = self.dir.path().join(name);
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(DISK_BYTES).unwrap();
        Drive::new(Arc::new(FileBackend::open(&path, false).unwrap()))
    }

    fn small(&self) -> VmConfig {
        self.config(MEMORY_MIB, 1, Devices::All)
    }
}

/// A guest that says that it runs, and sleeps.
fn guest() -> Vec<u8> {
    let [low, high] = BOOT_MARK_PORT.to_le_bytes();
    // mov dx, port; mov al, value; out dx, al; cli; hlt; jmp to the cli.
    let mut code = vec![0x66, 0xba, low, high, 0xb0, BOOT_MARK_VALUE, 0xee];
    code.extend([0xfa, 0xf4, 0xeb, 0xfc]);
    code
}

/// An ELF of one segment.
fn elf(code: &[u8]) -> Vec<u8> {
    const HEADERS: u64 = 64 + 56;
    let bytes = code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    // An executable for x86-64.
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for field in [GUEST, 64, 0] {
        file.extend(field.to_le_bytes());
    }
    // Flags; the sizes of headers, and how many there are.
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    // To be loaded, readable and executable.
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for field in [HEADERS, GUEST, GUEST, bytes, bytes, 8] {
        file.extend(field.to_le_bytes());
    }
    file.extend(code);
    file
}

/// Waits for the guest's first instructions, and says how long after the call they came.
fn first_instructions(vm: &Vm) -> Duration {
    loop {
        if let Some(after) = vm.boot_time() {
            return after;
        }
        std::thread::yield_now();
    }
}

fn started(config: VmConfig) -> Vm {
    let vm = Vm::start(config).unwrap();
    first_instructions(&vm);
    vm
}

/// From the call to the guest's first instructions.
fn start(c: &mut Criterion) {
    let supplies = Supplies::new();
    let mut group = c.benchmark_group("start to the first instruction");
    let machines = [
        (64, 1, Devices::None),
        (MEMORY_MIB, 1, Devices::None),
        (MEMORY_MIB, 1, Devices::All),
        (MEMORY_MIB, 8, Devices::All),
        (16 << 10, 1, Devices::All),
    ];
    for (memory_mib, vcpus, devices) in machines {
        let name = match devices {
            Devices::None => "no devices",
            Devices::All => "all devices",
        };
        let id = BenchmarkId::new(name, format!("{memory_mib} MiB, {vcpus} vCPUs"));
        group.bench_function(id, |b| {
            b.iter_custom(|times| {
                let run = |_| {
                    let vm = Vm::start(supplies.config(memory_mib, vcpus, devices)).unwrap();
                    first_instructions(&vm)
                };
                (0..times).map(run).sum()
            });
        });
    }
    group.finish();
}

/// The end of a running machine, until nothing is left of it.
fn stop(c: &mut Criterion) {
    let supplies = Supplies::new();
    c.bench_function("stop", |b| {
        b.iter_batched(|| started(supplies.small()), drop, BatchSize::PerIteration);
    });
}

/// A pause and its end.
fn pause(c: &mut Criterion) {
    let supplies = Supplies::new();
    let vm = started(supplies.small());
    c.bench_function("pause and resume", |b| {
        b.iter(|| {
            vm.pause();
            vm.resume();
        });
    });
}

/// A paused machine's state and memory, and a machine that goes on from them, until it runs.
fn state(c: &mut Criterion) {
    let supplies = Supplies::new();
    let vm = started(supplies.small());
    vm.pause();
    c.bench_function("state", |b| b.iter(|| vm.state().unwrap()));
    let state = vm.state().unwrap();
    let mut memory = Vec::new();
    vm.copy_memory(&mut memory).unwrap();
    drop(vm);
    let mut group = c.benchmark_group("restore");
    group.throughput(Throughput::Bytes(memory.len() as u64));
    group.bench_function(format!("{MEMORY_MIB} MiB"), |b| {
        b.iter_custom(|times| {
            let run = |_| {
                let begun = Instant::now();
                let vm = Vm::restore(supplies.small(), &state, &mut memory.as_slice()).unwrap();
                let took = begun.elapsed();
                drop(vm);
                took
            };
            (0..times).map(run).sum()
        });
    });
    group.finish();
}

criterion_group!(benches, start, stop, pause, state);
criterion_main!(benches);
