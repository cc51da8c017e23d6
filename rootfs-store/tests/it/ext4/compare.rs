//! Compares a tree with a file system, file by file and byte by byte.

use ext4_view::{Ext4, FileType, Metadata, PathBuf};
use rootfs_store::tree::{Content, InodeId, Kind, Time, Tree};

/// Fails unless `disk` holds exactly what `tree` does, and `lost+found`.
pub(super) fn assert_same(tree: &Tree, disk: &Ext4) {
    compare(tree, InodeId::ROOT, disk, &PathBuf::new("/"));
}

fn compare(tree: &Tree, id: InodeId, disk: &Ext4, path: &PathBuf) {
    let inode = tree.inode(id);
    let metadata = disk.symlink_metadata(path).unwrap();
    let at = path.display();
    assert_eq!(
        metadata.mode() & 0o7777,
        inode.attributes.mode,
        "mode of {at}"
    );
    assert_eq!(metadata.uid(), inode.attributes.uid, "owner of {at}");
    assert_eq!(metadata.gid(), inode.attributes.gid, "group of {at}");
    compare_times(&metadata, inode.attributes.mtime, path);
    let expected = match &inode.kind {
        Kind::Directory(directory) => {
            compare_names(tree, id, disk, path);
            // Finding a file by its path is slow, so that of very many each hundredth has to do.
            let step = if directory.iter().count() > 5000 {
                100
            } else {
                1
            };
            for (name, child) in directory.iter().step_by(step) {
                compare(tree, child, disk, &path.join(name));
            }
            FileType::Directory
        }
        Kind::File(content) => {
            compare_content(tree, content, disk, path);
            FileType::Regular
        }
        Kind::Symlink(target) => {
            let actual = disk.read_link(path).unwrap();
            assert_eq!(actual.as_ref(), &**target, "target of {at}");
            FileType::Symlink
        }
        Kind::CharDevice(_) => FileType::CharacterDevice,
        Kind::BlockDevice(_) => FileType::BlockDevice,
        Kind::Fifo => FileType::Fifo,
    };
    assert_eq!(metadata.file_type(), expected, "type of {at}");
}

fn compare_times(metadata: &Metadata, time: Time, path: &PathBuf) {
    let first = i64::from(i32::MIN);
    let seconds = time.seconds.clamp(first, first + (1 << 34) - 1);
    let nanos = if seconds == time.seconds {
        time.nanos
    } else {
        0
    };
    let created = metadata.created().unwrap();
    for actual in [metadata.modified(), metadata.accessed(), created] {
        let actual = (actual.seconds(), actual.nanoseconds());
        assert_eq!(actual, (seconds, nanos), "time of {}", path.display());
    }
}

fn compare_names(tree: &Tree, id: InodeId, disk: &Ext4, path: &PathBuf) {
    let Kind::Directory(directory) = &tree.inode(id).kind else {
        return;
    };
    let mut expected: Vec<Vec<u8>> = [&b"."[..], b".."].map(<[u8]>::to_vec).into();
    expected.extend(directory.iter().map(|(name, _)| name.to_vec()));
    if id == InodeId::ROOT {
        expected.push(b"lost+found".to_vec());
    }
    expected.sort();
    expected.dedup();
    let entries = disk.read_dir(path).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().as_ref().to_vec());
    let mut actual: Vec<Vec<u8>> = names.collect();
    actual.sort();
    assert_eq!(actual, expected, "entries of {}", path.display());
}

fn compare_content(tree: &Tree, content: &Content, disk: &Ext4, path: &PathBuf) {
    let mut file = disk.open(path).unwrap();
    let mut expected = vec![0; 1 << 20];
    let mut actual = vec![0; 1 << 20];
    let mut start = 0;
    assert_eq!(
        file.metadata().len(),
        content.len,
        "length of {}",
        path.display()
    );
    while start < content.len {
        let len = usize::try_from(content.len - start)
            .unwrap()
            .min(expected.len());
        let expected = &mut expected[..len];
        expect(tree, content, start, expected);
        let mut done = 0;
        while done < len {
            let read = file.read_bytes(&mut actual[done..len]).unwrap();
            assert!(
                read > 0,
                "{} ends at {}",
                path.display(),
                start + done as u64
            );
            done += read;
        }
        assert!(
            actual[..len] == *expected,
            "{} differs after {start}",
            path.display()
        );
        start += len as u64;
    }
}

/// The bytes of a file from `start` on, out of the spool.
fn expect(tree: &Tree, content: &Content, start: u64, buf: &mut [u8]) {
    buf.fill(0);
    let end = start + buf.len() as u64;
    for run in &content.runs {
        let from = run.file_offset.max(start);
        let to = (run.file_offset + run.len).min(end);
        if from < to {
            let place =
                usize::try_from(from - start).unwrap()..usize::try_from(to - start).unwrap();
            let spool_offset = run.spool_offset + (from - run.file_offset);
            tree.read_spool(spool_offset, &mut buf[place]).unwrap();
        }
    }
}
