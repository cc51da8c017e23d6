//! Rows of a comparison, and the Markdown that they become.

use std::fmt::Write as _;

/// What a figure must reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// One comparison.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) work: String,
    pub(super) ours: String,
    pub(super) peer: String,
    pub(super) theirs: String,
    /// What the two come to, in `unit`.
    pub(super) value: f64,
    pub(super) unit: Unit,
    pub(super) bound: Option<Bound>,
}

/// What a row's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// How many times faster ours is.
    Faster,
    /// How many times as long ours takes.
    TimesAsLong,
    Milliseconds,
    Percent,
}

impl Row {
    /// Whether the value is what it must be; nothing if that was not said.
    pub(super) fn is_met(&self) -> Option<bool> {
        self.bound.map(|bound| match bound {
            Bound::AtLeast(least) => self.value >= least,
            Bound::AtMost(most) => self.value <= most,
        })
    }

    fn line(&self) -> String {
        let met = match self.is_met() {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        let bound = self.bound.map_or_else(String::new, |bound| match bound {
            Bound::AtLeast(least) => format!("≥ {}", self.unit.show(least)),
            Bound::AtMost(most) => format!("≤ {}", self.unit.show(most)),
        });
        let Self {
            work,
            ours,
            peer,
            theirs,
            ..
        } = self;
        let value = self.unit.show(self.value);
        format!("| {work} | {ours} | {peer} | {theirs} | {value} | {bound} | {met} |")
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        let number = digits(value);
        match self {
            Self::Faster => format!("{number}× faster"),
            Self::TimesAsLong => format!("{number}× as long"),
            Self::Milliseconds => format!("{number} ms"),
            Self::Percent => format!("{number} %"),
        }
    }
}

/// Two digits after the point below 10, one below 100, and none above; none where they would be zero.
pub(super) fn digits(value: f64) -> String {
    let text = match value.abs() {
        below if below < 10.0 => format!("{value:.2}"),
        below if below < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    };
    match text.split_once('.') {
        Some((whole, rest)) if rest.bytes().all(|digit| digit == b'0') => whole.to_owned(),
        _ => text,
    }
}

/// Seconds, as a person reads them.
pub(super) fn seconds(value: f64) -> String {
    match value < 1.0 {
        true => format!("{} ms", digits(value * 1e3)),
        false => format!("{} s", digits(value)),
    }
}

/// Bytes in MiB.
pub(super) fn mebibytes(bytes: f64) -> String {
    digits(bytes / f64::from(1 << 20))
}

/// The rows as a Markdown table.
pub(super) fn comparison(rows: &[Row]) -> String {
    let mut text = "| work | ours | beside | theirs | so ours is | must be | met |\n\
                    |---|---|---|---|---|---|---|\n"
        .to_owned();
    for row in rows {
        text += &row.line();
        text.push('\n');
    }
    text
}

/// A Markdown table of any columns.
pub(super) fn plain(columns: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(text, "| {} |", columns.join(" | "));
    let _ = writeln!(text, "|{}", "---|".repeat(columns.len()));
    for row in rows {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

#[cfg(test)]
mod tests;
