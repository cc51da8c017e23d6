//! The registry's side of a front: one connection for each request.

use std::io::{self, BufReader, Write};
use std::net::TcpStream;

use super::Fault;
use super::Shared;
use super::request::{Request, without_mount};
use crate::http::{Head, invalid};

/// What to ask for if the registry asks for nothing.
const BASIC: &str = "Basic realm=\"test bed\"";

/// A connection to the registry.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) reader: BufReader<TcpStream>,
    pub(super) writer: TcpStream,
}

impl Upstream {
    pub(super) fn connect(host: &str) -> io::Result<Self> {
        let writer = TcpStream::connect(host)?;
        // Heads and bodies are written apart, and must not wait for each other.
        writer.set_nodelay(true)?;
        let reader = BufReader::new(writer.try_clone()?);
        Ok(Self { reader, writer })
    }

    /// Reads the head of the answer, past those that only say to go on.
    pub(super) fn answer(&mut self) -> io::Result<Head> {
        loop {
            let head = Head::read(&mut self.reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if head.status()? >= 200 {
                return Ok(head);
            }
        }
    }
}

/// The head that the registry gets for `request`.
pub(super) fn head(request: &Request, fault: Option<&Fault>, host: &str) -> Head {
    let mut head = request.head.clone();
    head.set("Host", host);
    head.set("Connection", "close");
    // The front has told the client to go on.
    head.remove("Expect");
    match fault {
        Some(Fault::IgnoreRange) => head.remove("Range"),
        Some(Fault::NoMount) => {
            let target = without_mount(&request.target);
            head.start = format!("{} {target} HTTP/1.1", request.method);
        }
        _ => {}
    }
    head
}

/// Makes addresses of the registry addresses of the front.
pub(super) fn rewrite_location(head: &mut Head, shared: &Shared) {
    let path = head.get("location").and_then(|location| {
        let path = location.strip_prefix("http://")?;
        path.strip_prefix(shared.upstream.as_str())
    });
    if let Some(path) = path {
        let location = format!("http://{}{path}", shared.address);
        head.set("Location", location);
    }
}

/// What the registry would ask of a client that has no right to `request`.
pub(super) fn challenge(request: &Request, shared: &Shared) -> String {
    let asked = ask("GET /v2/ HTTP/1.1", shared);
    // Without that check, a registry that asks for nothing would do what the request says.
    let asked = match asked {
        Ok(Some(_)) => ask(&request.head.start, shared),
        other => other,
    };
    asked.ok().flatten().unwrap_or_else(|| BASIC.to_owned())
}

/// The challenge in the answer to a request without credentials and body, if it is refused.
fn ask(start: &str, shared: &Shared) -> io::Result<Option<String>> {
    let mut upstream = Upstream::connect(&shared.upstream)?;
    let mut head = Head::new(start);
    head.set("Host", shared.upstream.as_str());
    head.set("Connection", "close");
    head.set("Content-Length", "0");
    head.write(&mut upstream.writer)?;
    upstream.writer.flush()?;
    let answer = upstream.answer()?;
    if answer.status()? != 401 {
        return Ok(None);
    }
    let challenge = answer.get("www-authenticate");
    Ok(Some(
        challenge.ok_or_else(|| invalid("a refusal"))?.to_owned(),
    ))
}
