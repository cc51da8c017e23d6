//! What a later version of an image adds to a store: at each size of chunks, and beside other tools.

use std::path::{Path, PathBuf};

use super::super::measure::Report;
use super::super::peers::{self, Backup};
use super::super::table::{Bound, Row, Unit, mebibytes};
use super::{Bed, Found, disk_usage};
use crate::bench::BenchError;
use crate::bench::image::CHANGED_FILES;
use crate::command;

/// Sizes of chunks in KiB.
pub(in crate::bench) const CHUNK_KIBS: [u32; 7] = [16, 32, 64, 128, 256, 512, 1024];
/// As one more layer, a version has the same files as when it is built anew, so two sizes are enough to show it.
const LAYERED_KIBS: [u32; 2] = [64, 512];
/// Bytes of the other tools' disks.
const DISK_BYTES: u64 = 1 << 30;

pub(super) fn run(bed: &Bed) -> Result<Found, BenchError> {
    let images = &bed.images;
    let (theirs, shares) = beside_peers(bed)?;
    let mut rows = Vec::new();
    let versions: [(_, _, &[u32]); 3] = [
        ("same sizes", &images.rebuilt, &CHUNK_KIBS),
        ("same sizes, one more layer", &images.layered, &LAYERED_KIBS),
        ("other sizes", &images.resized, &CHUNK_KIBS),
    ];
    for (name, second, sizes) in versions {
        for &kib in sizes {
            let store = bed.steps.path("store")?;
            let report = bed
                .steps
                .prepare(&format!("{name}, chunks of {kib} KiB"), || {
                    let versions = [images.first.as_path(), second.as_path()];
                    Report::of(bed.measure.dedup(&store, versions, kib << 10))
                })?;
            rows.push(row(name, kib, &report, &theirs)?);
        }
    }
    bed.steps.path("store")?;
    Ok(Found {
        rows,
        notes: vec![format!(
            "Dedup: {CHANGED_FILES} files changed. A share of new data is that of chunks, before compression. Beside: what \
             the second of two mke2fs disks of the same versions (other sizes) adds to a repository: {shares}."
        )],
        ..Found::default()
    })
}

fn row(name: &str, kib: u32, report: &Report, theirs: &str) -> Result<Row, BenchError> {
    let new = report.number("/new_chunks")?;
    let share = 100.0 * new / report.number("/chunks")?;
    let stored = mebibytes(report.number("/new_stored_bytes")?);
    Ok(Row {
        work: format!("new data of a later version, {name}"),
        ours: format!("{kib} KiB chunks: {new} new, {stored} MiB stored"),
        peer: "casync, restic, borg".to_owned(),
        theirs: theirs.to_owned(),
        value: share,
        unit: Unit::Percent,
        bound: (kib <= 512).then_some(Bound::AtMost(3.0)),
    })
}

/// Stored MiB that the second version adds in each tool, and the same as shares of the first.
fn beside_peers(bed: &Bed) -> Result<(String, String), BenchError> {
    let disks = disks(bed)?;
    let mut found = vec![("casync", casync(bed, &disks)?)];
    for tool in Backup::ALL {
        found.push((tool.name(), backup(bed, tool, &disks)?));
    }
    for name in ["first.img", "second.img"] {
        bed.steps.path(name)?;
    }
    let stored: Vec<_> = found
        .iter()
        .map(|(_, [first, both])| mebibytes(both - first))
        .collect();
    let shares: Vec<_> = found
        .iter()
        .map(|(name, [first, both])| format!("{name} {:.1} %", 100.0 * (both - first) / first))
        .collect();
    Ok((
        format!("{} MiB stored", stored.join(", ")),
        shares.join(", "),
    ))
}

/// A disk of each version, made by mke2fs.
fn disks(bed: &Bed) -> Result<[PathBuf; 2], BenchError> {
    let make = |name: &str, image: &Path| -> Result<_, BenchError> {
        let disk = bed.steps.path(name)?;
        bed.steps
            .prepare(&format!("umoci unpack and mke2fs -d of {name}"), || {
                let bundle = bed.steps.folder("umoci")?.join("bundle");
                command::run(&mut peers::umoci_unpack(image, &bundle))?;
                command::run(&mut peers::mke2fs(
                    &bundle.join("rootfs"),
                    &disk,
                    DISK_BYTES,
                ))?;
                bed.steps.path("umoci")
            })?;
        Ok(disk)
    };
    Ok([
        make("first.img", &bed.images.first)?,
        make("second.img", &bed.images.resized)?,
    ])
}

/// Bytes of the store after one and after both disks.
fn casync(bed: &Bed, disks: &[PathBuf; 2]) -> Result<[f64; 2], BenchError> {
    let folder = bed.steps.folder("casync")?;
    let mut sizes = [0.0; 2];
    for (size, disk) in sizes.iter_mut().zip(disks) {
        bed.steps.prepare("casync make", || {
            let index = disk.with_extension("caibx");
            command::run(&mut peers::casync_make(&folder, &index, disk))?;
            Ok(std::fs::remove_file(&index)
                .map_err(crate::file_error::file_error("remove", &index))?)
        })?;
        *size = disk_usage(&folder)?;
    }
    bed.steps.path("casync")?;
    Ok(sizes)
}

/// Bytes of the repository after one and after both disks.
fn backup(bed: &Bed, tool: Backup, disks: &[PathBuf; 2]) -> Result<[f64; 2], BenchError> {
    let folder = bed.steps.folder(tool.name())?;
    let repository = tool.init(&folder)?;
    let mut sizes = [0.0; 2];
    for ((size, disk), archive) in sizes.iter_mut().zip(disks).zip(["first", "second"]) {
        bed.steps
            .prepare(&format!("{} of the {archive} disk", tool.name()), || {
                command::run(&mut repository.backup(archive, disk))?;
                Ok(())
            })?;
        *size = disk_usage(repository.data())?;
    }
    bed.steps.path(tool.name())?;
    Ok(sizes)
}
