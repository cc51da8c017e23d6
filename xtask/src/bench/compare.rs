//! The store beside other tools: each on the same input, in the same run.

use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::image::{self, Images};
use super::measure::Measure;
use super::plot::{self, Bar, Line};
use super::steps::Steps;
use super::table::{self, Bound, Row, Unit};
use super::{BenchError, peers, results, target};
use crate::command;
use crate::file_error::file_error;
use crate::packages;

mod commit;
mod dedup;
mod import;
mod read;
mod registry;

pub(super) use dedup::CHUNK_KIBS;

/// What to compare, and where to keep it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Compares only these, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Keeps the table and the plots in benches/results too.
    #[arg(long)]
    save: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// From an image to durable chunks.
    Import,
    /// From a changed disk to a durable snapshot.
    Commit,
    /// Reads, hot and cold.
    Read,
    /// What a later version of an image adds.
    Dedup,
    /// To a registry and back.
    Registry,
}

/// What all parts work with.
struct Bed {
    steps: Steps,
    measure: Measure,
    images: Images,
}

/// What a part has found.
#[derive(Debug, Default)]
struct Found {
    rows: Vec<Row>,
    /// Name of a file without its extension, and the plot.
    plots: Vec<(&'static str, String)>,
    /// What a reader must know to judge the rows.
    notes: Vec<String>,
}

/// Compares, and prints the table.
pub(super) fn main(args: &Args) -> Result<(), BenchError> {
    packages::ensure(&peers::PACKAGES)?;
    let folder = target().join("compare");
    let bed = Bed {
        images: image::ensure()?,
        measure: Measure::build()?,
        steps: Steps::begin(&folder.join("work"))?,
    };
    let parts = Part::value_variants().iter();
    for part in parts.filter(|part| args.only.is_empty() || args.only.contains(part)) {
        println!("{}", part.title());
        let found = part.run(&bed)?;
        let text = found.markdown(*part);
        write(&folder, *part, &text, &found.plots)?;
        if args.save {
            write(&results(), *part, &text, &found.plots)?;
        }
        println!("\n{text}");
    }
    bed.steps.end()?;
    println!("Tables and plots are in {}", folder.display());
    Ok(())
}

impl Part {
    fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    fn title(self) -> &'static str {
        match self {
            Self::Import => "Import of a Debian image to durable chunks",
            Self::Commit => "Commit of a changed disk of 8 GiB",
            Self::Read => "Reads through a disk",
            Self::Dedup => "What a later version of the image adds",
            Self::Registry => "A snapshot to a registry and back",
        }
    }

    fn run(self, bed: &Bed) -> Result<Found, BenchError> {
        match self {
            Self::Import => import::run(bed),
            Self::Commit => commit::run(bed),
            Self::Read => read::run(bed),
            Self::Dedup => dedup::run(bed),
            Self::Registry => registry::run(bed),
        }
    }
}

impl Found {
    fn markdown(&self, part: Part) -> String {
        let mut text = format!(
            "# {}\n\nMade by `cargo xtask bench compare --only {}`, on {} cores. Times are of whole processes: the \
             median of three where one took less than 10 s, after a run that was not measured.\n\n",
            part.title(),
            part.name(),
            cores()
        );
        text += &table::comparison(&self.rows);
        text.push('\n');
        for note in &self.notes {
            text += &format!("- {note}\n");
        }
        for (name, _) in &self.plots {
            text += &format!("\n![{name}]({name}.svg)\n");
        }
        text
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

/// Bars of all rows that say how much faster ours is.
fn ratios(rows: &[Row]) -> String {
    let faster = rows.iter().filter(|row| row.unit == Unit::Faster);
    let bars: Vec<_> = faster
        .map(|row| Bar {
            label: format!("{}, beside {}", row.work, row.peer),
            value: row.value,
            mark: match row.bound {
                Some(Bound::AtLeast(least)) => Some(least),
                _ => None,
            },
        })
        .collect();
    plot::bars("How many times faster (stroke: at least)", "×", &bars)
}

/// A plot of times in seconds.
fn times(title: &str, x: &str, lines: &[Line]) -> String {
    plot::lines(title, [x, "seconds"], lines)
}

fn write(
    folder: &Path,
    part: Part,
    text: &str,
    plots: &[(&str, String)],
) -> Result<(), BenchError> {
    fs::create_dir_all(folder).map_err(file_error("create", folder))?;
    let table = folder.join(part.name()).with_extension("md");
    fs::write(&table, text).map_err(file_error("write", &table))?;
    for (name, svg) in plots {
        let path: PathBuf = folder.join(name).with_extension("svg");
        fs::write(&path, svg).map_err(file_error("write", &path))?;
    }
    Ok(())
}

/// Bytes that the files below `folder` take on the host.
fn disk_usage(folder: &Path) -> Result<f64, BenchError> {
    let mut du = std::process::Command::new("du");
    let printed = command::run(du.args(["--summarize", "--block-size=1"]).arg(folder))?;
    let text = String::from_utf8_lossy(&printed);
    let bytes = text
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok());
    bytes.ok_or_else(|| BenchError::Report {
        line: command::line(&du),
        printed: text.clone().into_owned(),
    })
}
