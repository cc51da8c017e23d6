//! Session ids: names of folders, so only harmless ones are let in.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::{Error, Repr};

/// A label of RFC 1123, which ids and hostnames share as their bound.
const MAX_BYTES: usize = 63;

/// How many random bytes a made-up id carries.
const RANDOM_BYTES: usize = 5;

/// Checks an id that a user chose.
pub(crate) fn check(id: &str) -> Result<(), Error> {
    let valid = id.len() <= MAX_BYTES
        && id.starts_with(|first: char| first.is_ascii_alphanumeric())
        && id
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if valid {
        Ok(())
    } else {
        Err(Repr::BadId { id: id.to_owned() }.into())
    }
}

/// Checks a hostname by RFC 1123.
pub(crate) fn check_hostname(name: &str) -> Result<(), Error> {
    let valid = (1..=MAX_BYTES).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if valid {
        Ok(())
    } else {
        Err(Repr::BadHostname {
            name: name.to_owned(),
        }
        .into())
    }
}

/// Makes an id that no one has yet, by all likelihood.
pub(crate) fn random() -> Result<String, Error> {
    Ok(format!("s-{}", hex(&random_bytes::<RANDOM_BYTES>()?)))
}

/// Bytes that nobody can guess.
pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N], Error> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; N];
    File::open(path)
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|source| Repr::Io {
            action: "read",
            path: path.to_owned(),
            source,
        })?;
    Ok(bytes)
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
