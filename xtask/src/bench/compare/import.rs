//! From an image to durable chunks: beside umoci, mke2fs and casync, and beside the least that it could take.

use super::super::image;
use super::super::measure::Report;
use super::super::peers;
use super::super::steps::Time;
use super::super::table::{Bound, Row, Unit, mebibytes};
use super::{Bed, Found, ratios};
use crate::bench::BenchError;

const WORK: &str = "import to durable chunks";

pub(super) fn run(bed: &Bed) -> Result<Found, BenchError> {
    let Bed {
        steps,
        measure,
        images,
    } = bed;
    let ours = steps.measure("import", |_| {
        let store = steps.path("store")?;
        Ok(vec![measure.import(&images.first, &store, None)])
    })?;
    let floor = steps.measure("gunzip, SHA-256 and zstd-1 alone", |_| {
        Ok(vec![measure.floor(&images.first)])
    })?;
    let report = Report::of(measure.floor(&images.first))?;
    let rootfs = steps.folder("unpacked")?.join("bundle");
    let (files, bytes) = steps.prepare("counting files", || {
        crate::command::run(&mut peers::umoci_unpack(&images.first, &rootfs))?;
        image::count(&rootfs.join("rootfs"))
    })?;
    let export = export(bed)?;
    let peers = beside_peers(bed, disk_bytes(bytes))?;
    let mut rows = vec![
        row(
            ours,
            "umoci + mke2fs + casync",
            peers.total(),
            Unit::Faster,
            Bound::AtLeast(10.0),
        ),
        row(
            ours,
            "gunzip, SHA-256, zstd-1 alone",
            floor,
            Unit::TimesAsLong,
            Bound::AtMost(1.5),
        ),
    ];
    rows.extend(peers.rows(ours));
    rows.push(Row {
        work: "export to a sparse file".to_owned(),
        bound: None,
        ..row(
            export,
            "casync extract",
            peers.extract,
            Unit::Faster,
            Bound::AtLeast(1.0),
        )
    });
    steps.path("unpacked")?;
    let plain = mebibytes(report.number("/plain_bytes")?);
    Ok(Found {
        plots: vec![("import-ratios", ratios(&rows))],
        rows,
        notes: vec![format!(
            "Image: {files} files of one name, {} MiB of them; {plain} MiB of tar in one gzip layer. Ours makes a disk \
             of 8 GiB; the other tools' disk has {} MiB.",
            mebibytes(count(bytes)),
            mebibytes(count(disk_bytes(bytes))),
        )],
    })
}

/// Times of the three tools that do together what an import does.
struct Peers {
    umoci: Time,
    mke2fs: Time,
    casync: Time,
    extract: Time,
}

/// Time of an export of what was imported last.
fn export(bed: &Bed) -> Result<Time, BenchError> {
    let Bed {
        steps,
        measure,
        images,
    } = bed;
    let store = steps.place("store");
    let snapshot = Report::of(measure.import(&images.first, &store, None))?.text("/snapshot")?;
    let time = steps.measure("export", |_| {
        let file = steps.path("exported.img")?;
        Ok(vec![measure.export(&store, &snapshot, &file)])
    })?;
    steps.path("exported.img")?;
    Ok(time)
}

fn beside_peers(bed: &Bed, disk_bytes: u64) -> Result<Peers, BenchError> {
    let steps = &bed.steps;
    let bundle = || -> Result<_, BenchError> { Ok(steps.folder("umoci")?.join("bundle")) };
    let umoci = steps.measure("umoci unpack", |_| {
        Ok(vec![peers::umoci_unpack(&bed.images.first, &bundle()?)])
    })?;
    let rootfs = steps.place("umoci").join("bundle/rootfs");
    let disk = steps.path("disk.img")?;
    let mke2fs = steps.measure("mke2fs -d", |_| {
        steps.path("disk.img")?;
        Ok(vec![peers::mke2fs(&rootfs, &disk, disk_bytes)])
    })?;
    let casync = steps.measure("casync make", |_| {
        let store = steps.folder("casync")?;
        let index = store.join("disk.caibx");
        Ok(vec![peers::casync_make(
            &store.join("chunks"),
            &index,
            &disk,
        )])
    })?;
    let extract = steps.measure("casync extract", |_| {
        let disk = steps.path("disk.img")?;
        let store = steps.place("casync");
        let index = store.join("disk.caibx");
        Ok(vec![peers::casync_extract(
            &store.join("chunks"),
            &index,
            &disk,
        )])
    })?;
    for name in ["umoci", "casync", "disk.img"] {
        steps.path(name)?;
    }
    Ok(Peers {
        umoci,
        mke2fs,
        casync,
        extract,
    })
}

impl Peers {
    fn total(&self) -> Time {
        self.umoci.and(self.mke2fs).and(self.casync)
    }

    fn rows(&self, ours: Time) -> [Row; 3] {
        [
            ("umoci unpack alone", self.umoci),
            ("mke2fs -d alone", self.mke2fs),
            ("casync make alone", self.casync),
        ]
        .map(|(peer, theirs)| Row {
            bound: None,
            ..row(ours, peer, theirs, Unit::Faster, Bound::AtLeast(1.0))
        })
    }
}

fn row(ours: Time, peer: &str, theirs: Time, unit: Unit, bound: Bound) -> Row {
    let faster = theirs.seconds / ours.seconds;
    Row {
        work: WORK.to_owned(),
        ours: ours.to_string(),
        peer: peer.to_owned(),
        theirs: theirs.to_string(),
        value: match unit {
            Unit::TimesAsLong => faster.recip(),
            _ => faster,
        },
        unit,
        bound: Some(bound),
    }
}

/// A disk on which `bytes` of files fit.
fn disk_bytes(bytes: u64) -> u64 {
    (bytes + bytes / 4 + (128 << 20)).next_multiple_of(1 << 20)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "images are far below 2^52 bytes"
)]
fn count(bytes: u64) -> f64 {
    bytes as f64
}
