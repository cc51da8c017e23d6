//! The figures of both monitors, by what they mean.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::super::BenchError;
use super::super::measure::Report;
use super::super::table::{digits, mebibytes, seconds};

/// What a figure is, and so which is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Seconds,
    BytesPerSecond,
    PerSecond,
    Mebibytes,
    Times,
}

/// What ours has to be.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Must {
    /// So many times better than the peer's.
    Better(f64),
    /// At most this, in the figure's unit.
    AtMost(f64),
}

/// What is compared: the figure's name, the words for it, its unit, and what ours has to be.
const COMPARED: [(&str, &str, Unit, Option<Must>); 18] = [
    (
        "boot-to-user-s",
        "start to the first line of user space",
        Unit::Seconds,
        None,
    ),
    (
        "boot-process-s",
        "start to the end of a guest that reboots at once",
        Unit::Seconds,
        Some(Must::AtMost(1.2)),
    ),
    (
        "boot-to-answer-s",
        "start to the first answer",
        Unit::Seconds,
        None,
    ),
    (
        "ping-s",
        "round trip of a byte over vsock",
        Unit::Seconds,
        None,
    ),
    ("exec-s", "round trip of a command", Unit::Seconds, None),
    (
        "vm-exits",
        "exits to KVM until the first answer",
        Unit::Times,
        None,
    ),
    (
        "sequential-read-bytes-per-s",
        "disk, reads in order",
        Unit::BytesPerSecond,
        Some(Must::Better(1.0)),
    ),
    (
        "sequential-write-bytes-per-s",
        "disk, writes in order",
        Unit::BytesPerSecond,
        Some(Must::Better(1.0)),
    ),
    (
        "random-read-1-per-s",
        "disk, random reads, one at a time",
        Unit::PerSecond,
        Some(Must::Better(1.0)),
    ),
    (
        "random-read-8-per-s",
        "disk, random reads, eight at a time",
        Unit::PerSecond,
        Some(Must::Better(1.0)),
    ),
    (
        "random-write-1-per-s",
        "disk, random writes, one at a time",
        Unit::PerSecond,
        Some(Must::Better(1.0)),
    ),
    (
        "random-write-8-per-s",
        "disk, random writes, eight at a time",
        Unit::PerSecond,
        Some(Must::Better(1.0)),
    ),
    (
        "net-send-bytes-per-s",
        "network, guest to host",
        Unit::BytesPerSecond,
        None,
    ),
    (
        "net-receive-bytes-per-s",
        "network, host to guest",
        Unit::BytesPerSecond,
        None,
    ),
    (
        "net-echo-s",
        "network, a byte to the host and back",
        Unit::Seconds,
        None,
    ),
    (
        "memory-first-vm-mib",
        "memory of a process with one machine",
        Unit::Mebibytes,
        None,
    ),
    (
        "memory-next-vm-mib",
        "memory of a further machine",
        Unit::Mebibytes,
        Some(Must::AtMost(4.0)),
    ),
    (
        "vm-io_exits",
        "exits for ports until the first answer",
        Unit::Times,
        None,
    ),
];

/// Parts of our start, which the peer has no figures of, and the seconds that they may take.
const PARTS: [(&str, &str, Option<f64>); 5] = [
    (
        "open-kernel-s",
        "read the kernel and lay it out, once for all machines",
        None,
    ),
    ("start-s", "`Vm::start`", None),
    ("run-s", "`Vm::start` and the guest, to its end", None),
    (
        "native-start-s",
        "`Vm::start` on this machine itself, with vsock: the middle of 41",
        Some(0.01),
    ),
    ("native-stop-s", "`Vm::stop` and the drop there", None),
];

/// All figures of a run.
#[derive(Debug)]
pub(super) struct Figures {
    ours: BTreeMap<String, f64>,
    theirs: BTreeMap<String, f64>,
}

/// A figure of both.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) work: &'static str,
    pub(super) ours: String,
    pub(super) theirs: String,
    /// How many times better ours is.
    pub(super) ratio: f64,
    /// How many times better it must be.
    pub(super) least: Option<f64>,
    /// What ours must be, in words, and whether it is.
    pub(super) must: Option<(String, bool)>,
}

impl Figures {
    /// Sorts the reports of the program.
    ///
    /// # Errors
    /// [`BenchError::Report`] if one is not what it prints.
    pub(super) fn new(reports: Vec<Report>) -> Result<Self, BenchError> {
        let (mut ours, mut theirs) = (BTreeMap::new(), BTreeMap::new());
        for report in reports {
            let of = match report.text("/vmm")?.as_str() {
                "ours" => &mut ours,
                _ => &mut theirs,
            };
            of.insert(report.text("/name")?, report.number("/value")?);
        }
        Ok(Self { ours, theirs })
    }

    /// What was measured of both.
    pub(super) fn compared(&self) -> impl Iterator<Item = Figure> {
        COMPARED.iter().filter_map(|(name, work, unit, must)| {
            let (ours, theirs) = (*self.ours.get(*name)?, *self.theirs.get(*name)?);
            let ratio = unit.times_better(ours, theirs);
            Some(Figure {
                work,
                ours: unit.show(ours),
                theirs: unit.show(theirs),
                ratio,
                least: match must {
                    Some(Must::Better(least)) => Some(*least),
                    _ => None,
                },
                must: must.map(|must| match must {
                    Must::Better(least) => (format!("≥ {}×", digits(least)), ratio >= least),
                    Must::AtMost(most) => (format!("≤ {}", unit.show(most)), ours <= most),
                }),
            })
        })
    }

    /// The parts of our start, as a list.
    pub(super) fn parts(&self) -> String {
        let mut text = String::new();
        for (name, words, most) in PARTS {
            if let Some(value) = self.ours.get(name) {
                let bound = match most {
                    Some(most) if *value <= most => format!(", at most {}: yes", seconds(most)),
                    Some(most) => format!(", at most {}: **no**", seconds(most)),
                    None => String::new(),
                };
                // Writing to a string does not fail.
                let _ = writeln!(text, "- {words}: {}{bound}", seconds(*value));
            }
        }
        text
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Seconds if value < 1e-3 => format!("{} µs", digits(value * 1e6)),
            Self::Seconds => seconds(value),
            Self::BytesPerSecond => format!("{} MiB/s", mebibytes(value)),
            Self::PerSecond => format!("{}/s", digits(value)),
            Self::Mebibytes => format!("{} MiB", digits(value)),
            Self::Times => digits(value),
        }
    }

    fn times_better(self, ours: f64, theirs: f64) -> f64 {
        match self {
            Self::BytesPerSecond | Self::PerSecond => ours / theirs,
            Self::Seconds | Self::Mebibytes | Self::Times => theirs / ours,
        }
    }
}
