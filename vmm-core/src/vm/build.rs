//! Puts a VM together.

use std::ffi::CStr;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Instant;

use super::control::{self, Control, Running};
use super::devices::{Started, devices, power_button, serial_line, start_devices};
use super::restore::Restore;
use super::supervise::{Parts, SUPERVISOR};
use super::{Outcome, Vm, kvm};
use crate::balloon::SharedBalloon;
use crate::boot;
use crate::calls::SlowCalls;
use crate::config::VmConfig;
use crate::error::{RunError, StartError};
use crate::event::Events;
use crate::machine::{BootTime, Machine, SerialPort, Watchdog};
use crate::memory;
use crate::metrics::{KvmStats, Meter, VcpuMeter};
use crate::seccomp::Filters;
use crate::thread::{NewThread, spawn};
use crate::vcpu::{self, CpuidTemplate, RunContext, Stop, Vcpu};
use crate::vsock::Shared;

const KVM_DEVICE: &CStr = c"/dev/kvm";

/// Builds the VM of `config` and lets it run, from a state if there is one.
pub(super) fn start(
    mut config: VmConfig,
    mut restore: Option<Restore<'_>>,
) -> Result<Vm, StartError> {
    let started = Instant::now();
    config.check()?;
    let kvm = kvm::open(KVM_DEVICE)?;
    let cpuid = CpuidTemplate::new(&kvm)?;
    memory::check_reach(config.memory_mib, cpuid.address_bits())?;
    let memory = memory::map_pages(config.memory_mib, config.pages)?;
    let vm = kvm::create_vm(&kvm, &memory)?;

    let outcome = Arc::new(Outcome::default());
    let stopping = Arc::new(AtomicBool::new(false));
    let vsock = config
        .vsock_cid
        .map(Shared::new)
        .transpose()
        .map_err(host("make a descriptor for the vsock device"))?;
    let events = Events::new(config.on_event.take());
    let balloon = config.balloon.then(SharedBalloon::default);
    let mut slow_calls = SlowCalls::new({
        let outcome = Arc::clone(&outcome);
        move || outcome.rearm()
    });
    let devices = devices(
        &mut config,
        &stopping,
        vsock.as_ref(),
        balloon.as_ref(),
        &events,
        &mut slow_calls,
    )?;
    let listed = kvm.get_msr_index_list();
    let msr_indices = listed.map(|list| vcpu::msrs_of_state(list.as_slice()));
    let mut checked = Vec::new();
    let vcpus = match &mut restore {
        Some(restore) => {
            checked = restore.check(&config, &devices)?;
            let msrs = msr_indices.as_deref().unwrap_or_default();
            restore.fill(&vm, &memory, &cpuid, msrs)?
        }
        None => {
            let entry = boot::load(&config, &memory, devices.len())?;
            (0..config.vcpus)
                .map(|id| vcpu::create(&vm, &cpuid, &entry, id, config.vcpus))
                .collect::<Result<Vec<_>, _>>()?
        }
    };

    let line = serial_line(&vm)?;
    let serial = match &restore {
        Some(restore) => SerialPort::restored(config.console, line, &restore.state.serial)
            .map_err(host("raise the serial port's interrupt"))?,
        None => SerialPort::new(config.console, line),
    };
    let power_button = power_button(&vm)?;
    let boot_time = BootTime::default();
    let watchdog = config.watchdog.then(|| {
        let outcome = Arc::clone(&outcome);
        Watchdog::new(Box::new(move || outcome.rearm()))
    });
    let vcpu_meters = vcpus
        .iter()
        .map(|vcpu| VcpuMeter::new(KvmStats::of_vcpu(&vcpu.fd)))
        .collect();
    // From here on threads exist, and an error has to take apart what there is.
    let filters = Filters::new(config.seccomp);
    let mut served = Started::default();
    let failed = start_devices(&vm, &memory, &outcome, devices, &filters, &mut served).err();
    let machine = Arc::new(Machine::new(
        Arc::clone(&serial),
        served.transports,
        watchdog,
        started,
        boot_time.clone(),
        events.clone(),
    ));
    let (restored, sources) = (Arc::clone(&machine), served.sources.clone());
    let go_on = || {
        if let Some(restore) = restore {
            restore.go_on(&restored, &sources, checked);
        }
    };
    let running = Running {
        machine: Arc::clone(&machine),
        serial: Arc::clone(&serial),
        memory: memory.clone(),
        msr_indices,
        sources: served.sources,
        vm,
        vcpus: Vec::new(),
        paused: None,
    };
    let parts = Parts {
        outcome,
        control: Control::new(stopping, running),
        machine,
        serial,
        power_button,
        events,
        slow_calls,
        vsock,
        workers: served.threads,
        meter: Arc::new(Meter::new(started, vcpu_meters, served.meters)),
        memory,
    };
    // The guest begins, and devices go on, when nothing can fail any more.
    parts.control.gate.close();
    let started = failed.map_or_else(|| start_vcpus(&parts, vcpus, &filters), Err);
    match started.and_then(|()| filters.wait()) {
        Ok(()) => supervise(
            parts,
            go_on,
            boot_time,
            balloon.map(|balloon| (balloon, config.memory_mib)),
        ),
        Err(error) => {
            parts.take_apart();
            Err(error)
        }
    }
}

/// Hands the VM over to its supervisor, and then lets it `go_on`, and its vCPUs run.
fn supervise(
    parts: Parts,
    go_on: impl FnOnce(),
    boot_time: BootTime,
    balloon: Option<(SharedBalloon, u32)>,
) -> Result<Vm, StartError> {
    let (outcome, control) = (Arc::clone(&parts.outcome), Arc::clone(&parts.control));
    let (vsock, meter) = (parts.vsock.clone(), Arc::clone(&parts.meter));
    let (serial, power_button) = (Arc::clone(&parts.serial), Arc::clone(&parts.power_button));
    // The parts go over a channel, so that they are still here if there is no thread to take them.
    let (hand_over, take_over) = mpsc::channel::<Parts>();
    let thread = spawn(NewThread::unfiltered(SUPERVISOR), move || {
        if let Ok(parts) = take_over.recv() {
            parts.supervise();
        }
    });
    match thread {
        Ok(thread) => {
            if hand_over.send(parts).is_err() {
                tracing::error!("a VM's supervisor ended before it began");
            }
            go_on();
            control.gate.open();
            Ok(Vm {
                outcome,
                control,
                serial,
                power_button,
                boot_time,
                balloon,
                vsock,
                meter,
                supervisor: Some(thread),
            })
        }
        Err(source) => {
            parts.take_apart();
            Err(host("start the supervisor thread")(source))
        }
    }
}

fn start_vcpus(parts: &Parts, vcpus: Vec<Vcpu>, filters: &Filters) -> Result<(), StartError> {
    for ((id, vcpu), meter) in (0..).zip(vcpus).zip(parts.meter.vcpus()) {
        let context = RunContext {
            id,
            machine: Arc::clone(&parts.machine),
            stopping: Arc::clone(&parts.control.stopping),
            gate: Arc::clone(&parts.control.gate),
            exits: Arc::clone(&meter.exits),
            _memory: parts.memory.clone(),
        };
        let outcome = Arc::clone(&parts.outcome);
        let events = parts.events.clone();
        let cpu_time = Arc::clone(&meter.cpu_time);
        let vcpu = Arc::new(Mutex::new(vcpu));
        let shared = Arc::clone(&vcpu);
        let new = filters.vcpu(format!("vm-vcpu{id}"));
        let guard_name = new.name.clone();
        let thread = spawn(new, move || {
            let _counted = cpu_time.count_this_thread();
            let mut guard = VcpuGuard {
                outcome,
                unwound: Some(guard_name),
            };
            let stop = vcpu::run(&vcpu, &context);
            if let Some(event) = guard.outcome.end_for(stop) {
                events.tell(event);
            }
            guard.unwound = None;
        })
        .map_err(host("start a vCPU's thread"))?;
        parts.control.add(control::Vcpu { thread, shared });
    }
    Ok(())
}

/// Ends the run if a vCPU's thread unwinds, for instance out of the embedder's console.
struct VcpuGuard {
    outcome: Arc<Outcome>,
    unwound: Option<String>,
}

impl Drop for VcpuGuard {
    fn drop(&mut self) {
        if let Some(name) = self.unwound.take() {
            let died = Stop::Failed(RunError::ThreadDied { name });
            let _no_event = self.outcome.end_for(died);
        }
    }
}

/// The error of a request to the host.
pub(super) fn host(action: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::Host { action, source }
}
