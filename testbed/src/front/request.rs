//! A request's head.

use std::io;

use crate::http::{Framing, Head, invalid};

/// A request whose body is not read yet.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) head: Head,
    pub(super) framing: Framing,
    /// Whether the client waits to be told that its body is wanted.
    pub(super) expects: bool,
    /// Whether the client has more to ask on this connection.
    pub(super) keeps_alive: bool,
}

impl Request {
    pub(super) fn of(head: Head) -> io::Result<Self> {
        let mut words = head.start.split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(invalid("a request"));
        };
        let says = |name, value| {
            let field = head.get(name);
            field.is_some_and(|field| field.eq_ignore_ascii_case(value))
        };
        Ok(Self {
            method: method.to_owned(),
            target: target.to_owned(),
            framing: Framing::of_request(&head)?,
            expects: says("expect", "100-continue"),
            keeps_alive: version == "HTTP/1.1" && !says("connection", "close"),
            head,
        })
    }
}

/// Takes what asks for a mount out of a target.
pub(super) fn without_mount(target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else {
        return target.to_owned();
    };
    let kept = query
        .split('&')
        .filter(|pair| !pair.starts_with("mount=") && !pair.starts_with("from="));
    let kept: Vec<_> = kept.collect();
    match kept.as_slice() {
        [] => path.to_owned(),
        kept => format!("{path}?{}", kept.join("&")),
    }
}
