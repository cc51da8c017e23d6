//! A client that sends what it is told to and believes nothing.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How long an answer may take, so that a test fails instead of waiting for ever.
const DEADLINE: Duration = Duration::from_secs(20);

/// An answer, as far as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// From the request's end to the first byte of the answer, and to the last.
    pub(crate) times: (Duration, Duration),
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        let field = fields.find(|(other, _)| other.eq_ignore_ascii_case(name));
        field.map(|(_, value)| value.as_str())
    }
}

/// A connection to `host`, for one request after the other.
pub(crate) struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(host: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(host)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        Ok(Self::over(stream))
    }

    /// Over a connection that somebody else made.
    pub(crate) fn over(stream: TcpStream) -> Self {
        Self {
            reader: BufReader::new(stream),
        }
    }

    /// Sends a request whose head is `start` and `fields`, and reads the answer.
    pub(crate) fn ask(&mut self, start: &str, fields: &[&str], body: &[u8]) -> io::Result<Answer> {
        self.send(start, fields, body)?;
        self.answer(start.starts_with("HEAD"))
    }

    pub(crate) fn send(&mut self, start: &str, fields: &[&str], body: &[u8]) -> io::Result<()> {
        let host = self.reader.get_ref().peer_addr()?;
        let mut text = format!("{start} HTTP/1.1\r\nHost: {host}\r\n");
        for field in fields {
            text.push_str(&format!("{field}\r\n"));
        }
        if !fields
            .iter()
            .any(|field| field.starts_with("Transfer-Encoding"))
        {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        self.send_bytes(&[text.as_bytes(), body].concat())
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_ref().write_all(bytes)
    }

    /// Reads an answer: whole if the length was said and is true, else until the connection ends.
    pub(crate) fn answer(&mut self, to_head: bool) -> io::Result<Answer> {
        let begun = Instant::now();
        let start = self.line()?;
        let first = begun.elapsed();
        let status = start.split(' ').nth(1).unwrap().parse().unwrap();
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };
            fields.push((name.to_owned(), value.to_owned()));
        }
        let mut answer = Answer {
            status,
            fields,
            body: Vec::new(),
            times: (first, first),
        };
        let length = answer
            .field("content-length")
            .map_or(u64::MAX, |it| it.parse().unwrap());
        if !to_head && status >= 200 && status != 204 {
            self.reader
                .by_ref()
                .take(length)
                .read_to_end(&mut answer.body)?;
        }
        answer.times.1 = begun.elapsed();
        Ok(answer)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

/// One request on a connection of its own.
pub(crate) fn ask(host: &str, start: &str, fields: &[&str], body: &[u8]) -> io::Result<Answer> {
    Client::connect(host)?.ask(start, fields, body)
}

/// Begins an upload to `repository`, and returns the target of the Location.
pub(crate) fn begin_upload(host: &str, repository: &str) -> String {
    let start = format!("POST /v2/{repository}/blobs/uploads/");
    let answer = ask(host, &start, &[], b"").unwrap();
    assert_eq!(answer.status, 202, "{answer:?}");
    let location = answer.field("location").unwrap();
    let ours = format!("http://{host}");
    location.strip_prefix(&ours).unwrap().to_owned()
}

/// Uploads `bytes`, whose digest is `digest`, to `repository`.
pub(crate) fn upload(host: &str, repository: &str, bytes: &[u8], digest: &str) {
    let target = begin_upload(host, repository);
    let start = format!("PUT {target}&digest={digest}");
    let answer = ask(host, &start, &[], bytes).unwrap();
    assert_eq!(answer.status, 201, "{answer:?}");
}
