//! Starts alone, on this machine itself: the guest is stopped at once.

use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;
use vmm_core::{Kernel, Vm, VmConfig};

use crate::Outcome;
use crate::spec::MEMORY_MIB;

/// Starts of which the middle one counts.
const STARTS: usize = 41;

/// What to start. Needs a KVM, but none for stock kernels.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    kernel: PathBuf,
    #[arg(long)]
    initrd: PathBuf,
}

/// Prints the seconds of a `Vm::start`, after which the guest runs, and of a stop.
pub(crate) fn main(args: &Args) -> Outcome {
    let kernel = Kernel::open(&args.kernel)?;
    let initrd = std::fs::read(&args.initrd)?;
    let (mut starts, mut stops) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let mut config = VmConfig::new(kernel.clone());
        config.initrd = Some(initrd.clone());
        config.memory_mib = MEMORY_MIB;
        config.vsock_cid = Some(3);
        let begun = Instant::now();
        let vm = Vm::start(config)?;
        starts.push(begun.elapsed());
        let stopping = Instant::now();
        vm.stop();
        let _stopped = vm.wait();
        drop(vm);
        stops.push(stopping.elapsed());
    }
    for (name, mut times) in [("native-start-s", starts), ("native-stop-s", stops)] {
        times.sort();
        let value = times[times.len() / 2].as_secs_f64();
        println!("{}", json!({ "vmm": "ours", "name": name, "value": value }));
    }
    Ok(())
}
