//! What a client says before bytes flow: `CONNECT <port>\n`.

use std::io::{self, Read};

/// The longest line, its end included; the longest that says something has 19 bytes.
const MAX_LINE_BYTES: usize = 32;

/// The start of what a client sends.
#[derive(Debug, Default)]
pub(super) struct Greeting {
    bytes: [u8; MAX_LINE_BYTES],
    filled: usize,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard<'a> {
    /// There is no whole line yet.
    More,
    /// It wants this port of the guest, and has sent this for it.
    Port(u32, &'a [u8]),
    /// It says something else, or is gone.
    Nonsense,
}

impl Greeting {
    /// Takes what `client` has sent, and no more than a line needs.
    pub(super) fn hear(&mut self, mut client: impl Read) -> Heard<'_> {
        while self.filled < MAX_LINE_BYTES && !self.bytes[..self.filled].contains(&b'\n') {
            match client.read(&mut self.bytes[self.filled..]) {
                Ok(0) => return Heard::Nonsense,
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Heard::More,
                Err(_) => return Heard::Nonsense,
            }
        }
        let heard = &self.bytes[..self.filled];
        let end = heard.iter().position(|byte| *byte == b'\n');
        let Some((line, rest)) = end.map(|end| (&heard[..end], &heard[end + 1..])) else {
            return Heard::Nonsense;
        };
        parse(line).map_or(Heard::Nonsense, |port| Heard::Port(port, rest))
    }
}

/// The port in a line, of which the command may be in either case, as Firecracker takes it.
fn parse(line: &[u8]) -> Option<u32> {
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_ascii_whitespace();
    let command = words.next()?;
    let port = words.next()?;
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
    let is_all = words.next().is_none();
    (command.eq_ignore_ascii_case("connect") && is_port && is_all)
        .then_some(port)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests;
