//! The guest's name in its files.

#[cfg(test)]
mod tests;

use super::root::{Attributes, Root};
use crate::guest::error::StartError;

const HOSTNAME: &str = "/etc/hostname";
const HOSTS: &str = "/etc/hosts";

/// Where Debian and its kin have a machine's own name (hosts(5)).
const OWN_ADDRESS: &str = "127.0.1.1";
/// What a table of hosts begins with where the image has none.
const NEW_HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

const MAX_BYTES: u64 = 1 << 20;
const READABLE: Attributes = Attributes::of_root(0o644);

/// Writes the name into `/etc/hostname` and `/etc/hosts`.
pub(super) fn settle(root: &Root, name: &str) -> Result<(), StartError> {
    let line = format!("{name}\n");
    let written = root.edit(HOSTNAME, line.as_bytes(), READABLE);
    written.map_err(StartError::step("write", HOSTNAME))?;
    let old = root
        .read(HOSTS, MAX_BYTES)
        .map_err(StartError::step("read", HOSTS))?;
    let new = hosts(old.as_deref().unwrap_or(NEW_HOSTS.as_bytes()), name);
    if old.as_deref() != Some(&new[..]) {
        let written = root.edit(HOSTS, &new, READABLE);
        written.map_err(StartError::step("write", HOSTS))?;
    }
    Ok(())
}

/// The table with the machine's name in it. A line for it that is there already is changed, if it has another one.
fn hosts(old: &[u8], name: &str) -> Vec<u8> {
    let own_line = format!("{OWN_ADDRESS}\t{name}");
    let mut lines: Vec<&[u8]> = old
        .strip_suffix(b"\n")
        .unwrap_or(old)
        .split(|byte| *byte == b'\n')
        .filter(|_| !old.is_empty())
        .collect();
    let own = lines
        .iter()
        .position(|line| words(line).next() == Some(OWN_ADDRESS.as_bytes()));
    match own {
        Some(at) if words(lines[at]).skip(1).any(|word| word == name.as_bytes()) => {
            return old.to_vec();
        }
        Some(at) => lines[at] = own_line.as_bytes(),
        None => lines.push(own_line.as_bytes()),
    }
    let mut new = lines.join(&b'\n');
    new.push(b'\n');
    new
}

/// What a line says before its remark.
fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let end = line
        .iter()
        .position(|byte| *byte == b'#')
        .unwrap_or(line.len());
    let words = line[..end].split(u8::is_ascii_whitespace);
    words.filter(|word| !word.is_empty())
}
