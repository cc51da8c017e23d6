//! What the size of chunks costs and saves: the figures that the default was chosen by.

use std::path::{Path, PathBuf};

use super::compare::CHUNK_KIBS;
use super::image::{self, Images};
use super::measure::{Changes, Measure, Report};
use super::steps::Steps;
use super::table::{digits, mebibytes, plain, seconds};
use super::{BenchError, keep, target};
use crate::command;

/// Blocks that a commit finds changed.
const SCATTERED_BLOCKS: u64 = 4096;
const NAME: &str = "chunk_size.md";
const COLUMNS: [&str; 13] = [
    "KiB",
    "import",
    "stored MiB",
    "index KiB",
    "new, same sizes",
    "new, other sizes",
    "commit of 4096 blocks",
    "stored MiB",
    "cold read p50 / p99",
    "from the device",
    "1000 × 4 KiB fetch MiB",
    "256 × 128 KiB fetch MiB",
    "export",
];

/// Where to keep the table.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keeps the table in benches/results too.
    #[arg(long)]
    save: bool,
}

struct Bed {
    steps: Steps,
    measure: Measure,
    images: Images,
}

/// Measures, and prints the table.
pub(super) fn main(args: &Args) -> Result<(), BenchError> {
    let folder = target();
    let bed = Bed {
        images: image::ensure()?,
        measure: Measure::build()?,
        steps: Steps::begin(&folder.join("work"))?,
    };
    let mut rows = Vec::new();
    for kib in CHUNK_KIBS {
        println!("Chunks of {kib} KiB");
        rows.push(bed.row(kib)?);
    }
    bed.steps.end()?;
    let text = document(&rows);
    keep(NAME, &text, args.save)?;
    println!("\n{text}");
    Ok(())
}

fn document(rows: &[Vec<String>]) -> String {
    format!(
        "# Sizes of chunks\n\nMade by `cargo xtask bench chunk-size --save`. Input: a Debian with compilers, of about \
         700 MB in one gzip layer, on a disk of 8 GiB.\n\n{}\n\
         - New: the share of chunks that a later version of the image adds, with 21 files changed: in bytes only, or \
         two of three in size too.\n\
         - Commit: {SCATTERED_BLOCKS} blocks of 4 KiB that were written all over the disk, and flushed.\n\
         - Cold reads: 4 KiB from chunks in random order, right after the store was opened, with its files in the page \
         cache and without.\n\
         - Fetched: bytes of frames and index pages that so many reads at random places of the image need, right after \
         the store was opened; what a disk whose chunks are elsewhere has to wait for.\n",
        plain(&COLUMNS, rows)
    )
}

impl Bed {
    fn row(&self, kib: u32) -> Result<Vec<String>, BenchError> {
        let chunk_bytes = kib << 10;
        let import = self.steps.measure("import", |_| {
            let store = self.steps.path("store")?;
            Ok(vec![self.measure.import(
                &self.images.first,
                &store,
                Some(chunk_bytes),
            )])
        })?;
        let dedup = |second: &Path| {
            let store = self.steps.path("dedup")?;
            let versions = [self.images.first.as_path(), second];
            let report = Report::of(self.measure.dedup(&store, versions, chunk_bytes))?;
            let share = report.number("/new_chunks")? / report.number("/chunks")?;
            Ok::<_, BenchError>(format!("{} %", digits(100.0 * share)))
        };
        let same = self.steps.prepare("a later version, same sizes", || {
            dedup(&self.images.rebuilt)
        })?;
        let other = self.steps.prepare("a later version, other sizes", || {
            dedup(&self.images.resized)
        })?;
        self.steps.path("dedup")?;
        let disk = self.import(chunk_bytes)?;
        let mut row = vec![
            kib.to_string(),
            seconds(import.seconds),
            mebibytes(disk.stored_bytes),
            digits(disk.index_bytes / 1024.0),
            same,
            other,
        ];
        row.extend(self.commit(&disk)?);
        row.extend(self.reads(&disk)?);
        Ok(row)
    }

    fn import(&self, chunk_bytes: u32) -> Result<Disk, BenchError> {
        let store = self.steps.path("store")?;
        let import = self
            .measure
            .import(&self.images.first, &store, Some(chunk_bytes));
        let report = Report::of(import)?;
        Ok(Disk {
            snapshot: report.text("/snapshot")?,
            stored_bytes: report.number("/stored_bytes")?,
            index_bytes: report.number("/index_bytes")?,
            store,
        })
    }

    /// Time and stored MiB.
    fn commit(&self, disk: &Disk) -> Result<[String; 2], BenchError> {
        let change = |id: &str, seed| {
            let changes = Changes::scattered(SCATTERED_BLOCKS, seed);
            command::run(
                &mut self
                    .measure
                    .change(&disk.store, &disk.snapshot, id, changes),
            )
        };
        let time = self.steps.measure("commit", |round| {
            let id = format!("disk-{round}");
            change(&id, round as u64)?;
            Ok(vec![self.measure.commit(&disk.store, &id)])
        })?;
        change("stored", 1000)?;
        let report = Report::of(self.measure.commit(&disk.store, "stored"))?;
        let stored = report.number("/stored_bytes")?;
        Ok([seconds(time.seconds), mebibytes(stored)])
    }

    /// Latencies from the page cache and from the device, MiB that two sets of reads fetch, and the time of an export.
    fn reads(&self, disk: &Disk) -> Result<[String; 5], BenchError> {
        let file = self.steps.path("disk.img")?;
        let export = self.steps.measure("export", |_| {
            self.steps.path("disk.img")?;
            Ok(vec![self.measure.export(
                &disk.store,
                &disk.snapshot,
                &file,
            )])
        })?;
        let read = |name: &str, verb: &str, words: &[&str]| {
            let mut command = self.measure.read(verb, &disk.store, &disk.snapshot, &file);
            command.args(words);
            self.steps.prepare(name, || Report::of(command))
        };
        let latency = |report: &Report| -> Result<String, BenchError> {
            let ms = |part: &str| -> Result<String, BenchError> {
                Ok(digits(report.number(&format!("/latency/{part}_us"))? / 1e3))
            };
            Ok(format!("{} / {} ms", ms("p50")?, ms("p99")?))
        };
        let fetched =
            |report: &Report| Ok::<_, BenchError>(mebibytes(report.number("/fetched_bytes")?));
        let warm = read("cold reads", "cold-reads", &[])?;
        let device = read(
            "cold reads from the device",
            "cold-reads",
            &["--from-device"],
        )?;
        let blocks = read("bytes for scattered blocks", "fetched", &[])?;
        let runs = ["--reads=256", "--bytes=131072"];
        let runs = read("bytes for scattered runs", "fetched", &runs)?;
        Ok([
            latency(&warm)?,
            latency(&device)?,
            fetched(&blocks)?,
            fetched(&runs)?,
            seconds(export.seconds),
        ])
    }
}

/// An imported image.
struct Disk {
    store: PathBuf,
    snapshot: String,
    stored_bytes: f64,
    index_bytes: f64,
}
