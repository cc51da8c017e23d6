//! The service as a process, and requests to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// A service that runs.
pub(crate) struct Service {
    process: Child,
    stdout: BufReader<std::process::ChildStdout>,
    address: String,
}

impl Service {
    pub(crate) fn start(store: &Path, options: &[String]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_async_service"));
        command.arg(store).args(["--listen", "127.0.0.1:0"]);
        let command = command.args(options).stdin(Stdio::null());
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening on ").unwrap();
        Self {
            address: address.to_owned(),
            process,
            stdout,
        }
    }

    /// Sends a request; returns the status, and the answer if there is any.
    pub(crate) fn send(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: service\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    /// Asks it to stop; returns what it says until it has, and whether it ended well.
    pub(crate) fn stop(mut self) -> (String, bool) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.unwrap().success());
        let mut said = String::new();
        self.stdout.read_to_string(&mut said).unwrap();
        let status = self.process.wait().unwrap();
        (said, status.success())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Only if a test failed before it stopped it.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
