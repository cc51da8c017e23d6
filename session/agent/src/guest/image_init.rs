//! Whether the image brings an init of its own.
//!
//! Images made for containers often hold `/sbin/init` as an applet of busybox, at times with a distribution's
//! inittab whose programs the image lacks. Such an init starts nothing, so whatever turns out to be busybox counts
//! as no init. `/init` doesn't count either: in images it is a container's entry point, not a machine's init.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Where an init is looked for, the first one wins.
const CANDIDATES: [&str; 5] = [
    "/sbin/init",
    "/lib/systemd/systemd",
    "/usr/lib/systemd/systemd",
    "/etc/init",
    "/bin/init",
];

/// What every busybox has in its version line.
const BUSYBOX_MARK: &[u8] = b"BusyBox v";

/// How much of a candidate is searched for [`BUSYBOX_MARK`]; busybox has about 2 MiB with everything linked in.
const SEARCH_LIMIT: u64 = 8 << 20;

/// Returns the path of the image's init, as seen from inside `root`.
pub(super) fn find(root: &Path) -> Option<String> {
    let suits = |path: &&str| is_init(&root.join(path.trim_start_matches('/')));
    CANDIDATES.iter().copied().find(suits).map(str::to_owned)
}

fn is_init(path: &Path) -> bool {
    let is_program = path
        .metadata()
        .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0);
    is_program && !is_busybox(path)
}

/// Symbolic links, hard links and copies of busybox have its contents in common, and nothing else.
fn is_busybox(path: &Path) -> bool {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(SEARCH_LIMIT).read_to_end(&mut bytes));
    read.is_ok()
        && bytes
            .windows(BUSYBOX_MARK.len())
            .any(|window| window == BUSYBOX_MARK)
}
