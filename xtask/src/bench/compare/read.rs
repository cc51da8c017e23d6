//! Hot reads beside pread on a plain file with the same bytes, and the slowest of cold reads.

use std::path::{Path, PathBuf};

use super::super::measure::Report;
use super::super::table::{Bound, Row, Unit, digits};
use super::{Bed, Found, ratios};
use crate::bench::BenchError;

/// The chunks whose cold reads are bounded, in bytes.
const COLD_CHUNK_BYTES: u32 = 512 << 10;

pub(super) fn run(bed: &Bed) -> Result<Found, BenchError> {
    let mut rows = Vec::new();
    let (store, snapshot, file) = prepare(bed, None)?;
    let hot = bed.steps.prepare("hot reads", || {
        Report::of(bed.measure.read("hot-reads", &store, &snapshot, &file))
    })?;
    for (number, (name, bound)) in [
        ("4 KiB in order", None),
        ("4 KiB at random", Some(Bound::AtLeast(0.9))),
        ("128 KiB in order", None),
        ("128 KiB at random", None),
    ]
    .into_iter()
    .enumerate()
    {
        let time = |who: &str| hot.number(&format!("/{number}/{who}_us"));
        rows.push(hot_row(name, time("disk")?, time("pread")?, bound));
    }
    rows.extend(cold_rows(
        bed,
        "default chunks",
        None,
        (&store, &snapshot, &file),
    )?);
    let (store, snapshot, file) = prepare(bed, Some(COLD_CHUNK_BYTES))?;
    let bound = Some(Bound::AtMost(1.5));
    rows.extend(cold_rows(
        bed,
        "512 KiB chunks",
        bound,
        (&store, &snapshot, &file),
    )?);
    bed.steps.path("disk.img")?;
    Ok(Found {
        plots: vec![("read-ratios", ratios(&rows))],
        rows,
        notes: vec![
            "Hot reads: 64 MiB of the image, all in the store's cache and in the page cache, in CPU time. Cold reads: of \
             chunks in random order, none of them twice, right after the store was opened; each reads, unpacks and verifies a chunk."
                .to_owned(),
        ],
    })
}

/// Imports and exports the image.
fn prepare(bed: &Bed, chunk_bytes: Option<u32>) -> Result<(PathBuf, String, PathBuf), BenchError> {
    let store = bed.steps.path("store")?;
    let file = bed.steps.path("disk.img")?;
    let snapshot = bed.steps.prepare("importing and exporting", || {
        let import = bed.measure.import(&bed.images.first, &store, chunk_bytes);
        let snapshot = Report::of(import)?.text("/snapshot")?;
        Report::of(bed.measure.export(&store, &snapshot, &file))?;
        Ok(snapshot)
    })?;
    Ok((store, snapshot, file))
}

fn hot_row(name: &str, ours_us: f64, pread_us: f64, bound: Option<Bound>) -> Row {
    Row {
        work: format!("hot reads, {name}"),
        ours: format!("{} µs", digits(ours_us)),
        peer: "pread of a plain file".to_owned(),
        theirs: format!("{} µs", digits(pread_us)),
        value: pread_us / ours_us,
        unit: Unit::Faster,
        bound,
    }
}

fn cold_rows(
    bed: &Bed,
    name: &str,
    bound: Option<Bound>,
    (store, snapshot, file): (&Path, &str, &Path),
) -> Result<Vec<Row>, BenchError> {
    let mut rows = Vec::new();
    let places = [("page cache", None), ("device", Some("--from-device"))];
    for (kib, (place, flag)) in [4, 128]
        .into_iter()
        .flat_map(|kib| places.map(|it| (kib, it)))
    {
        let step = format!("cold reads of {kib} KiB, {name}, from the {place}");
        let report = bed.steps.prepare(&step, || {
            let mut read = bed.measure.read("cold-reads", store, snapshot, file);
            read.arg(format!("--bytes={}", kib << 10)).args(flag);
            Report::of(read)
        })?;
        let ms = |part: &str| -> Result<f64, BenchError> {
            Ok(report.number(&format!("/{part}_us"))? / 1e3)
        };
        rows.push(Row {
            work: format!("cold {kib} KiB reads, {name}, p99"),
            ours: format!(
                "p50 {} ms; of CPU p99 {} ms",
                digits(ms("latency/p50")?),
                digits(ms("cpu/p99")?)
            ),
            peer: format!("from the {place}"),
            theirs: format!("max {} ms", digits(ms("latency/max")?)),
            value: ms("latency/p99")?,
            unit: Unit::Milliseconds,
            bound: bound.filter(|_| kib == 4),
        });
    }
    Ok(rows)
}
