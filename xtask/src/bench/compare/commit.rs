//! From a changed disk to a durable snapshot: beside a second backup, and by changed bytes and size of the disk.

use std::cell::Cell;
use std::path::Path;

use super::super::measure::{Changes, Report};
use super::super::peers::Backup;
use super::super::plot::Line;
use super::super::steps::Time;
use super::super::table::{Bound, Row, Unit};
use super::{Bed, Found, ratios, times};
use crate::bench::BenchError;
use crate::command;

/// The disk that is changed, each time anew.
const DISK: &str = "changed";
/// MiB that change in each comparison.
const CHANGED_MIB: u64 = 64;
/// Changed MiB of the plot.
const CHANGED_MIBS: [u64; 5] = [1, 4, 16, 64, 256];
/// Sizes of disks of the plot, in GiB.
const DISK_GIBS: [u64; 4] = [1, 8, 64, 512];

/// How bytes change: as 4 KiB blocks all over the disk, or as runs of 1 MiB.
#[derive(Debug, Clone, Copy)]
enum Spread {
    Runs,
    Scattered,
}

impl Spread {
    const ALL: [Self; 2] = [Self::Runs, Self::Scattered];

    fn name(self) -> &'static str {
        match self {
            Self::Runs => "runs of 1 MiB",
            Self::Scattered => "scattered blocks of 4 KiB",
        }
    }

    fn changes(self, mib: u64, seed: u64) -> Changes {
        match self {
            Self::Runs => Changes::runs(mib, seed),
            Self::Scattered => Changes::scattered(mib * 256, seed),
        }
    }
}

pub(super) fn run(bed: &Bed) -> Result<Found, BenchError> {
    let mut found = Found::default();
    let mut ours = Vec::new();
    {
        let base = Base::import(bed, 8)?;
        for spread in Spread::ALL {
            let time = base.commit(bed, spread, CHANGED_MIB)?;
            ours.push((spread, time));
        }
        found
            .plots
            .push(("commit-changed", base.by_changed_bytes(bed)?));
        found.rows = beside_backups(bed, &base, &ours)?;
        found.plots.push(("commit-ratios", ratios(&found.rows)));
    }
    found.plots.push(("commit-disk", by_disk_size(bed)?));
    found.notes.push(
        "Commit: what was written has been flushed before, as the other tools' disk has been synced before. Scattered \
         blocks lie all over the 8 GiB, nearly each in a chunk of its own."
            .to_owned(),
    );
    Ok(found)
}

/// A snapshot whose disks are changed.
struct Base {
    snapshot: String,
    disk_gib: u64,
    /// Commits so far: each changes other bytes, as the store would know the same ones already.
    commits: Cell<u64>,
}

impl Base {
    fn import(bed: &Bed, disk_gib: u64) -> Result<Self, BenchError> {
        let store = bed.steps.path("store")?;
        let name = format!("importing to a disk of {disk_gib} GiB");
        let report = bed.steps.prepare(&name, || {
            Report::of(
                bed.measure
                    .import_sized(&bed.images.first, &store, disk_gib << 30),
            )
        })?;
        Ok(Self {
            snapshot: report.text("/snapshot")?,
            disk_gib,
            commits: Cell::new(0),
        })
    }

    fn commit(&self, bed: &Bed, spread: Spread, mib: u64) -> Result<Time, BenchError> {
        let store = bed.steps.place("store");
        let name = format!(
            "commit of {mib} MiB in {}, {} GiB",
            spread.name(),
            self.disk_gib
        );
        bed.steps.measure(&name, |_| {
            let seed = self.commits.replace(self.commits.get() + 1);
            let changes = spread.changes(mib, seed);
            command::run(&mut bed.measure.change(&store, &self.snapshot, DISK, changes))?;
            Ok(vec![bed.measure.commit(&store, DISK)])
        })
    }

    fn by_changed_bytes(&self, bed: &Bed) -> Result<String, BenchError> {
        let mut lines = Vec::new();
        for spread in Spread::ALL {
            let mut points = Vec::new();
            for mib in CHANGED_MIBS {
                points.push((number(mib), self.commit(bed, spread, mib)?.seconds));
            }
            lines.push(line(spread, points));
        }
        Ok(times("Commit of a disk of 8 GiB", "changed MiB", &lines))
    }
}

fn by_disk_size(bed: &Bed) -> Result<String, BenchError> {
    let mut lines = Spread::ALL.map(|spread| line(spread, Vec::new()));
    for disk_gib in DISK_GIBS {
        let base = Base::import(bed, disk_gib)?;
        for (spread, line) in Spread::ALL.into_iter().zip(&mut lines) {
            let time = base.commit(bed, spread, CHANGED_MIB)?;
            line.points.push((number(disk_gib), time.seconds));
        }
    }
    let title = format!("Commit of {CHANGED_MIB} changed MiB");
    Ok(times(&title, "GiB of the disk", &lines))
}

fn line(spread: Spread, points: Vec<(f64, f64)>) -> Line {
    Line {
        label: spread.name().to_owned(),
        points,
    }
}

fn beside_backups(bed: &Bed, base: &Base, ours: &[(Spread, Time)]) -> Result<Vec<Row>, BenchError> {
    let disk = bed.steps.path("disk.img")?;
    let store = bed.steps.place("store");
    let mut rows = Vec::new();
    bed.steps.prepare("exporting the disk", || {
        Report::of(bed.measure.export(&store, &base.snapshot, &disk))
    })?;
    let ours_first = bed.steps.measure("first commit of the disk", |_| {
        let store = bed.steps.path("first")?;
        Ok(vec![bed.measure.import_disk(&disk, &store)])
    })?;
    bed.steps.path("first")?;
    for tool in Backup::ALL {
        bed.steps.prepare("exporting the disk", || {
            bed.steps.path("disk.img")?;
            Report::of(bed.measure.export(&store, &base.snapshot, &disk))
        })?;
        let (first, theirs) = backups(bed, tool, &disk)?;
        rows.push(Row {
            work: "first commit of the disk".to_owned(),
            peer: format!("{}'s first backup", tool.name()),
            bound: None,
            ..row(Spread::Runs, ours_first, tool, first)
        });
        for ((spread, ours), theirs) in ours.iter().zip(theirs) {
            rows.push(row(*spread, *ours, tool, theirs));
        }
    }
    bed.steps.path("disk.img")?;
    Ok(rows)
}

/// Times of a first backup, and of one after each spread of changes, with what was backed up before as its base.
fn backups(bed: &Bed, tool: Backup, disk: &Path) -> Result<(Time, Vec<Time>), BenchError> {
    let init = || tool.init(&bed.steps.folder(tool.name())?);
    let mut repository = init()?;
    let name = format!("first backup by {}", tool.name());
    let first = bed.steps.measure(&name, |_| {
        repository = init()?;
        Ok(vec![repository.backup("first", disk)])
    })?;
    let mut times = Vec::new();
    for spread in Spread::ALL {
        let name = format!(
            "{} after {CHANGED_MIB} MiB in {}",
            tool.name(),
            spread.name()
        );
        times.push(bed.steps.measure(&name, |round| {
            let changes = spread.changes(CHANGED_MIB, round as u64);
            command::run(&mut bed.measure.change_file(disk, changes))?;
            Ok(vec![
                repository.backup(&format!("{spread:?}-{round}"), disk),
            ])
        })?);
    }
    bed.steps.path(tool.name())?;
    Ok((first, times))
}

fn row(spread: Spread, ours: Time, tool: Backup, theirs: Time) -> Row {
    Row {
        work: format!("commit of {CHANGED_MIB} MiB in {}", spread.name()),
        ours: ours.to_string(),
        peer: format!("{}'s second backup", tool.name()),
        theirs: theirs.to_string(),
        value: theirs.seconds / ours.seconds,
        unit: Unit::Faster,
        bound: Some(Bound::AtLeast(20.0)),
    }
}

#[expect(clippy::cast_precision_loss, reason = "small whole numbers")]
fn number(value: u64) -> f64 {
    value as f64
}
