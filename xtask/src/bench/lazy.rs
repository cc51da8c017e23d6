//! Starts from a registry: after a full pull, lazily, with a boot profile, and with a boot pack.

use super::measure::{self, Report};
use super::table::{digits, mebibytes, plain};
use super::{BenchError, keep};
use crate::images::{self, Image};
use crate::kernel;
use crate::nested;

const PROGRAM: &str = "lazy_start";
const NAME: &str = "lazy.md";
/// A registry in the same house, and one on another continent.
const LATENCIES_MS: [&str; 2] = ["1", "100"];
/// The whole run; systemd takes its time on an emulated CPU.
const TIMEOUT_S: &str = "3000";
const COLUMNS: [&str; 7] = [
    "each request takes longer by",
    "start",
    "requests",
    "fetched MiB",
    "of the stored bytes",
    "to the first answer",
    "beside a full pull",
];

/// Where to keep the table.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keeps the table in benches/results too.
    #[arg(long)]
    save: bool,
}

/// Measures, and prints the table.
pub(super) fn main(args: &Args) -> Result<(), BenchError> {
    let reports = starts()?;
    let rows = rows(&reports)?;
    let text = document(&rows);
    keep(NAME, &text, args.save)?;
    println!("\n{text}");
    Ok(())
}

/// Runs the program, in an emulated machine whose clock counts instructions.
fn starts() -> Result<Vec<Report>, BenchError> {
    let program = measure::build(PROGRAM)?;
    let kernel = kernel::ensure_kernel()?;
    let image = images::reference(&images::ensure(Image::Debian)?);
    let mut nested = nested::command();
    nested.args([
        "--root",
        "--icount",
        "--memory-mib",
        "6144",
        "--timeout-s",
        TIMEOUT_S,
    ]);
    nested.arg("--").arg(program);
    nested.arg("--kernel").arg(kernel.vmlinuz);
    nested.arg("--modules").arg(kernel.modules_dir);
    nested.args(["--image", &image]);
    nested.args(LATENCIES_MS.map(|ms| format!("--latency-ms={ms}")));
    measure::reports(&mut nested)
}

/// One row a start; those that waited equally long for each request are compared.
fn rows(reports: &[Report]) -> Result<Vec<Vec<String>>, BenchError> {
    let mut rows = Vec::new();
    for report in reports {
        let latency = report.number("/latency_ms")?;
        let (bytes, seconds) = (report.number("/bytes")?, report.number("/seconds")?);
        let share = 100.0 * bytes / report.number("/stored_bytes")?;
        let mut beside = String::new();
        for full in reports {
            if full.flag("/is_full")? && full.number("/latency_ms")? == latency {
                let ratio = full.number("/seconds")? / seconds;
                beside = format!("{}× as fast", digits(ratio));
            }
        }
        rows.push(vec![
            format!("{} ms", digits(latency)),
            way(report)?,
            digits(report.number("/requests")?),
            mebibytes(bytes),
            format!("{} %", digits(share)),
            format!("{} s", digits(seconds)),
            beside,
        ]);
    }
    Ok(rows)
}

fn way(report: &Report) -> Result<String, BenchError> {
    let name = match report.text("/name")?.as_str() {
        "profile" => "lazy, with a boot profile",
        "pack" => "lazy, with a boot pack",
        _ if report.flag("/is_full")? => "after a full pull",
        _ => "lazy",
    };
    Ok(name.to_owned())
}

fn document(rows: &[Vec<String>]) -> String {
    format!(
        "# From a registry to a guest's first answer\n\nMade by `cargo xtask bench lazy --save`: a Debian with systemd, \
         started from a registry by a store that is new, in an emulated machine whose clock counts instructions; so \
         compare the times with each other only.\n\n{}\n\
         - All requests are counted, those for tags and manifests too. A start that is not lazy asks for whole packs.\n\
         - Lazy: what the guest reads is fetched when it does, with some of what lies behind it.\n\
         - With a boot profile: what the last start read is fetched first.\n\
         - With a boot pack: this lies in one pack, too.\n",
        plain(&COLUMNS, rows)
    )
}
