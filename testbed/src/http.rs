//! As much of HTTP/1.1 as registries and their clients use: heads, and bodies by length, by chunks or to the end.

use std::io::{self, BufRead, Read, Write};

mod body;

pub(crate) use body::{Body, Framing, write_end, write_piece};

/// The most bytes that a head may have.
const MAX_HEAD_BYTES: u64 = 64 << 10;

/// The first line and the fields of a request or an answer.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) start: String,
    fields: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn new(start: impl Into<String>) -> Self {
        Self {
            start: start.into(),
            fields: Vec::new(),
        }
    }

    /// Reads a head, or `None` if the other side has closed the connection instead of beginning one.
    pub(crate) fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut reader = reader.take(MAX_HEAD_BYTES);
        let Some(start) = line(&mut reader)? else {
            return Ok(None);
        };
        let mut head = Self::new(start);
        loop {
            let text = line(&mut reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if text.is_empty() {
                return Ok(Some(head));
            }
            let (name, value) = text.split_once(':').ok_or_else(|| invalid("a field"))?;
            head.fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// The value of the first field `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        let field = fields.find(|(other, _)| other.eq_ignore_ascii_case(name));
        field.map(|(_, value)| value.as_str())
    }

    /// Puts `value` in the place of all fields `name`.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.remove(name);
        self.fields.push((name.to_owned(), value.into()));
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.fields
            .retain(|(other, _)| !other.eq_ignore_ascii_case(name));
    }

    /// Writes the head and the empty line behind it, at once.
    pub(crate) fn write(&self, writer: &mut impl Write) -> io::Result<()> {
        let mut text = format!("{}\r\n", self.start);
        for (name, value) in &self.fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        writer.write_all(text.as_bytes())
    }

    /// The status, if this is the head of an answer.
    pub(crate) fn status(&self) -> io::Result<u16> {
        let word = self.start.split(' ').nth(1);
        let status = word.and_then(|word| word.parse().ok());
        status.ok_or_else(|| invalid("a status"))
    }
}

/// The first line of an answer.
pub(crate) fn status_line(status: u16) -> String {
    // What it is called does not matter, but there must be a space.
    format!("HTTP/1.1 {status} Status")
}

pub(crate) fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not {what} of HTTP"))
}

/// Reads a line without its end, or `None` if there is nothing more.
fn line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let text = line.strip_suffix('\n').ok_or_else(|| invalid("a line"))?;
    Ok(Some(text.trim_end_matches('\r').to_owned()))
}

#[cfg(test)]
mod tests;
