//! Messages to whoever sits at the guest's terminals, as wall(1) gives them.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use nix::libc::{O_NOCTTY, O_NONBLOCK};

/// Where the kernel keeps the terminals of people who are logged in from elsewhere.
const TERMINALS: &str = "/dev/pts";

/// Writes a line to all terminals. Whoever takes nothing misses it.
pub(super) fn show(text: &str) {
    let message = format!("\r\n\x07{text}\r\n");
    for terminal in terminals() {
        let mut options = OpenOptions::new();
        // A terminal whose reader stands still must not hold up the next one, nor become ours.
        options.write(true).custom_flags(O_NONBLOCK | O_NOCTTY);
        if let Ok(mut terminal) = options.open(terminal) {
            drop(terminal.write_all(message.as_bytes()));
        }
    }
}

fn terminals() -> Vec<PathBuf> {
    let entries = fs::read_dir(TERMINALS).into_iter().flatten().flatten();
    let is_number = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
    };
    entries
        .map(|entry| entry.path())
        .filter(is_number)
        .collect()
}
