use proptest::prelude::*;

use super::*;

fn pair() -> (FrameStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (FrameStream::from_socket(ours).unwrap(), theirs)
}

fn receive(stream: &mut FrameStream) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; MAX_FRAME_BYTES];
    let length = stream.receive(&mut frame, &mut OffloadHeader::default())?;
    frame.truncate(length);
    Ok(frame)
}

fn framed(frame: &[u8]) -> Vec<u8> {
    let length = u32::try_from(frame.len()).unwrap();
    [&length.to_be_bytes(), frame].concat()
}

#[test]
fn frames_arrive_byte_by_byte() {
    let (mut stream, mut peer) = pair();
    for byte in framed(b"a frame of some bytes") {
        let error = receive(&mut stream).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        peer.write_all(&[byte]).unwrap();
    }
    assert_eq!(receive(&mut stream).unwrap(), b"a frame of some bytes");
    assert!(receive(&mut stream).is_err());
}

#[test]
fn the_longest_frame_passes_and_a_longer_one_ends_the_network() {
    let (mut stream, mut peer) = pair();
    let longest = vec![7; MAX_FRAME_BYTES];
    peer.write_all(&framed(&longest)).unwrap();
    assert!(receive(&mut stream).unwrap() == longest);
    for hostile in [MAX_FRAME_BYTES + 1, 0x7fff_ffff, 0xffff_ffff] {
        let (mut stream, mut peer) = pair();
        let length = u32::try_from(hostile).unwrap();
        peer.write_all(&length.to_be_bytes()).unwrap();
        let error = receive(&mut stream).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains(&hostile.to_string()));
        // It does not come to itself again.
        peer.write_all(&framed(b"a frame")).unwrap();
        assert!(receive(&mut stream).is_err());
    }
}

#[test]
fn a_peer_that_goes_ends_the_network_after_its_last_frame() {
    let (mut stream, mut peer) = pair();
    peer.write_all(&framed(b"the last one")).unwrap();
    peer.write_all(&[0, 0, 1]).unwrap();
    drop(peer);
    assert_eq!(receive(&mut stream).unwrap(), b"the last one");
    let error = receive(&mut stream).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    let error = stream
        .send(b"hello", &OffloadHeader::default())
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn a_full_socket_takes_whole_frames_or_nothing() {
    let (mut stream, mut peer) = pair();
    let mut sent = Vec::new();
    for number in 0.. {
        let frame = vec![u8::try_from(number % 256).unwrap(); 1 + 5003 * (number % 7)];
        match stream.send(&frame, &OffloadHeader::default()) {
            Ok(()) => sent.extend(framed(&frame)),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                break;
            }
        }
    }
    peer.set_nonblocking(true).unwrap();
    let mut got: Vec<u8> = Vec::new();
    while got.len() < sent.len() {
        let mut piece = [0; 3000];
        match peer.read(&mut piece) {
            Ok(count) => got.extend(&piece[..count]),
            Err(_) => drop(stream.flush()),
        }
    }
    assert!(got == sent);
    assert!(stream.flush().is_ok());
    assert!(peer.read(&mut [0]).is_err());
}

#[test]
fn a_socket_without_a_listener_is_named() {
    let error = FrameStream::connect("/no/such/socket").unwrap_err();
    assert!(error.to_string().contains("/no/such/socket"));
}

proptest! {
    #[test]
    fn frames_do_not_depend_on_how_they_are_cut(
        frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3000), 0..20),
        cuts in proptest::collection::vec(1usize..4000, 1..20),
    ) {
        let (mut stream, mut peer) = pair();
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| framed(frame)).collect();
        let (mut rest, mut got) = (&bytes[..], Vec::new());
        for cut in cuts.iter().cycle() {
            let (piece, others) = rest.split_at(rest.len().min(*cut));
            rest = others;
            peer.write_all(piece).unwrap();
            while let Ok(frame) = receive(&mut stream) {
                got.push(frame);
            }
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(got, frames);
    }
}
