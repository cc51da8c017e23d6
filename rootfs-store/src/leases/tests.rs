use super::*;

fn digest(n: u8) -> BlobDigest {
    BlobDigest::from_bytes([n; 32])
}

fn all(root: &Path) -> Vec<Leased> {
    let files = Files::default();
    let lock = StoreLock::wait(&files, root).unwrap();
    held(&files, root, &lock).unwrap()
}

#[test]
fn lease_counts_until_its_last_clone_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let lease = Lease::new(&Files::default(), dir.path()).unwrap();
    lease.add_blob(digest(1)).unwrap();
    lease.add_snapshot(&digest(2).into()).unwrap();
    let lines = [Leased::Blob(digest(1)), Leased::Document(digest(2))];
    assert_eq!(all(dir.path()), lines);
    let clone = lease.clone();
    drop(lease);
    assert_eq!(all(dir.path()), lines);
    drop(clone);
    assert_eq!(all(dir.path()), []);
    assert_eq!(fs::read_dir(dir.path().join(LEASES)).unwrap().count(), 0);
}

#[test]
fn lease_that_nobody_holds_is_removed_and_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    drop(Lease::new(&Files::default(), dir.path()).unwrap());
    let left = dir.path().join(LEASES).join("vms-left");
    fs::write(&left, Leased::Blob(digest(1)).to_line()).unwrap();
    let theirs = dir.path().join(LEASES).join("theirs");
    fs::write(&theirs, "x").unwrap();
    assert_eq!(all(dir.path()), []);
    assert!(!left.exists() && theirs.exists());
}

#[test]
fn line_that_was_cut_off_does_not_count() {
    let whole = Leased::Document(digest(3)).to_line();
    assert_eq!(
        Leased::parse(whole.trim_end()),
        Some(Leased::Document(digest(3)))
    );
    for end in 0..whole.len() - 1 {
        assert_eq!(Leased::parse(&whole[..end]), None, "{end}");
    }
}
