//! A small HTTP/1.1 server that does what a test tells it, faults included.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// The first byte of a TLS connection.
const TLS_HANDSHAKE: u8 = 22;

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    /// What came of the body.
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let is = |found: &&(String, String)| found.0.eq_ignore_ascii_case(name);
        self.headers
            .iter()
            .find(is)
            .map(|(_, value)| value.as_str())
    }

    /// Method and path.
    pub(crate) fn line(&self) -> String {
        let path = self.target.split('?').next().unwrap();
        format!("{} {path}", self.method)
    }
}

/// What the server does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Play {
    Answer(Reply),
    /// These bytes, and the end of the connection.
    Raw(Vec<u8>),
    /// An answer of which only so many bytes of the body come, and the end of the connection.
    Cut(Reply, usize),
    /// The same, and then nothing for longer than clients wait.
    Stall(Reply, usize),
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

pub(crate) fn reply(status: u16) -> Reply {
    Reply {
        status,
        headers: Vec::new(),
        body: Vec::new(),
    }
}

impl Reply {
    pub(crate) fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    fn write(&self, to: &mut TcpStream, is_head: bool, cut: Option<usize>) -> std::io::Result<()> {
        let mut head = format!("HTTP/1.1 {} Whatever\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let has = |name: &str| {
            let mut names = self.headers.iter().map(|(name, _)| name);
            names.any(|found| found.eq_ignore_ascii_case(name))
        };
        if !has("content-length") && !has("transfer-encoding") {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        to.write_all(head.as_bytes())?;
        if !is_head {
            to.write_all(&self.body[..cut.unwrap_or(self.body.len())])?;
        }
        Ok(())
    }
}

impl From<Reply> for Play {
    fn from(reply: Reply) -> Self {
        Self::Answer(reply)
    }
}

type Handler = dyn FnMut(&Seen) -> Play + Send;

/// The server. It stops listening when it is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    handler: Mutex<Box<Handler>>,
    seen: Mutex<Vec<Seen>>,
    /// After how many bytes of the next longer body the connection ends.
    cut_body: Mutex<Option<usize>>,
    is_over: AtomicBool,
}

impl Server {
    pub(crate) fn start<P: Into<Play>>(
        mut handler: impl FnMut(&Seen) -> P + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            handler: Mutex::new(Box::new(move |seen| handler(seen).into())),
            seen: Mutex::default(),
            cut_body: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&accepting);
                thread::spawn(move || shared.serve(stream.unwrap()));
            }
        });
        Self { address, shared }
    }

    /// Plays the steps of a script in turn, the last one again and again.
    pub(crate) fn script(steps: impl IntoIterator<Item = Play>) -> Self {
        let steps: Vec<Play> = steps.into_iter().collect();
        let mut next = 0;
        Self::start(move |_| {
            let step = steps[next.min(steps.len() - 1)].clone();
            next += 1;
            step
        })
    }

    /// `HOST:PORT`.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Method and path of each request.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }

    /// Ends the connection after `len` bytes of the next body that has more.
    pub(crate) fn cut_next_body(&self, len: usize) {
        *self.shared.cut_body.lock().unwrap() = Some(len);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some((seen, is_cut)) = self.read(&mut reader, &mut stream) {
            let play = (self.handler.lock().unwrap())(&seen);
            let is_head = seen.method == "HEAD";
            self.seen.lock().unwrap().push(seen);
            if is_cut {
                return;
            }
            // Clients that give up break the pipe, which is their right.
            let written = match &play {
                Play::Answer(reply) => reply.write(&mut stream, is_head, None),
                Play::Raw(bytes) => stream.write_all(bytes),
                Play::Cut(reply, len) | Play::Stall(reply, len) => {
                    reply.write(&mut stream, is_head, Some(*len))
                }
            };
            if let Play::Stall(..) = play {
                thread::sleep(4 * super::IDLE_TIMEOUT);
            }
            if written.is_err() || !matches!(play, Play::Answer(_)) {
                return;
            }
        }
    }

    /// Reads a request, or as much of it as the test lets through.
    fn read(
        &self,
        reader: &mut BufReader<TcpStream>,
        stream: &mut TcpStream,
    ) -> Option<(Seen, bool)> {
        // As web servers do that are spoken to with TLS.
        if reader.fill_buf().ok()?.first() == Some(&TLS_HANDSHAKE) {
            stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").ok()?;
            return None;
        }
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let mut first = lines[0].split(' ');
        let headers = lines[1..].iter().map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            (name.trim().to_owned(), value.trim().to_owned())
        });
        let mut seen = Seen {
            method: first.next()?.to_owned(),
            target: first.next()?.to_owned(),
            headers: headers.collect(),
            body: Vec::new(),
        };
        let len = seen.header("content-length").unwrap_or("0");
        let mut len: usize = len.parse().unwrap();
        if seen.header("expect").is_some() {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
        }
        let mut cut = self.cut_body.lock().unwrap();
        let is_cut = cut.is_some_and(|cut| cut < len);
        if is_cut {
            len = cut.take().unwrap();
        }
        drop(cut);
        seen.body = vec![0; len];
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        reader.read_exact(&mut seen.body).ok()?;
        Some((seen, is_cut))
    }
}
