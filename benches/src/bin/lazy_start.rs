//! From a reference in a registry to a guest's first answer, by each way there is.
//!
//! Needs a KVM for stock kernels. Prints one JSON object a start.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use benches::{GuestArgs, complain};
use clap::Parser;
use serde_json::json;
use session::{Registries, RegistryOptions, Session, SnapshotDigest, Store, StoreOptions};
use testbed::{Front, Options, Registry};

/// Room enough for the image, and little to check.
const DISK_BYTES: u64 = 1 << 30;

/// Starts sessions from a registry of its own; `cargo xtask bench lazy` calls it.
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    guest: GuestArgs,
    /// What each request takes longer than on this machine alone, in milliseconds.
    #[arg(long = "latency-ms", value_name = "MS", required = true)]
    latencies_ms: Vec<u64>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain("lazy_start", &*error);
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let registry = Registry::start(&Options::default())?;
    let front = Front::start(registry.host())?;
    let folder = tempfile::tempdir()?;
    let bed = Bed {
        args,
        front,
        folder: folder.path(),
    };
    bed.fill_registry()?;
    for latency in &args.latencies_ms {
        bed.front.set_latency(Duration::from_millis(*latency));
        bed.start("plain", *latency, false)?;
        bed.start("profile", *latency, false)?;
        bed.start("pack", *latency, false)?;
        bed.start("plain", *latency, true)?;
    }
    Ok(())
}

struct Bed<'a> {
    args: &'a Args,
    front: Front,
    /// Where the stores are.
    folder: &'a Path,
}

impl Bed<'_> {
    fn store(&self, name: &str) -> Result<Store, Box<dyn Error>> {
        let mut registries = RegistryOptions::default();
        registries.plain_http.insert(self.front.host().to_owned());
        let options = StoreOptions {
            registries: Some(Registries::new(registries)?),
            ..StoreOptions::default()
        };
        Ok(Store::open_with(self.folder.join(name), options)?)
    }

    /// Runs the image once, and pushes it as it came, as it was left, and with a boot pack.
    fn fill_registry(&self) -> Result<(), Box<dyn Error>> {
        let store = self.store("pusher")?;
        let import = store.import(&*self.args.guest.image).disk_bytes(DISK_BYTES);
        let image = import.start().wait()?.snapshot;
        self.push(&store, image, "plain")?;
        let session = self.session(Session::from_snapshot(&store, image))?;
        let left = session.shutdown().wait()?.digest;
        self.push(&store, left, "profile")?;
        let packed = store.with_boot_pack(left).start().wait()?.snapshot;
        self.push(&store, packed, "pack")
    }

    fn push(&self, store: &Store, what: SnapshotDigest, to: &str) -> Result<(), Box<dyn Error>> {
        store.push(what, self.reference(to)).start().wait()?;
        Ok(())
    }

    fn reference(&self, name: &str) -> String {
        format!("{}/labs/{name}:v1", self.front.host())
    }

    /// A session that has answered a command.
    fn session(&self, builder: session::SessionBuilder) -> Result<Session, session::Error> {
        let session = self.args.guest.prepare(builder)?.start().wait()?;
        session.command("true").output().wait()?;
        Ok(session)
    }

    /// One start in a new store, lazily or after a full pull.
    fn start(&self, name: &str, latency_ms: u64, is_full: bool) -> Result<(), Box<dyn Error>> {
        let folder = format!("{name}-{latency_ms}-{is_full}");
        let store = self.store(&folder)?;
        self.front.clear_log();
        let begun = Instant::now();
        let reference = self.reference(name);
        let builder = match is_full {
            true => {
                let pulled = store.pull(reference, None).start().wait()?;
                Session::from_snapshot(&store, pulled.snapshot)
            }
            false => Session::from_image(&store, format!("docker://{reference}")),
        };
        let session = self.session(builder)?;
        let seconds = begun.elapsed().as_secs_f64();
        let log = self.front.log();
        let from = store.session("measured")?.snapshot;
        let report = json!({
            "name": name,
            "is_full": is_full,
            "latency_ms": latency_ms,
            "seconds": seconds,
            "requests": log.len(),
            "bytes": log.iter().map(|seen| seen.to_client).sum::<u64>(),
            "stored_bytes": store.snapshot(&from)?.packs_bytes(),
        });
        println!("{report}");
        session.terminate().wait()?;
        drop((session, store));
        Ok(std::fs::remove_dir_all(self.folder.join(folder))?)
    }
}
