//! Reads through a disk, hot and cold, beside reads of a plain file that holds the same bytes.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use benches::{BLOCK, Extents, Latencies, MeasureError, data_of, forget};
use rootfs_store::{SnapshotDigest, Store, WritableDisk};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// What hot reads read, in bytes: half of the store's cache.
const HOT_BYTES: u64 = 64 << 20;
/// Rounds of which the median counts; disk and file take turns.
const HOT_ROUNDS: usize = 9;
/// Bytes that a round reads.
const ROUND_BYTES: u64 = 512 << 20;
/// Most cold reads.
const COLD_READS: usize = 4000;
/// The sizes of hot reads, in bytes.
const SIZES: [usize; 2] = [BLOCK, 128 << 10];
/// A disk that is not there after the measurement.
const DISK: &str = "reads";

pub(crate) fn hot(
    store: &Path,
    snapshot: &SnapshotDigest,
    path: &Path,
) -> Result<Value, MeasureError> {
    let file = File::open(path).map_err(MeasureError::io("open", path))?;
    let extents = data_of(&file, path)?.first(HOT_BYTES);
    let store = Store::open(store)?;
    let disk = new_disk(&store, snapshot)?;
    let mut found = Vec::new();
    for bytes in SIZES {
        for random in [false, true] {
            let offsets = offsets(&extents, bytes, random);
            found.push(compare(&disk, &file, path, bytes, random, &offsets)?);
        }
    }
    drop(disk);
    store.remove_disk(DISK)?;
    Ok(Value::Array(found))
}

fn offsets(extents: &Extents, bytes: usize, random: bool) -> Vec<u64> {
    match random {
        true => extents.sample(bytes as u64, usize::MAX, 1),
        false => extents.units(bytes as u64),
    }
}

fn compare(
    disk: &WritableDisk,
    file: &File,
    path: &Path,
    bytes: usize,
    random: bool,
    offsets: &[u64],
) -> Result<Value, MeasureError> {
    let mut buffer = vec![0; bytes];
    let (mut ours, mut plain) = (Vec::new(), Vec::new());
    // The first round fills both caches.
    for round in 0..=HOT_ROUNDS {
        let disk = time(offsets, bytes, |at| Ok(disk.read_at(&mut buffer, at)?))?;
        let file = time(offsets, bytes, |at| {
            file.read_exact_at(&mut buffer, at)
                .map_err(MeasureError::io("read", path))
        })?;
        if round > 0 {
            ours.push(disk);
            plain.push(file);
        }
    }
    let (ours, plain) = (Latencies::of(ours), Latencies::of(plain));
    let us = |found: Option<Latencies>| found.map(|found| found.p50_us);
    Ok(json!({ "bytes": bytes, "random": random, "disk_us": us(ours), "pread_us": us(plain) }))
}

/// Mean CPU time of a read that waits for nothing, over as many turns through `offsets` as a round takes.
fn time(
    offsets: &[u64],
    bytes: usize,
    mut read: impl FnMut(u64) -> Result<(), MeasureError>,
) -> Result<Duration, MeasureError> {
    let count = ROUND_BYTES / bytes as u64;
    let begun = cpu_time();
    for at in offsets
        .iter()
        .cycle()
        .take(usize::try_from(count).unwrap_or(0))
    {
        read(*at)?;
    }
    Ok(cpu_time().saturating_sub(begun) / u32::try_from(count).unwrap_or(u32::MAX))
}

pub(crate) fn cold(
    dir: &Path,
    snapshot: &SnapshotDigest,
    path: &Path,
    bytes: usize,
    from_device: bool,
) -> Result<Value, MeasureError> {
    let file = File::open(path).map_err(MeasureError::io("open", path))?;
    let extents = data_of(&file, path)?;
    let store = Store::open(dir)?;
    let chunk_bytes = u64::from(store.snapshot(snapshot)?.chunk_bytes);
    let disk = new_disk(&store, snapshot)?;
    let blobs = dir.join("blobs");
    match from_device {
        true => forget(&blobs)?,
        false => warm(&blobs)?,
    }
    let mut buffer = vec![0; bytes];
    let (mut times, mut cpu) = (Vec::new(), Vec::new());
    for at in extents.sample(chunk_bytes.max(bytes as u64), COLD_READS, 1) {
        let (begun, cpu_begun) = (Instant::now(), cpu_time());
        disk.read_at(&mut buffer, at)?;
        times.push(begun.elapsed());
        cpu.push(cpu_time().saturating_sub(cpu_begun));
    }
    drop(disk);
    store.remove_disk(DISK)?;
    Ok(json!({
        "chunk_bytes": chunk_bytes,
        "bytes": bytes,
        "from_device": from_device,
        "latency": Latencies::of(times),
        "cpu": Latencies::of(cpu),
    }))
}

pub(crate) fn fetched(
    dir: &Path,
    snapshot: &SnapshotDigest,
    path: &Path,
    reads: usize,
    bytes: usize,
) -> Result<Value, MeasureError> {
    let file = File::open(path).map_err(MeasureError::io("open", path))?;
    let offsets = data_of(&file, path)?.sample(bytes as u64, reads, 1);
    let store = Store::open(dir)?;
    let disk = new_disk(&store, snapshot)?;
    let mut buffer = vec![0; bytes];
    let before = bytes_read()?;
    for at in &offsets {
        disk.read_at(&mut buffer, *at)?;
    }
    let fetched = bytes_read()? - before;
    drop(disk);
    store.remove_disk(DISK)?;
    Ok(json!({ "reads": offsets.len(), "bytes": bytes, "fetched_bytes": fetched }))
}

/// CPU time of this thread so far: on a machine with other work, what a read takes without being interrupted.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.try_into().unwrap_or(0),
        time.tv_nsec.try_into().unwrap_or(0),
    )
}

fn new_disk(store: &Store, snapshot: &SnapshotDigest) -> Result<WritableDisk, MeasureError> {
    store.remove_disk(DISK)?;
    Ok(store.create_disk(DISK, snapshot)?)
}

/// Reads all files of the folder once, so that the page cache holds them.
fn warm(dir: &Path) -> Result<(), MeasureError> {
    for entry in fs::read_dir(dir).map_err(MeasureError::io("list", dir))? {
        let path = entry.map_err(MeasureError::io("list", dir))?.path();
        if path.is_dir() {
            warm(&path)?;
            continue;
        }
        let mut file = File::open(&path).map_err(MeasureError::io("open", &path))?;
        std::io::copy(&mut file, &mut std::io::sink()).map_err(MeasureError::io("read", &path))?;
    }
    Ok(())
}

/// Bytes that this process has asked the operating system for, from whatever cache or device.
fn bytes_read() -> Result<u64, MeasureError> {
    let path = Path::new("/proc/self/io");
    let text = fs::read_to_string(path).map_err(MeasureError::io("read", path))?;
    let count = text.lines().find_map(|line| line.strip_prefix("rchar: "));
    count
        .and_then(|count| count.parse().ok())
        .ok_or_else(|| MeasureError::NoData {
            path: path.to_owned(),
        })
}
