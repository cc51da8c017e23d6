//! One step of a measurement as a process of its own, so that it can be timed beside other tools.
//!
//! Each verb prints one JSON object. What a verb reports as done is durable.

use std::path::PathBuf;
use std::process::ExitCode;

use benches::{Changes, MeasureError, complain};
use clap::Parser;
use rootfs_store::{DEFAULT_CHUNK_BYTES, ImageReference, RegistryReference, SnapshotDigest};
use serde_json::{Value, json};

mod disks;
mod images;
mod reads;
mod registries;

/// One step of a measurement; `cargo xtask bench` calls it.
#[derive(Debug, Parser)]
enum Verb {
    /// Imports an image into a store.
    Import {
        image: ImageReference,
        store: PathBuf,
        /// Size of the chunks in bytes.
        #[arg(long, default_value_t = DEFAULT_CHUNK_BYTES)]
        chunk_bytes: u32,
        /// Size of the disk in bytes.
        #[arg(long)]
        disk_bytes: Option<u64>,
    },
    /// Imports two versions of an image into a new store, and says what the second adds to the first.
    Dedup {
        store: PathBuf,
        first: ImageReference,
        second: ImageReference,
        /// Size of the chunks in bytes.
        #[arg(long, default_value_t = DEFAULT_CHUNK_BYTES)]
        chunk_bytes: u32,
    },
    /// Unpacks, hashes and compresses an image's layers on two threads, and nothing else.
    Floor {
        image: ImageReference,
        /// Size of the pieces that are hashed and compressed, in bytes.
        #[arg(long, default_value_t = DEFAULT_CHUNK_BYTES)]
        chunk_bytes: u32,
    },
    /// Imports a raw disk into a store.
    ImportDisk { file: PathBuf, store: PathBuf },
    /// Makes a disk over a snapshot, in the place of one of the same name, writes to it and flushes.
    Change {
        store: PathBuf,
        snapshot: SnapshotDigest,
        id: String,
        #[command(flatten)]
        changes: ChangeArgs,
    },
    /// Writes the same to a plain file, and syncs it.
    ChangeFile {
        file: PathBuf,
        #[command(flatten)]
        changes: ChangeArgs,
    },
    /// Makes a snapshot of a disk.
    Commit { store: PathBuf, id: String },
    /// Writes a snapshot's disk to a new sparse file.
    Export {
        store: PathBuf,
        snapshot: SnapshotDigest,
        file: PathBuf,
    },
    /// Reads what fits in the cache, again and again, through a disk and from a plain file with the same bytes.
    HotReads {
        store: PathBuf,
        snapshot: SnapshotDigest,
        file: PathBuf,
    },
    /// Reads one block of each of many chunks, which no cache of the store holds yet.
    ColdReads {
        store: PathBuf,
        snapshot: SnapshotDigest,
        file: PathBuf,
        /// Bytes of each read.
        #[arg(long, default_value_t = benches::BLOCK)]
        bytes: usize,
        /// Takes the store out of the operating system's page cache, too.
        #[arg(long)]
        from_device: bool,
    },
    /// Starts an empty registry without TLS, says where it is, and stops it when its input ends.
    Registry,
    /// Pushes a snapshot to a registry without TLS.
    Push {
        store: PathBuf,
        snapshot: SnapshotDigest,
        reference: RegistryReference,
    },
    /// Pulls a snapshot from a registry without TLS.
    Pull {
        store: PathBuf,
        reference: RegistryReference,
    },
    /// Counts what a scattered set of reads makes the store read.
    Fetched {
        store: PathBuf,
        snapshot: SnapshotDigest,
        file: PathBuf,
        /// Number of reads.
        #[arg(long, default_value_t = 1000)]
        reads: usize,
        /// Bytes of each.
        #[arg(long, default_value_t = 4096)]
        bytes: usize,
    },
}

/// Which bytes to write.
#[derive(Debug, Clone, Copy, clap::Args)]
struct ChangeArgs {
    /// Number of runs.
    #[arg(long)]
    runs: u64,
    /// Bytes of each run, a multiple of 4096.
    #[arg(long)]
    run_bytes: u64,
    /// Other seeds write elsewhere.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl From<ChangeArgs> for Changes {
    fn from(args: ChangeArgs) -> Self {
        Self {
            runs: args.runs,
            run_bytes: args.run_bytes,
            seed: args.seed,
        }
    }
}

fn main() -> ExitCode {
    match run(&Verb::parse()) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain("measure", &error);
            ExitCode::FAILURE
        }
    }
}

fn run(verb: &Verb) -> Result<Value, MeasureError> {
    match verb {
        Verb::Import {
            image,
            store,
            chunk_bytes,
            disk_bytes,
        } => images::import(image, store, *chunk_bytes, *disk_bytes),
        Verb::Dedup {
            store,
            first,
            second,
            chunk_bytes,
        } => images::dedup(store, first, second, *chunk_bytes),
        Verb::Floor { image, chunk_bytes } => {
            let floor = benches::floor(image, *chunk_bytes)?;
            Ok(json!({
                "plain_bytes": floor.plain_bytes,
                "packed_bytes": floor.packed_bytes,
                "seconds": floor.time.as_secs_f64(),
            }))
        }
        Verb::ImportDisk { file, store } => images::import_disk(file, store),
        Verb::Change {
            store,
            snapshot,
            id,
            changes,
        } => disks::change(store, snapshot, id, (*changes).into()),
        Verb::ChangeFile { file, changes } => disks::change_file(file, (*changes).into()),
        Verb::Commit { store, id } => disks::commit(store, id),
        Verb::Export {
            store,
            snapshot,
            file,
        } => images::export(store, snapshot, file),
        Verb::HotReads {
            store,
            snapshot,
            file,
        } => reads::hot(store, snapshot, file),
        Verb::ColdReads {
            store,
            snapshot,
            file,
            bytes,
            from_device,
        } => reads::cold(store, snapshot, file, *bytes, *from_device),
        Verb::Registry => registries::serve(),
        Verb::Push {
            store,
            snapshot,
            reference,
        } => registries::push(store, snapshot, reference),
        Verb::Pull { store, reference } => registries::pull(store, reference),
        Verb::Fetched {
            store,
            snapshot,
            file,
            reads,
            bytes,
        } => reads::fetched(store, snapshot, file, *reads, *bytes),
    }
}
