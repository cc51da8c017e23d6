//! A guest that ends as soon as it has begun.

use crate::Outcome;
use crate::compare::{Args, Figures};
use crate::process::Machine;
use crate::spec::{Spec, Vmm};

/// Runs of which the last counts: the first ones bring files into the page cache.
const RUNS: usize = 3;

/// The seconds to the first line of user space, and to the process's end; for ours also where they go.
pub(crate) fn measure(args: &Args, vmm: Vmm) -> Outcome<Figures> {
    let spec = Spec::new(&args.kernel, &args.tiny_initrd, "reboot");
    let mut figures = Figures::new();
    for _ in 0..RUNS {
        let mut machine = Machine::start(spec.command(vmm)?)?;
        let up = machine.wait_for("up")?;
        let (end, results) = machine.end()?;
        figures = vec![
            ("boot-to-user-s".to_owned(), up.as_secs_f64()),
            ("boot-process-s".to_owned(), end.as_secs_f64()),
        ];
        figures.extend(results);
    }
    Ok(figures)
}
