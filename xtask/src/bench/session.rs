//! The life of a session: commands, copies, live snapshots, and what a shutdown writes beside a copy of the disk.

use std::path::Path;
use std::process::Command;

use super::measure::{self, Report};
use super::table::{digits, mebibytes, plain, seconds};
use super::{BenchError, keep};
use crate::cargo;
use crate::images::{self, Image};
use crate::kernel;
use crate::nested;

const PROGRAM: &str = "session_life";
const NAME: &str = "session.md";
/// The guest's part.
const TIMEOUT_S: &str = "900";

/// What stands where a demand is not met.
const UNMET: &str = "**no**";

/// Where to keep the table.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keeps the table in benches/results too.
    #[arg(long)]
    save: bool,
}

/// Measures, and prints the table; fails after all if a demand is not met.
pub(super) fn main(args: &Args) -> Result<(), BenchError> {
    let program = measure::build(PROGRAM)?;
    let mut rows = Vec::new();
    for report in disk(&program)?.iter().chain(&guest(&program)?) {
        rows.extend(self::rows(report)?);
    }
    let text = document(&rows);
    keep(NAME, &text, args.save)?;
    println!("\n{text}");
    let unmet: Vec<_> = rows.iter().filter(|row| row[3] == UNMET).collect();
    match unmet.is_empty() {
        true => Ok(()),
        false => Err(BenchError::Unmet {
            demands: unmet
                .into_iter()
                .map(|row| row[0].as_str())
                .collect::<Vec<_>>()
                .join("; "),
        }),
    }
}

/// On this machine itself.
fn disk(program: &Path) -> Result<Vec<Report>, BenchError> {
    let mut disk = Command::new(program);
    measure::reports(disk.arg("disk").arg(cargo::workspace().join("target")))
}

/// In an emulated machine whose clock counts instructions.
fn guest(program: &Path) -> Result<Vec<Report>, BenchError> {
    let kernel = kernel::ensure_kernel()?;
    let image = images::reference(&images::ensure(Image::Busybox)?);
    measure::tried("the session", |pause| {
        let mut nested = nested::command();
        nested.args(["--root", "--icount", "--memory-mib", "6144"]);
        nested.args(["--timeout-s", TIMEOUT_S, "--"]);
        nested.args(["sh", "-c", "sleep $1; shift; exec \"$@\"", "sh"]);
        nested.arg(pause);
        nested.arg(program).arg("guest");
        nested.arg("--kernel").arg(&kernel.vmlinuz);
        nested.arg("--modules").arg(&kernel.modules_dir);
        nested.args(["--image", &image]);
        nested
    })
}

/// A row without a demand.
fn row(what: &str, value: String) -> Vec<String> {
    vec![what.to_owned(), value, String::new(), String::new()]
}

/// A row with what must be, and whether it is.
fn demand(what: &str, value: String, must: &str, is_met: bool) -> Vec<String> {
    let met = if is_met { "yes" } else { UNMET };
    vec![what.to_owned(), value, must.to_owned(), met.to_owned()]
}

/// The rows of one report.
fn rows(report: &Report) -> Result<Vec<Vec<String>>, BenchError> {
    match report.text("/name")?.as_str() {
        "disk" => disk_row(report),
        "start" => start_row(report),
        "commands" => command_rows(report),
        "copy" => copy_row(report),
        "snapshot" => snapshot_rows(report),
        _ => shutdown_rows(report),
    }
}

fn disk_row(report: &Report) -> Result<Vec<Vec<String>>, BenchError> {
    let (commit, copy) = (
        report.number("/commit_seconds")?,
        report.number("/copy_seconds")?,
    );
    let share = 100.0 * commit / copy;
    let value = format!(
        "{} and {}: {} %",
        seconds(commit),
        seconds(copy),
        digits(share)
    );
    let changed = mebibytes(report.number("/changed_bytes")?);
    let what = format!("on the host: commit of {changed} MiB, and a copy of the whole 8 GiB disk");
    Ok(vec![demand(&what, value, "at most 5 %", share <= 5.0)])
}

fn start_row(report: &Report) -> Result<Vec<Vec<String>>, BenchError> {
    let value = format!(
        "{} / {} / {} / {}",
        seconds(report.number("/prepare_seconds")?),
        seconds(report.number("/start_seconds")?),
        seconds(report.number("/hello_seconds")?),
        seconds(report.number("/ready_seconds")?)
    );
    Ok(vec![row(
        "start: disk and initramfs made / machine set up / from its set-up to the agent's first word / until commands are taken",
        value,
    )])
}

fn command_rows(report: &Report) -> Result<Vec<Vec<String>>, BenchError> {
    let time = |name| report.number(&format!("/times/{name}")).map(|us| us / 1e6);
    let held = |name: &str| -> Result<String, BenchError> {
        let (before, after) = (
            report.number(&format!("/before/{name}"))?,
            report.number(&format!("/after/{name}"))?,
        );
        Ok(format!("{} → {}", digits(before), digits(after)))
    };
    let grown =
        |name: &str| -> Result<f64, BenchError> {
            Ok(report.number(&format!("/after/{name}"))?
                - report.number(&format!("/before/{name}"))?)
        };
    let times = format!(
        "{} / {} / {}",
        seconds(time("p50_us")?),
        seconds(time("p99_us")?),
        seconds(time("max_us")?)
    );
    let count = digits(report.number("/times/count")?);
    let left = format!(
        "{} / {} / {} KiB",
        held("files")?,
        held("threads")?,
        held("private_kib")?
    );
    Ok(vec![
        row(
            &format!("{count} times `true`, one after the other: median / 99th of 100 / slowest"),
            times,
        ),
        demand(
            "open files / threads / private memory of the host's process, before and after these",
            left,
            "no more files and threads, at most 1 MiB",
            grown("files")? <= 0.0 && grown("threads")? <= 0.0 && grown("private_kib")? <= 1024.0,
        ),
    ])
}

fn copy_row(report: &Report) -> Result<Vec<Vec<String>>, BenchError> {
    let (bytes, time) = (report.number("/bytes")?, report.number("/seconds")?);
    let what = match report.text("/what")?.as_str() {
        "one" => format!("a file of {} MiB", mebibytes(bytes)),
        _ => "1,000 files of 4 KiB".to_owned(),
    };
    let direction = match report.text("/direction")?.as_str() {
        "in" => "into the guest",
        _ => "out of it",
    };
    let rate = bytes / time / 1e6;
    Ok(vec![demand(
        &format!("copy of {what} {direction}"),
        format!("{} MB/s", digits(rate)),
        "at least 10 MB/s",
        rate >= 10.0,
    )])
}

fn snapshot_rows(report: &Report) -> Result<Vec<Vec<String>>, BenchError> {
    let what = match report.text("/what")?.as_str() {
        "quiet" => "16 MiB written and synced before",
        _ => "while a program writes",
    };
    let stall = report.number("/stall_seconds")?;
    let value = format!(
        "{} / {} / {}",
        seconds(stall),
        seconds(report.number("/freeze_seconds")?),
        seconds(report.number("/seconds")?)
    );
    Ok(vec![demand(
        &format!("live snapshot, {what}: stall / the guest's own freeze / whole"),
        value,
        "stall at most 50 ms",
        stall <= 0.05,
    )])
}

fn shutdown_rows(report: &Report) -> Result<Vec<Vec<String>>, BenchError> {
    let value = format!(
        "{} / {}",
        seconds(report.number("/power_off_seconds")?),
        seconds(report.number("/commit_seconds")?)
    );
    Ok(vec![row(
        "shutdown with 64 MiB changed: power-off / commit",
        value,
    )])
}

fn document(rows: &[Vec<String>]) -> String {
    format!(
        "# The life of a session\n\nMade by `cargo xtask bench session --save`: a guest of busybox with 1 GiB of disk, in an \
         emulated machine whose clock counts instructions; so its times say how the parts compare, not how fast they \
         are.\n\n{}\n\
         - The copy of the whole disk reads and writes every byte of a sparse file, as who keeps disks as files does, and \
         syncs it; the commit is durable, too.\n\
         - Stall: for how long the guest's file systems stood still besides the time that the guest itself took to write \
         out what it had and to freeze.\n",
        plain(&["work", "measured", "must be", "met"], rows)
    )
}
