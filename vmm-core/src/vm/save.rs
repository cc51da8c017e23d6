//! Taking the state of a paused VM.

use std::io::Write;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::control::{Control, Paused, Running};
use super::devices::Source;
use super::irqchip::InterruptControllersState;
use crate::memory;
use crate::state::{DeviceKindState, DeviceState, SaveError, VmState};
use crate::vcpu::{VcpuSaver, VcpuState};

/// The VM's state. Devices come first, then what they interrupt, then the vCPUs that are interrupted.
pub(super) fn state(control: &Control) -> Result<VmState, SaveError> {
    control.while_paused(|running, paused| {
        let machine = &running.machine;
        let devices = devices(running, paused);
        let vm = &running.vm;
        Ok(VmState {
            memory_mib: memory::mib(&running.memory),
            interrupt_controllers: InterruptControllersState::read(vm)
                .map_err(failed("read the interrupt controllers"))?,
            timer: vm.get_pit2().map_err(failed("read the interval timer"))?,
            clock_ns: paused.clock.map(|clock| clock.clock),
            serial: running.serial.save(),
            watchdog: machine.watchdog().map(|dog| dog.save(Instant::now())),
            marks: machine.save_marks(),
            devices,
            vcpus: vcpus(running)?,
        })
    })
}

fn failed(action: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> SaveError {
    move |error| SaveError::Kvm {
        part: "the VM".to_owned(),
        action,
        source: error.into(),
    }
}

fn devices(running: &Running, paused: &Paused) -> Vec<DeviceState> {
    let transports = running.machine.transports().iter();
    transports
        .zip(&paused.workers)
        .zip(&running.sources)
        .map(|((transport, worker), source)| DeviceState {
            transport: transport.save(worker),
            kind: source.save(),
        })
        .collect()
}

fn vcpus(running: &Running) -> Result<Vec<VcpuState>, SaveError> {
    let msr_indices = running.msr_indices.as_ref();
    let saver = VcpuSaver {
        vm: &running.vm,
        msr_indices: msr_indices
            .map_err(|error| failed("list the model-specific registers")(*error))?,
    };
    (0..)
        .zip(&running.vcpus)
        .map(|(id, vcpu)| {
            // Its thread waits at the gate, and has let go of it.
            let vcpu = vcpu.shared.lock().unwrap_or_else(PoisonError::into_inner);
            match vcpu.is_settled {
                true => saver.save(&vcpu, id),
                false => Err(SaveError::NotPaused),
            }
        })
        .collect()
}

/// Writes the bytes of guest memory to `target`.
pub(super) fn copy_memory(control: &Control, target: &mut dyn Write) -> Result<(), SaveError> {
    let is_over = || control.stopping.load(Ordering::SeqCst);
    control.while_paused(
        |running, _| match memory::copy_out(&running.memory, target, is_over) {
            Ok(true) => Ok(()),
            Ok(false) => Err(SaveError::NotPaused),
            Err(source) => Err(SaveError::Write { source }),
        },
    )
}

impl Source {
    pub(super) fn save(&self) -> DeviceKindState {
        match self {
            Self::Block {
                state,
                space,
                limiter,
            } => {
                let mut state = state.clone();
                state.writeback = space.writeback();
                state.limiter = limiter.save();
                DeviceKindState::Block(state)
            }
            Self::Net {
                state,
                link,
                receive_limiter,
                transmit_limiter,
            } => {
                let mut state = state.clone();
                (state.link_up, state.config_generation) = link.save();
                state.receive_limiter = receive_limiter.save();
                state.transmit_limiter = transmit_limiter.save();
                DeviceKindState::Net(state)
            }
            Self::Vsock { state, .. } => DeviceKindState::Vsock(*state),
            Self::Balloon(balloon) => DeviceKindState::Balloon(balloon.save()),
            Self::Entropy => DeviceKindState::Entropy,
        }
    }
}
