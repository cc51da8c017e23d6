//! Reads and writes of the first disk, past the guest's page cache.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::Instant;

use nix::libc::O_DIRECT;

use crate::{Outcome, appear, report};

const DISK: &str = "/dev/vda";
/// What is read and written one after the other, in bytes.
const SEQUENTIAL_BYTES: u64 = 64 << 20;
/// One request of these.
const RUN_BYTES: usize = 1 << 20;
/// One request at a random place.
const BLOCK_BYTES: usize = 4096;
/// Requests at random places of each thread.
const BLOCKS: u64 = 500;
/// What direct requests are aligned to.
const ALIGNMENT: usize = 4096;

/// Reports bytes a second for requests in order, and seconds for each request at a random place.
pub(crate) fn measure() -> Outcome {
    appear(Path::new(DISK))?;
    for (is_write, name) in [(false, "read"), (true, "write")] {
        // Once to warm up: the host's page cache, and the disk's own file.
        sequential(is_write)?;
        let seconds = sequential(is_write)?;
        report(
            &format!("sequential-{name}-bytes-per-s"),
            count(SEQUENTIAL_BYTES) / seconds,
        );
        for threads in [1, 8] {
            let seconds = random(is_write, threads)?;
            report(
                &format!("random-{name}-{threads}-per-s"),
                count(BLOCKS * threads) / seconds,
            );
        }
    }
    Ok(())
}

/// The counts here are far below those that a float does not hold.
#[expect(clippy::cast_precision_loss, reason = "the numbers are small")]
fn count(number: u64) -> f64 {
    number as f64
}

/// The seconds that it takes to go over the first part of the disk once.
fn sequential(is_write: bool) -> io::Result<f64> {
    let disk = open(is_write)?;
    let mut memory = Memory::new(RUN_BYTES);
    let begun = Instant::now();
    for offset in (0..SEQUENTIAL_BYTES).step_by(RUN_BYTES) {
        transfer(&disk, is_write, memory.bytes(), offset)?;
    }
    Ok(begun.elapsed().as_secs_f64())
}

/// The seconds that it takes so many threads to do their requests.
fn random(is_write: bool, threads: u64) -> io::Result<f64> {
    let begun = Instant::now();
    let workers: Vec<_> = (1..=threads)
        .map(|seed| thread::spawn(move || random_blocks(is_write, seed)))
        .collect();
    for worker in workers {
        worker
            .join()
            .map_err(|_panic| io::Error::other("a thread panicked"))??;
    }
    Ok(begun.elapsed().as_secs_f64())
}

fn random_blocks(is_write: bool, seed: u64) -> io::Result<()> {
    let disk = open(is_write)?;
    let mut memory = Memory::new(BLOCK_BYTES);
    let blocks = SEQUENTIAL_BYTES / BLOCK_BYTES as u64;
    // Knuth's MMIX generator, whose upper bits are good enough for places.
    let mut state = seed;
    for _ in 0..BLOCKS {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let offset = (state >> 33) % blocks * BLOCK_BYTES as u64;
        transfer(&disk, is_write, memory.bytes(), offset)?;
    }
    Ok(())
}

fn open(is_write: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(is_write)
        .custom_flags(O_DIRECT)
        .open(DISK)
}

fn transfer(disk: &File, is_write: bool, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    match is_write {
        true => disk.write_all_at(bytes, offset),
        false => disk.read_exact_at(bytes, offset),
    }
}

/// Aligned bytes.
struct Memory {
    all: Vec<u8>,
    start: usize,
    length: usize,
}

impl Memory {
    fn new(length: usize) -> Self {
        let all = vec![0x5a; length + ALIGNMENT];
        let start = all.as_ptr().align_offset(ALIGNMENT);
        Self { all, start, length }
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.all[self.start..self.start + self.length]
    }
}
