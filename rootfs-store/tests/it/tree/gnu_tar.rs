//! Streams that GNU tar wrote, in each dialect that it knows.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::process::Command;

use super::listing;
use crate::disk::tree;

const DIALECTS: [&[&str]; 6] = [
    &["--format=gnu"],
    &["--format=oldgnu"],
    &["--format=pax", "--sparse-version=0.0"],
    &["--format=pax", "--sparse-version=0.1"],
    &["--format=pax", "--sparse-version=1.0"],
    &["--format=gnu", "--hole-detection=raw"],
];
const SPARSE_BYTES: u64 = 1 << 20;

/// A folder with what the dialects write differently.
fn make_folder(folder: &Path) {
    let long = folder.join("d".repeat(120)).join("e".repeat(120));
    fs::create_dir_all(&long).unwrap();
    fs::write(long.join("file"), b"far down").unwrap();
    fs::hard_link(long.join("file"), folder.join("linked")).unwrap();
    symlink("t".repeat(150), folder.join("far")).unwrap();
    // More pieces than fit into a header, and into one block after it.
    let sparse = File::create(folder.join("sparse")).unwrap();
    sparse.set_len(SPARSE_BYTES).unwrap();
    for n in 0..30u64 {
        let piece = format!("piece {n}");
        sparse
            .write_all_at(piece.as_bytes(), n * 32_768 + 5)
            .unwrap();
    }
    let hole = File::create(folder.join(format!("hole-{}", "h".repeat(110)))).unwrap();
    hole.set_len(SPARSE_BYTES).unwrap();
}

#[test]
fn every_dialect_of_gnu_tar_gives_the_same_tree() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("folder");
    make_folder(&folder);
    let mut expected = None;
    for dialect in DIALECTS {
        let output = Command::new("tar")
            .args(["--create", "--sparse", "--sort=name"])
            .args(dialect)
            .arg("--directory")
            .arg(&folder)
            .arg(".")
            .output()
            .expect("tar should be installed (Debian: tar)");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tar says:\n{text}");
        assert!(output.stdout.len() < 600_000, "the holes were not left out");
        let found = listing(&tree(&[&output.stdout]));
        assert_eq!(found.len(), 7, "{dialect:?}");
        let sparse = fs::read_to_string(folder.join("sparse")).unwrap();
        assert!(found["/sparse"] == sparse, "{dialect:?}");
        assert_eq!(found["/linked"], "far down");
        let expected = expected.get_or_insert_with(|| found.clone());
        assert!(found == *expected, "{dialect:?}");
    }
}
