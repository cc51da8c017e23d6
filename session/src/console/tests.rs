use super::*;

fn console() -> Console {
    let folder = tempfile::tempdir().unwrap();
    // The files are open, and need no names here.
    Console::new(ConsoleFiles::create(folder.path()).unwrap())
}

#[test]
fn memory_stays_bounded() {
    let mut console = console();
    for _ in 0..100 {
        console.write_all(&[b'x'; 100_000]).unwrap();
    }
    assert_eq!(console.shared.lock().unwrap().tail.len(), TAIL_BYTES);
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
