//! Lines of `authorized_keys` (sshd(8), AUTHORIZED_KEYS FILE FORMAT).

use ssh_key::PublicKey;

use super::bad;
use crate::error::{Error, Repr};

const MAX_LINE: usize = 16 << 10;

/// Checks that a line is one key that sshd would take.
pub(super) fn check(user: &str, line: &str) -> Result<(), Error> {
    let setting = "SSH key of user";
    // A line break would make another line of what follows, with a key that nobody has checked.
    if line.contains(char::is_control) || line.len() > MAX_LINE {
        return Err(bad(
            setting,
            user,
            "a key is one line of at most 16 KiB without control characters",
        ));
    }
    if line.starts_with('#') {
        return Err(bad(setting, user, "a remark is no key"));
    }
    let mut words = line.splitn(3, ' ');
    let plain = key(words.next(), words.next());
    let Err(error) = plain else {
        return Ok(());
    };
    let rest = after_options(line).unwrap_or_default();
    let mut words = rest.trim_start().splitn(3, ' ');
    key(words.next(), words.next()).map_err(|behind_options| {
        let source = match rest.is_empty() {
            true => error,
            false => behind_options,
        };
        let user = user.to_owned();
        Repr::BadKey { user, source }.into()
    })
}

fn key(kind: Option<&str>, base64: Option<&str>) -> Result<(), ssh_key::Error> {
    let text = format!(
        "{} {}",
        kind.unwrap_or_default(),
        base64.unwrap_or_default()
    );
    PublicKey::from_openssh(&text).map(drop)
}

/// What follows the first space that is in no quotes.
fn after_options(line: &str) -> Option<&str> {
    let mut is_quoted = false;
    let mut is_escaped = false;
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b' ' if !is_quoted => return Some(&line[at + 1..]),
            _ => {}
        }
    }
    None
}
