//! What the client is told: the registry's answer with a fault in it, or the front's own.

use super::Fault;
use super::request::Request;
use crate::http::{Head, status_line};

/// An answer that fits in memory.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) head: Head,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// An answer with an error document, as registries send them.
    pub(super) fn error(status: u16) -> Self {
        let body = r#"{"errors":[{"code":"UNKNOWN","message":"a fault of the test bed"}]}"#;
        let mut answer = Self::new(status, body.as_bytes().to_vec());
        answer.head.set("Content-Type", "application/json");
        answer
    }

    fn new(status: u16, body: Vec<u8>) -> Self {
        let mut head = Head::new(status_line(status));
        head.set("Content-Length", body.len().to_string());
        Self { head, body }
    }
}

/// What the client is told if the registry is not to hear of `request` at all.
pub(super) fn instead(
    fault: &Fault,
    request: &Request,
    challenge: impl FnOnce() -> String,
) -> Option<Answer> {
    let with = |status, name: &str, value: String| {
        let mut answer = Answer::error(status);
        answer.head.set(name, value);
        Some(answer)
    };
    match fault {
        Fault::Status(status) => Some(Answer::error(*status)),
        Fault::TooManyRequests { retry_after_s } => {
            with(429, "Retry-After", retry_after_s.to_string())
        }
        Fault::Unauthorized => with(401, "WWW-Authenticate", challenge()),
        Fault::RangeNotSatisfiable => {
            request.head.get("range")?;
            with(416, "Content-Range", "bytes */0".to_owned())
        }
        Fault::RedirectTo(address) => with(307, "Location", address.clone()),
        Fault::NoPatch => (request.method == "PATCH").then(|| Answer::error(405)),
        Fault::NoHead(status) => {
            let of_blob = request.method == "HEAD" && request.target.contains("/blobs/");
            of_blob.then(|| Answer::error(*status))
        }
        Fault::Answer {
            status,
            fields,
            body,
        } => {
            let mut answer = Answer::new(*status, body.clone());
            for (name, value) in fields {
                answer.head.set(name, value.as_str());
            }
            Some(answer)
        }
        _ => None,
    }
}

/// Changes the head of the registry's answer to `request`.
pub(super) fn alter(fault: &Fault, request: &Request, head: &mut Head) {
    let status = head.status().unwrap_or_default();
    match fault {
        Fault::WrongContentRange => change(head, "Content-Range", |value| {
            let (first, rest) = value.strip_prefix("bytes ")?.split_once('-')?;
            Some(format!("bytes {}-{rest}", first.parse::<u64>().ok()? + 1))
        }),
        Fault::WrongUploadRange if status == 202 => change(head, "Range", |value| {
            let (first, last) = value.split_once('-')?;
            Some(format!("{first}-{}", last.parse::<u64>().ok()? / 2))
        }),
        Fault::LyingLength(by) => change(head, "Content-Length", |value| {
            let length = value.parse::<u64>().ok()?;
            Some(length.saturating_add_signed(*by).to_string())
        }),
        Fault::Patch201 if request.method == "PATCH" && status == 202 => {
            head.start = status_line(201);
        }
        Fault::WrongDigest => change(head, "Docker-Content-Digest", |_| {
            Some(format!("sha256:{}", "0".repeat(64)))
        }),
        _ => {}
    }
}

fn change(head: &mut Head, name: &str, new: impl FnOnce(&str) -> Option<String>) {
    if let Some(value) = head.get(name).and_then(new) {
        head.set(name, value);
    }
}
