//! The work on a disk that a shutdown is left with once the guest is off, beside a copy of the whole disk.

use std::error::Error;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Instant;

use benches::{Changes, Sample, image_or_sample};
use rootfs_store::{ImportOptions, Store};
use serde_json::json;

const DISK_BYTES: u64 = 8 << 30;
const SAMPLE: Sample = Sample {
    bytes: 256 << 20,
    changed_files: 0,
};
/// 64 MiB together.
const CHANGES: Changes = Changes {
    runs: 64,
    run_bytes: 1 << 20,
    seed: 1,
};
const ROUNDS: u64 = 3;
const BUFFER_BYTES: usize = 1 << 20;

pub(crate) fn run(folder: &Path) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir_in(folder)?;
    let image = image_or_sample(&folder.path().join("image"), SAMPLE)?;
    let store = Store::open(folder.path().join("store"))?;
    let options = ImportOptions {
        disk_bytes: Some(DISK_BYTES),
        ..ImportOptions::default()
    };
    let base = store.import(&image, &options, &())?.snapshot;
    let raw = folder.path().join("raw");
    store.export(&base, &raw, &())?;
    for round in 0..ROUNDS {
        let disk = store.create_disk("disk", &base)?;
        let changes = Changes {
            seed: round + 1,
            ..CHANGES
        };
        changes.write_to(&disk, DISK_BYTES)?;
        disk.flush()?;
        let begun = Instant::now();
        let committed = store.commit(&disk, &())?;
        store.set_name("sessions/disk", &committed.snapshot)?;
        let commit = begun.elapsed();
        drop(disk);
        store.remove_disk("disk")?;

        let to = folder.path().join("copy");
        let begun = Instant::now();
        copy(&raw, &to)?;
        let whole = begun.elapsed();
        std::fs::remove_file(to)?;
        let report = json!({
            "name": "disk",
            "changed_bytes": CHANGES.runs * CHANGES.run_bytes,
            "disk_bytes": DISK_BYTES,
            "commit_seconds": commit.as_secs_f64(),
            "copy_seconds": whole.as_secs_f64(),
        });
        println!("{report}");
    }
    Ok(())
}

/// Every byte of the file, holes as zeros, until it is durable.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    let (mut from, mut to) = (File::open(from)?, File::create(to)?);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match from.read(&mut buffer)? {
            0 => return to.sync_all(),
            len => to.write_all(&buffer[..len])?,
        }
    }
}
