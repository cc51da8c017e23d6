//! What an embedder notes of a session: a title, labels, and for how long it is kept.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::identity::check::bad;

const MAX_TITLE_BYTES: usize = 256;
const MAX_LABELS: usize = 32;
const MAX_KEY_BYTES: usize = 63;
const MAX_VALUE_BYTES: usize = 256;

/// What an embedder notes of a session; the session does not depend on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct About {
    /// A title for people: one line of at most 256 bytes.
    pub title: Option<String>,
    /// Labels to find and sum up sessions by, at most 32. A key has 1 to 63 letters, digits, `-`, `_`, `.` or `/`; a value is
    /// one line of at most 256 bytes.
    pub labels: BTreeMap<String, String>,
    /// Whether the session is kept however old it is.
    pub pinned: bool,
    /// How long after its shutdown the session expires, unless it is pinned; nothing leaves that to
    /// [`Housekeeping::keep_stopped`](crate::Housekeeping::keep_stopped).
    pub keep_for: Option<Duration>,
}

impl About {
    pub(crate) fn check(&self) -> Result<(), Error> {
        let title = self.title.as_deref();
        if title.is_some_and(|title| !is_line(title, MAX_TITLE_BYTES)) {
            return Err(bad(
                "title",
                title.unwrap_or_default(),
                "it is one line of at most 256 bytes",
            ));
        }
        if self.labels.len() > MAX_LABELS {
            return Err(bad(
                "number of labels",
                self.labels.len(),
                "at most 32 are kept",
            ));
        }
        for (key, value) in &self.labels {
            if !is_key(key) {
                return Err(bad(
                    "label",
                    key,
                    "it is 1 to 63 letters, digits, '-', '_', '.' or '/'",
                ));
            }
            if !is_line(value, MAX_VALUE_BYTES) {
                return Err(bad(
                    "value of a label",
                    value,
                    "it is one line of at most 256 bytes",
                ));
            }
        }
        Ok(())
    }
}

fn is_line(text: &str, limit: usize) -> bool {
    text.len() <= limit && !text.chars().any(char::is_control)
}

fn is_key(key: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    (1..=MAX_KEY_BYTES).contains(&key.len()) && key.chars().all(is_allowed)
}

#[cfg(test)]
mod tests;
