use super::*;

/// Bytes that tell their place.
fn bytes(from: u64, to: u64) -> Vec<u8> {
    (from..to)
        .map(|at| (at ^ (at >> 8) ^ (at >> 16)).to_le_bytes()[0])
        .collect()
}

fn write(files: &mut ConsoleFiles, from: u64, to: u64) {
    for piece in bytes(from, to).chunks(100_000) {
        files.append(piece);
    }
}

#[test]
fn the_beginning_and_the_end_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(
        ConsoleLog::read(folder.path()).unwrap(),
        ConsoleLog::default()
    );
    let mut files = ConsoleFiles::create(folder.path()).unwrap();
    let mut written = 0;
    for total in [
        10,
        HEAD_BYTES,
        HEAD_BYTES + 1,
        3 << 20,
        4 << 20,
        5 << 20,
        20 << 20,
    ] {
        write(&mut files, written, total);
        written = total;
        let log = ConsoleLog::read(folder.path()).unwrap();
        assert!(log.beginning == bytes(0, HEAD_BYTES.min(total)));
        let from = HEAD_BYTES + log.omitted;
        let end = log.end.len() as u64;
        assert!(log.end == bytes(from.min(total), total), "{total}");
        assert!(end <= 2 * PIECE_BYTES);
        assert!(log.omitted == 0 || end >= PIECE_BYTES, "{total}: {end}");
        let kept = fs::read_dir(folder.path()).unwrap().flatten();
        let kept: u64 = kept.map(|file| file.metadata().unwrap().len()).sum();
        assert!(kept <= 4 << 20, "{kept}");
    }
    assert!(ConsoleLog::read(folder.path()).unwrap().omitted > 0);
}

#[test]
fn a_new_log_takes_the_place_of_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = ConsoleFiles::create(folder.path()).unwrap();
    write(&mut files, 0, 8 << 20);
    let mut files = ConsoleFiles::create(folder.path()).unwrap();
    files.append(b"anew");
    let log = ConsoleLog::read(folder.path()).unwrap();
    assert_eq!(
        (log.beginning.as_slice(), log.omitted, log.end.len()),
        (&b"anew"[..], 0, 0)
    );
}

#[test]
fn a_text_says_what_is_left_out_and_has_no_control_characters() {
    let log = ConsoleLog {
        beginning: b"one\x1b[2J\r\n".to_vec(),
        omitted: 7,
        end: b"two\xff\n".to_vec(),
    };
    assert_eq!(
        log.to_text(),
        "one[2J\n\n[7 bytes are left out]\ntwo\u{fffd}\n"
    );
}
