use super::*;

fn console() -> Console {
    Console::new(tempfile::tempfile().unwrap())
}

#[test]
fn memory_and_file_stay_bounded() {
    let mut console = console();
    let file = console.shared.lock().unwrap().file.try_clone().unwrap();
    for _ in 0..100 {
        console.write_all(&[b'x'; 100_000]).unwrap();
    }
    assert_eq!(console.shared.lock().unwrap().tail.len(), TAIL_BYTES);
    assert_eq!(file.metadata().unwrap().len(), FILE_BYTES);
}

#[test]
fn the_panic_is_found_and_cleaned() {
    let mut console = console();
    assert_eq!(console.panic_line(), None);
    console
        .write_all(
            b"[    1.0] Kernel panic - not syncing: VFS: \x1b[31mno root\r\n[    1.1] CPU: 0\n",
        )
        .unwrap();
    assert_eq!(
        console.panic_line().unwrap(),
        "Kernel panic - not syncing: VFS: [31mno root"
    );
}

#[test]
fn the_last_lines_are_quoted_in_one() {
    let mut console = console();
    assert_eq!(console.last_lines(), "nothing");
    for line in 0..10 {
        writeln!(console, "line {line}\r\n").unwrap();
    }
    assert_eq!(
        console.last_lines(),
        "line 4 | line 5 | line 6 | line 7 | line 8 | line 9"
    );
}
