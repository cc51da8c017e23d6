//! The life of a session: commands, copies, live snapshots, and what a shutdown writes beside a copy of the disk.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::measure::{self, Report};
use super::table::{digits, mebibytes, plain, seconds};
use super::{BenchError, keep};
use crate::cargo;
use crate::command;
use crate::images::{self, Image};
use crate::kernel;
use crate::nested;

const PROGRAM: &str = "session_life";
const NAME: &str = "session.md";
/// The guest's part.
const TIMEOUT_S: &str = "900";
/// As machines of `bench vm` do, these stop now and then; each try begins a little later than the one before.
const TRIES: u32 = 5;
const TRY_OFFSET_MS: u32 = 7;

/// Where to keep the table.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keeps the table in benches/results too.
    #[arg(long)]
    save: bool,
}

/// Measures, and prints the table.
pub(super) fn main(args: &Args) -> Result<(), BenchError> {
    let program = measure::build(PROGRAM)?;
    let mut rows = Vec::new();
    for report in disk(&program)?.iter().chain(&guest(&program)?) {
        rows.extend(self::rows(report)?);
    }
    let text = document(&rows);
    keep(NAME, &text, args.save)?;
    println!("\n{text}");
    Ok(())
}

/// On this machine itself.
fn disk(program: &PathBuf) -> Result<Vec<Report>, BenchError> {
    let mut disk = Command::new(program);
    reports(disk.arg("disk").arg(cargo::workspace().join("target")))
}

/// In an emulated machine whose clock counts instructions.
fn guest(program: &PathBuf) -> Result<Vec<Report>, BenchError> {
    let kernel = kernel::ensure_kernel()?;
    let image = images::reference(&images::ensure(Image::Busybox)?);
    let mut tries = 1;
    loop {
        let mut nested = nested::command();
        nested.args(["--root", "--icount", "--memory-mib", "6144"]);
        nested.args(["--timeout-s", TIMEOUT_S, "--"]);
        nested.args(["sh", "-c", "sleep $1; shift; exec \"$@\"", "sh"]);
        nested.arg((f64::from(tries * TRY_OFFSET_MS) / 1e3).to_string());
        nested.arg(program).arg("guest");
        nested.arg("--kernel").arg(&kernel.vmlinuz);
        nested.arg("--modules").arg(&kernel.modules_dir);
        nested.args(["--image", &image]);
        match reports(&mut nested) {
            Err(error) if tries < TRIES => {
                eprintln!("xtask: a try failed, and there is another one: {error}");
                tries += 1;
            }
            ended => return ended,
        }
    }
}

fn reports(command: &mut Command) -> Result<Vec<Report>, BenchError> {
    let printed = command::run_piping_stdout(command.stderr(Stdio::inherit()))?;
    let text = String::from_utf8_lossy(&printed);
    text.lines()
        .map(|line| Report::parse(command, line.as_bytes()))
        .collect()
}

fn row(what: &str, value: String, must: &str) -> Vec<String> {
    vec![what.to_owned(), value, must.to_owned()]
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
    let value = format!(
        "{} and {}: {} %",
        seconds(commit),
        seconds(copy),
        digits(100.0 * commit / copy)
    );
    let changed = mebibytes(report.number("/changed_bytes")?);
    let what = format!("on the host: commit of {changed} MiB, and a copy of the whole 8 GiB disk");
    Ok(vec![row(&what, value, "at most 5 %")])
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
        "",
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
            "",
        ),
        row(
            "open files / threads / private memory of the host's process, before and after these",
            left,
            "no leak",
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
    Ok(vec![row(
        &format!("copy of {what} {direction}"),
        format!("{} MB/s", digits(bytes / time / 1e6)),
        "at least 10 MB/s",
    )])
}

fn snapshot_rows(report: &Report) -> Result<Vec<Vec<String>>, BenchError> {
    let what = match report.text("/what")?.as_str() {
        "quiet" => "16 MiB written and synced before",
        _ => "while a program writes",
    };
    let value = format!(
        "{} / {} / {}",
        seconds(report.number("/stall_seconds")?),
        seconds(report.number("/freeze_seconds")?),
        seconds(report.number("/seconds")?)
    );
    Ok(vec![row(
        &format!("live snapshot, {what}: stall / the guest's own freeze / whole"),
        value,
        "stall at most 50 ms",
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
        "",
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
        plain(&["work", "measured", "must be"], rows)
    )
}
