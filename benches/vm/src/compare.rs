//! All measurements, for each monitor.

use std::path::PathBuf;

use serde_json::json;

use crate::spec::Vmm;
use crate::{Outcome, block, boot, commands, net};

/// What the machines boot. Needs root and a KVM for stock kernels.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The kernel to boot, an ELF.
    #[arg(long)]
    pub(crate) kernel: PathBuf,
    /// An initial file system of nothing but the guest's program.
    #[arg(long)]
    pub(crate) tiny_initrd: PathBuf,
    /// The same with drivers.
    #[arg(long)]
    pub(crate) initrd: PathBuf,
    /// Only these measurements.
    #[arg(long)]
    only: Vec<Work>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Work {
    Boot,
    Commands,
    Block,
    Net,
}

impl Work {
    const ALL: [Self; 4] = [Self::Boot, Self::Commands, Self::Block, Self::Net];

    fn measure(self, args: &Args, vmm: Vmm) -> Outcome<Figures> {
        match self {
            Self::Boot => boot::measure(args, vmm),
            Self::Commands => commands::measure(args, vmm),
            Self::Block => block::measure(args, vmm),
            Self::Net => net::measure(args, vmm),
        }
    }
}

/// Figures by their names.
pub(crate) type Figures = Vec<(String, f64)>;

pub(crate) fn main(args: &Args) -> Outcome {
    let all = Work::ALL.into_iter();
    for work in all.filter(|work| args.only.is_empty() || args.only.contains(work)) {
        for vmm in Vmm::ALL {
            eprintln!("vm-benches: {work:?} of {} …", vmm.name());
            for (name, value) in work.measure(args, vmm)? {
                let figure = json!({ "vmm": vmm.name(), "name": name, "value": value });
                println!("{figure}");
            }
        }
    }
    Ok(())
}
