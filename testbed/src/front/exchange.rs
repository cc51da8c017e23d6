//! One connection of a client: a request, what becomes of it, and the next.

use std::io::{self, BufReader, Write};
use std::net::TcpStream;

use super::answer::{Answer, alter, instead};
use super::pour::{Shape, pour};
use super::request::Request;
use super::seen::Entry;
use super::upstream::{self, Upstream};
use super::{Fault, Shared};
use crate::http::{Body, Framing, Head, write_end, write_piece};

/// Answers the requests of `client` until one side has enough.
pub(super) fn serve(client: &TcpStream, number: u64, shared: &Shared) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut reader = BufReader::new(client.try_clone()?);
    while let Some(head) = Head::read(&mut reader)? {
        let request = Request::of(head)?;
        let entry = shared.log.begin(&request, number);
        let fault = shared.decide(&entry);
        shared.pause(shared.latency());
        let exchange = Exchange {
            writer: client,
            reader: &mut reader,
            request: &request,
            fault: fault.as_ref(),
            entry: &entry,
            shared,
        };
        if !exchange.run()? {
            return Ok(());
        }
    }
    Ok(())
}

/// A request and all that is needed to answer it. Its steps return whether the connection can go on.
struct Exchange<'a> {
    writer: &'a TcpStream,
    reader: &'a mut BufReader<TcpStream>,
    request: &'a Request,
    fault: Option<&'a Fault>,
    entry: &'a Entry,
    shared: &'a Shared,
}

impl Exchange<'_> {
    fn run(mut self) -> io::Result<bool> {
        if self.fault == Some(&Fault::DropBefore) {
            return Ok(false);
        }
        let challenge = || upstream::challenge(self.request, self.shared);
        let own = self
            .fault
            .and_then(|fault| instead(fault, self.request, challenge));
        match own {
            Some(answer) => self.refuse(answer),
            None => self.forward(),
        }
    }

    /// Answers without the registry.
    fn refuse(&mut self, answer: Answer) -> io::Result<bool> {
        // A client that waits for leave to send its body gets the answer instead, and its connection ends, because
        // it may send the body all the same.
        if !self.request.expects {
            self.discard_body()?;
        }
        let keeps = self.request.keeps_alive && !self.request.expects;
        self.say(answer, keeps)
    }

    fn forward(&mut self) -> io::Result<bool> {
        let Ok(mut upstream) = Upstream::connect(&self.shared.upstream) else {
            return self.refuse(Answer::error(502));
        };
        let head = upstream::head(self.request, self.fault, &self.shared.upstream);
        head.write(&mut upstream.writer)?;
        if !self.pass_body(&mut upstream)? {
            return Ok(false);
        }
        let head = upstream.answer()?;
        match self.fault {
            Some(Fault::DropAfter) => {
                read_out(&mut upstream, &head, self.request)?;
                return Ok(false);
            }
            Some(Fault::ServerError(status)) => {
                read_out(&mut upstream, &head, self.request)?;
                return self.say(Answer::error(*status), self.request.keeps_alive);
            }
            Some(Fault::Stall(time)) => self.shared.pause(*time),
            _ => {}
        }
        self.pass_answer(&mut upstream, head)
    }

    /// Passes the request's body on. Returns whether the connection goes on after it.
    fn pass_body(&mut self, upstream: &mut Upstream) -> io::Result<bool> {
        if self.request.expects {
            Head::new("HTTP/1.1 100 Continue").write(&mut self.writer)?;
        }
        let framing = self.request.framing;
        let mut body = Body::new(self.reader, framing);
        let shape = Shape::of_request(self.fault);
        let mut refused = false;
        let whole = pour(&mut body, &shape, self.shared, |piece| {
            self.entry
                .update(|seen| seen.from_client += piece.len() as u64);
            // A registry that does not want the rest answers and closes. The client still has to be heard out.
            refused = refused || write_piece(&mut upstream.writer, framing, piece).is_err();
            Ok(())
        })?;
        if whole && !refused {
            _ = write_end(&mut upstream.writer, framing);
        }
        Ok(whole)
    }

    fn pass_answer(&mut self, upstream: &mut Upstream, mut head: Head) -> io::Result<bool> {
        let framing = Framing::of_answer(&head, &self.request.method)?;
        upstream::rewrite_location(&mut head, self.shared);
        if let Some(fault) = self.fault {
            alter(fault, self.request, &mut head);
        }
        let mut shape = Shape::of_answer(self.fault);
        let told = Framing::of_answer(&head, &self.request.method)?;
        if let Framing::Length(length) = told {
            shape.cut(length);
        }
        let keeps = self.request.keeps_alive && framing == told && framing != Framing::ToEnd;
        self.begin(&mut head, keeps)?;
        let mut body = Body::new(&mut upstream.reader, framing);
        let whole = pour(&mut body, &shape, self.shared, |piece| {
            self.entry
                .update(|seen| seen.to_client += piece.len() as u64);
            write_piece(&mut self.writer, told, piece)
        })?;
        if whole {
            write_end(&mut self.writer, told)?;
        }
        Ok(keeps && whole)
    }

    /// Sends an answer of the front's own.
    fn say(&mut self, mut answer: Answer, keeps: bool) -> io::Result<bool> {
        self.begin(&mut answer.head, keeps)?;
        if self.request.method != "HEAD" {
            self.writer.write_all(&answer.body)?;
            self.entry
                .update(|seen| seen.to_client += answer.body.len() as u64);
        }
        Ok(keeps)
    }

    fn begin(&mut self, head: &mut Head, keeps: bool) -> io::Result<()> {
        head.remove("Connection");
        if !keeps {
            head.set("Connection", "close");
        }
        let status = head.status()?;
        self.entry.update(|seen| seen.status = Some(status));
        head.write(&mut self.writer)
    }

    fn discard_body(&mut self) -> io::Result<()> {
        let mut body = Body::new(self.reader, self.request.framing);
        let shape = Shape::default();
        pour(&mut body, &shape, self.shared, |piece| {
            self.entry
                .update(|seen| seen.from_client += piece.len() as u64);
            Ok(())
        })?;
        Ok(())
    }
}

/// Reads the registry's answer to its end, so that what it does is done.
fn read_out(upstream: &mut Upstream, head: &Head, request: &Request) -> io::Result<()> {
    let framing = Framing::of_answer(head, &request.method)?;
    io::copy(
        &mut Body::new(&mut upstream.reader, framing),
        &mut io::sink(),
    )?;
    Ok(())
}
