use super::*;

#[test]
fn disks_are_known_by_their_serials() {
    let sys = tempfile::tempdir().unwrap();
    for (disk, serial) in [("vda", "other\n"), ("vdb", "root-disk")] {
        fs::create_dir(sys.path().join(disk)).unwrap();
        fs::write(sys.path().join(disk).join("serial"), serial).unwrap();
    }
    fs::create_dir(sys.path().join("loop0")).unwrap();
    let mut found = serials(sys.path());
    found.sort();
    assert_eq!(
        found,
        [
            ("vda".to_owned(), "other".to_owned()),
            ("vdb".to_owned(), "root-disk".to_owned())
        ]
    );
    assert!(serials(&sys.path().join("missing")).is_empty());
}
