//! A disk in a file, through the host's page cache.

use std::fs::File;

use crate::Outcome;
use crate::compare::{Args, Figures};
use crate::process::Machine;
use crate::spec::{Spec, Vmm};

const DISK_BYTES: usize = 64 << 20;

/// Bytes a second in order, and requests a second at random places.
pub(crate) fn measure(args: &Args, vmm: Vmm) -> Outcome<Figures> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("disk");
    // Full of bytes, so that reads are no reads of holes.
    std::fs::write(&path, vec![0xa5; DISK_BYTES])?;
    File::open(&path)?.sync_all()?;
    let spec = Spec {
        disk: Some(path),
        ..Spec::new(&args.kernel, &args.initrd, "block")
    };
    let (_, results) = Machine::start(spec.command(vmm)?)?.end()?;
    Ok(results.into_iter().collect())
}
