use std::io::{Cursor, Read};

use super::{Body, Framing, Head, write_end, write_piece};

fn read(bytes: &[u8], framing: Framing) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
    let mut reader = Cursor::new(bytes.to_vec());
    let mut body = Vec::new();
    Body::new(&mut reader, framing).read_to_end(&mut body)?;
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest)?;
    Ok((body, rest))
}

#[test]
fn a_body_ends_where_its_framing_says() {
    let by_length = read(b"abcdef", Framing::Length(4)).unwrap();
    assert_eq!(by_length, (b"abcd".to_vec(), b"ef".to_vec()));
    let none = read(b"abc", Framing::Length(0)).unwrap();
    assert_eq!(none, (Vec::new(), b"abc".to_vec()));
    let chunks = read(
        b"3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nT: 1\r\n\r\nef",
        Framing::Chunked,
    )
    .unwrap();
    assert_eq!(chunks, (b"abcd".to_vec(), b"ef".to_vec()));
    let to_end = read(b"abc", Framing::ToEnd).unwrap();
    assert_eq!(to_end, (b"abc".to_vec(), Vec::new()));
}

#[test]
fn a_body_that_breaks_off_is_an_error() {
    assert!(read(b"abc", Framing::Length(4)).is_err());
    for cut in [
        b"".as_slice(),
        b"3\r\n",
        b"3\r\nab",
        b"3\r\nabc\r\n",
        b"3\r\nabc\r\n0\r\n",
        b"x\r\n",
    ] {
        assert!(read(cut, Framing::Chunked).is_err(), "{cut:?}");
    }
}

#[test]
fn chunks_that_are_written_can_be_read() {
    let mut written = Vec::new();
    for piece in [b"ab".as_slice(), &[7; 300]] {
        write_piece(&mut written, Framing::Chunked, piece).unwrap();
    }
    write_end(&mut written, Framing::Chunked).unwrap();
    let (body, rest) = read(&written, Framing::Chunked).unwrap();
    assert_eq!(body, [b"ab".as_slice(), &[7; 300]].concat());
    assert!(rest.is_empty());
}

#[test]
fn a_head_is_written_as_it_was_read() {
    let text = b"GET /v2/ HTTP/1.1\r\nHost: here\r\nX-Odd: a:b\r\n\r\n";
    let mut head = Head::read(&mut Cursor::new(text)).unwrap().unwrap();
    assert_eq!(head.get("x-odd"), Some("a:b"));
    let mut written = Vec::new();
    head.write(&mut written).unwrap();
    assert_eq!(written, text);
    head.set("HOST", "there");
    assert_eq!(head.get("Host"), Some("there"));
}

#[test]
fn a_head_without_an_end_is_an_error_and_no_head_is_none() {
    assert!(Head::read(&mut Cursor::new(b"")).unwrap().is_none());
    for cut in [
        b"GET".as_slice(),
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nHost\r\n\r\n",
    ] {
        assert!(Head::read(&mut Cursor::new(cut)).is_err(), "{cut:?}");
    }
    let endless = [
        b"GET / HTTP/1.1\r\n".as_slice(),
        &b"A: b\r\n".repeat(20_000),
    ]
    .concat();
    assert!(Head::read(&mut Cursor::new(endless)).is_err());
}
