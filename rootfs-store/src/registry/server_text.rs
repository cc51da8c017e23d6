//! What registries say about a failure: `{"errors":[{"code":…,"message":…}]}` (OCI distribution 1.1).

use serde::Deserialize;

/// Most of an answer that is read to tell why something failed, in bytes.
pub(crate) const MAX_FAILURE_BYTES: u64 = 64 << 10;
/// Most errors of one answer that are told.
const MAX_ERRORS: usize = 3;

/// Longest text of a registry that an error shows, in bytes.
const MAX_TEXT_BYTES: usize = 200;

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

/// A registry's text as it may be shown: printable, and not for ever.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for char in text.chars() {
        if shown.len() + char.len_utf8() > MAX_TEXT_BYTES {
            shown.push('…');
            break;
        }
        let is_plain = char == ' ' || char.is_alphanumeric() || char.is_ascii_punctuation();
        shown.push(if is_plain { char } else { '\u{fffd}' });
    }
    shown
}

#[cfg(test)]
mod tests;
