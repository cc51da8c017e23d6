//! What registries say about a failure: `{"errors":[{"code":…,"message":…}]}` (OCI distribution 1.1).

use serde::Deserialize;

use super::error::shown;

/// Most of an answer that is read to tell why something failed, in bytes.
pub(crate) const MAX_FAILURE_BYTES: u64 = 64 << 10;
/// Most errors of one answer that are told.
const MAX_ERRORS: usize = 3;

#[derive(Deserialize)]
struct Failure {
    errors: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// The codes and messages of an answer's body as they may be shown, after a colon; nothing if there are none.
pub(crate) fn failure_text(body: &[u8]) -> String {
    let Ok(failure) = serde_json::from_slice::<Failure>(body) else {
        return String::new();
    };
    let texts: Vec<String> = failure
        .errors
        .iter()
        .take(MAX_ERRORS)
        .map(|entry| format!("{} {}", entry.code, entry.message))
        .collect();
    match texts.join("; ").trim() {
        "" => String::new(),
        text => format!(": {}", shown(text)),
    }
}

#[cfg(test)]
mod tests;
