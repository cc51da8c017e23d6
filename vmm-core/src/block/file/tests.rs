use std::os::unix::fs::MetadataExt;

use tempfile::TempDir;

use super::*;

const BYTES: u64 = 1 << 20;

fn image() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("disk.raw");
    let pattern: Vec<u8> = (0..BYTES).map(|at| at.to_le_bytes()[1] | 1).collect();
    std::fs::write(&path, pattern).unwrap();
    (dir, path)
}

fn read(disk: &FileBackend, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0xaa; len];
    disk.read_at(&mut ReadTarget::from_slice(&mut bytes), offset)?;
    Ok(bytes)
}

#[test]
fn what_is_written_is_read_and_lies_in_the_file() {
    let (_dir, path) = image();
    let disk = FileBackend::open(&path, false).unwrap();
    assert_eq!(disk.size(), BYTES);
    assert_eq!(read(&disk, 512, 512).unwrap(), [3; 512]);
    disk.write_at(&mut WriteSource::from_slice(&[7; 1024]), BYTES - 1024)
        .unwrap();
    disk.flush().unwrap();
    assert_eq!(read(&disk, BYTES - 512, 512).unwrap(), [7; 512]);
    let bytes = std::fs::read(&path).unwrap();
    assert!(bytes.ends_with(&[7; 1024]));
    assert_eq!(bytes.len() as u64, BYTES);
}

#[test]
fn discarded_and_zeroed_ranges_read_as_zeroes_and_nothing_else_does() {
    let (_dir, path) = image();
    let before = std::fs::read(&path).unwrap();
    let disk = FileBackend::open(&path, false).unwrap();
    disk.write_zeroes(512, 1024).unwrap();
    disk.write_zero_bytes(100 << 10, 200 << 10).unwrap();
    disk.write_zeroes(BYTES - 512, 512).unwrap();
    let after = std::fs::read(&path).unwrap();
    let mut expected = before;
    expected[512..1536].fill(0);
    expected[100 << 10..300 << 10].fill(0);
    expected[usize::try_from(BYTES).unwrap() - 512..].fill(0);
    assert!(after == expected);
}

#[test]
fn zeroes_keep_their_space_unless_it_may_be_given_back() {
    let (_dir, path) = image();
    let disk = FileBackend::open(&path, false).unwrap();
    disk.flush().unwrap();
    let blocks = || std::fs::metadata(&path).unwrap().blocks();
    let before = blocks();
    disk.write_zeroes(0, BYTES / 2).unwrap();
    disk.flush().unwrap();
    assert!(blocks() >= before, "{} blocks of {before}", blocks());
    disk.unmap_to_zeroes(0, BYTES / 2).unwrap();
    disk.flush().unwrap();
    assert!(blocks() < before, "{} blocks of {before}", blocks());
    let half = usize::try_from(BYTES / 2).unwrap();
    assert!(
        std::fs::read(&path).unwrap()[..half]
            .iter()
            .all(|byte| *byte == 0)
    );
}

#[test]
fn a_discard_gives_space_back() {
    let (_dir, path) = image();
    let disk = FileBackend::open(&path, false).unwrap();
    disk.flush().unwrap();
    let before = std::fs::metadata(&path).unwrap().blocks();
    disk.discard(0, BYTES / 2).unwrap();
    disk.flush().unwrap();
    let after = std::fs::metadata(&path).unwrap().blocks();
    assert!(after < before, "{after} blocks of {before} are left");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), BYTES);
}

#[test]
fn a_disk_for_reading_alone_refuses_changes() {
    let (_dir, path) = image();
    let disk = FileBackend::open(&path, true).unwrap();
    assert!(read(&disk, 0, 512).is_ok());
    let mut source = WriteSource::from_slice(&[0; 512]);
    assert!(disk.write_at(&mut source, 0).is_err());
    assert!(disk.write_zeroes(0, 512).is_err());
    assert!(disk.discard(0, 512).is_err());
}

#[test]
fn a_file_that_was_cut_fails_reads_of_what_is_gone() {
    let (_dir, path) = image();
    let disk = FileBackend::open(&path, false).unwrap();
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(1024)
        .unwrap();
    assert!(read(&disk, 0, 1024).is_ok());
    let error = read(&disk, 512, 1024).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn what_is_no_disk_is_refused_with_a_reason() {
    let (dir, path) = image();
    std::fs::write(&path, [0; 1000]).unwrap();
    let refused = |path: &Path| FileBackend::open(path, true).unwrap_err();
    assert!(matches!(
        refused(&path),
        FileBackendError::Size { bytes: 1000, .. }
    ));
    std::fs::write(&path, []).unwrap();
    assert!(matches!(
        refused(&path),
        FileBackendError::Size { bytes: 0, .. }
    ));
    assert!(matches!(
        refused(dir.path()),
        FileBackendError::NoDisk { .. }
    ));
    assert!(matches!(
        refused(Path::new("/dev/null")),
        FileBackendError::NoDisk { .. }
    ));
    let missing = refused(&dir.path().join("missing"));
    assert!(missing.to_string().contains("missing"));
    assert!(matches!(
        missing,
        FileBackendError::Io { action: "open", .. }
    ));
}
