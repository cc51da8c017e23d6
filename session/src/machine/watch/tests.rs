use std::io::Write;

use super::*;
use crate::console::ConsoleFiles;

/// A console that has printed this.
fn printed(text: &str) -> Console {
    let folder = tempfile::tempdir().unwrap();
    let mut console = Console::new(ConsoleFiles::create(folder.path()).unwrap());
    console.write_all(text.as_bytes()).unwrap();
    console
}

#[test]
fn reset_that_the_guest_asked_for_is_a_reboot() {
    let (kind, _) = reset(&printed("reboot: Restarting system\n"), false);
    assert_eq!(kind, GoneKind::Reboot);
}

#[test]
fn reset_after_a_panic_or_by_a_triple_fault_is_a_crash() {
    let panic = "Kernel panic - not syncing: VFS";
    for has_tripped in [false, true] {
        let (kind, reason) = reset(&printed(panic), has_tripped);
        assert_eq!(kind, GoneKind::Crash);
        assert!(reason.contains(panic), "{reason}");
    }
    let (kind, reason) = reset(&printed("PANIC: early exception\n"), true);
    assert_eq!(kind, GoneKind::Crash);
    for part in ["triple fault", "early exception"] {
        assert!(reason.contains(part), "{reason}");
    }
}
