//! What the process has: descriptors, threads, mappings, memory.

use std::collections::BTreeMap;
use std::fs::{read_dir, read_to_string};
use std::time::{Duration, Instant};

/// How long the kernel may take to show that threads have gone.
const SETTLE: Duration = Duration::from_secs(10);

/// Mappings by what they are of, with how many there are and their bytes.
type Mappings = BTreeMap<String, (usize, u64)>;

/// What a process has at one moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Possessions {
    descriptors: BTreeMap<String, usize>,
    threads: usize,
    mappings: Mappings,
}

impl Possessions {
    pub(super) fn now() -> Self {
        Self {
            descriptors: descriptors(),
            threads: read_dir("/proc/self/task").unwrap().count(),
            mappings: mappings(),
        }
    }

    /// What there is when nothing changes any more.
    pub(super) fn settled() -> Self {
        let mut last = Self::now();
        loop {
            std::thread::sleep(Duration::from_millis(100));
            let now = Self::now();
            if now == last {
                return now;
            }
            last = now;
        }
    }

    /// Makes sure that what is counted grows with VMs.
    pub(super) fn assert_less_than(&self, with_vms: &Self, vms: usize) {
        let count = |descriptors: &BTreeMap<_, usize>| descriptors.values().sum::<usize>();
        assert!(count(&with_vms.descriptors) > count(&self.descriptors) + 10 * vms);
        assert!(with_vms.threads > self.threads + 2 * vms);
        let pieces = |mappings: &Mappings| mappings.values().map(|(count, _)| count).sum::<usize>();
        assert!(pieces(&with_vms.mappings) > pieces(&self.mappings) + 2 * vms);
    }

    /// Makes sure that there is again what there was.
    pub(super) fn assert_left(&self) {
        let begun = Instant::now();
        while Self::now() != *self && begun.elapsed() < SETTLE {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(Self::now(), *self);
    }
}

/// Descriptors by what they are of, without numbers. One more is open while they are counted.
fn descriptors() -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for entry in read_dir("/proc/self/fd").unwrap() {
        let target = entry.unwrap().path().read_link().unwrap_or_default();
        let name = target.to_string_lossy();
        let kind = name.split(":[").next().unwrap_or_default().to_owned();
        *counts.entry(kind).or_default() += 1;
    }
    counts
}

fn mappings() -> Mappings {
    let mut mappings = Mappings::new();
    for line in read_to_string("/proc/self/maps").unwrap().lines() {
        let mut fields = line.split_ascii_whitespace();
        let (from, to) = fields.next().unwrap().split_once('-').unwrap();
        let address = |text| u64::from_str_radix(text, 16).unwrap();
        let access = fields.next().unwrap();
        let name: Vec<_> = fields.skip(3).collect();
        // The heap is one piece, of a size that says nothing.
        let bytes = match name.as_slice() {
            ["[heap]" | "[stack]"] => 0,
            _ => address(to) - address(from),
        };
        let entry = mappings
            .entry(format!("{access} {}", name.join(" ")))
            .or_default();
        *entry = (entry.0 + 1, entry.1 + bytes);
    }
    mappings
}

/// The process's proportional memory, and how much of that is guests': mappings that no swap space is reserved for,
/// which in a process with one allocation arena are theirs only.
pub(super) fn pss_kib() -> (u64, u64) {
    let (mut all, mut guests, mut piece) = (0, 0, 0);
    for line in read_to_string("/proc/self/smaps").unwrap().lines() {
        if let Some(rest) = line.strip_prefix("Pss:") {
            let kib = rest.trim().trim_end_matches(" kB");
            piece = kib.parse().unwrap();
            all += piece;
        } else if let Some(flags) = line.strip_prefix("VmFlags:")
            && flags.split_ascii_whitespace().any(|flag| flag == "nr")
        {
            guests += piece;
        }
    }
    (all, guests)
}
