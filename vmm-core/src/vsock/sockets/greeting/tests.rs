use std::collections::VecDeque;

use super::*;

/// A client whose bytes come in pieces; after the last there is nothing for now.
struct Pieces(VecDeque<&'static [u8]>);

impl Read for Pieces {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let piece = self.0.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        let count = piece.len().min(buf.len());
        buf[..count].copy_from_slice(&piece[..count]);
        if count < piece.len() {
            self.0.push_front(&piece[count..]);
        }
        Ok(count)
    }
}

fn pieces(pieces: &[&'static [u8]]) -> Pieces {
    Pieces(pieces.iter().copied().collect())
}

#[test]
fn a_line_may_come_in_pieces_and_with_what_follows_it() {
    let mut greeting = Greeting::default();
    assert_eq!(greeting.hear(pieces(&[b"CONN", b"ECT 10"])), Heard::More);
    let heard = greeting.hear(pieces(&[b"24\nhello"]));
    assert_eq!(heard, Heard::Port(1024, b"hello"));
}

#[test]
fn the_command_is_in_either_case_and_the_line_may_end_as_terminals_end_it() {
    for line in [&b"connect 5\n"[..], b"Connect  5 \r\n"] {
        let mut greeting = Greeting::default();
        assert_eq!(greeting.hear(line), Heard::Port(5, b""));
    }
    let mut greeting = Greeting::default();
    let heard = greeting.hear(&b"CONNECT 4294967295\n"[..]);
    assert_eq!(heard, Heard::Port(u32::MAX, b""));
}

#[test]
fn everything_else_is_nonsense() {
    for line in [
        &b"\n"[..],
        b"CONNECT\n",
        b"CONNECT five\n",
        b"CONNECT +5\n",
        b"CONNECT -1\n",
        b"CONNECT 4294967296\n",
        b"CONNECT 5 6\n",
        b"GET / HTTP/1.0\n",
        b"CONNECT \xff5\n",
        b"CONNECT 5",
        b"",
    ] {
        let mut greeting = Greeting::default();
        assert_eq!(greeting.hear(line), Heard::Nonsense, "{line:?}");
    }
}

#[test]
fn a_line_without_an_end_is_given_up_when_it_is_too_long() {
    let mut greeting = Greeting::default();
    assert_eq!(greeting.hear(pieces(&[&[b'x'; 31]])), Heard::More);
    assert_eq!(greeting.hear(pieces(&[b"x"])), Heard::Nonsense);
}
