use super::super::FailureKind;
use super::*;

fn sent(bytes: &[u8], piece: usize) -> Vec<u8> {
    let mut writer = DataWriter::new(Vec::new());
    for piece in bytes.chunks(piece) {
        writer.write_all(piece).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn a_stream_comes_as_it_was_written_and_ends() {
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    for piece in [1000, MAX_DATA, 100_000] {
        let mut wire = sent(&bytes, piece);
        write_frame(&mut wire, &Frame::Thawed).unwrap();
        let mut reader = DataReader::new(wire.as_slice());
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert!(read == bytes);
        let mut rest = reader.into_inner();
        assert_eq!(read_frame(&mut rest).unwrap(), Some(Frame::Thawed));
    }
}

#[test]
fn frames_of_a_stream_are_full() {
    let wire = sent(&[7; 2 * MAX_DATA], 100);
    let mut wire = wire.as_slice();
    for _ in 0..2 {
        let Some(Frame::Data(piece)) = read_frame(&mut wire).unwrap() else {
            panic!("no data")
        };
        assert_eq!(piece.len(), MAX_DATA);
    }
    assert_eq!(read_frame(&mut wire).unwrap(), Some(Frame::DataEnd));
}

fn error_of(wire: &[u8]) -> StreamError {
    let error = DataReader::new(wire).read_to_end(&mut Vec::new());
    let source = error.unwrap_err().into_inner().unwrap();
    *source.downcast().unwrap()
}

#[test]
fn a_stream_that_ends_early_says_why() {
    let mut wire = Vec::new();
    write_frame(&mut wire, &Frame::Data(vec![1; 10])).unwrap();
    let cut = error_of(&wire);
    assert!(matches!(
        cut,
        StreamError::Protocol(ProtocolError::Truncated)
    ));
    let mut stray = wire.clone();
    write_frame(&mut stray, &Frame::Thawed).unwrap();
    assert!(matches!(error_of(&stray), StreamError::Stray));
    let mut empty = wire.clone();
    write_frame(&mut empty, &Frame::Data(Vec::new())).unwrap();
    assert!(matches!(error_of(&empty), StreamError::Stray));
    let failure = Failure {
        kind: FailureKind::System,
        message: "no".to_owned(),
    };
    write_frame(&mut wire, &Frame::Failed(failure.clone())).unwrap();
    assert!(matches!(error_of(&wire), StreamError::Failed(found) if found == failure));
}
