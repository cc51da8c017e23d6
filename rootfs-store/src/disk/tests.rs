#![expect(
    clippy::cast_possible_truncation,
    reason = "patterns of test data wrap"
)]

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::files::{Change, Watch};
use crate::store::Store;
use crate::testing::snapshot_of;

const DISK: usize = 1 << 20;

fn pattern() -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..DISK).map(|n| (n / 3) as u8).collect();
    bytes[DISK / 2..DISK / 2 + 200_000].fill(0);
    bytes
}

fn new_disk(dir: &Path) -> (Store, WritableDisk) {
    let store = Store::open(dir).unwrap();
    let base = snapshot_of(&store, &pattern());
    let disk = store.create_disk("d", &base).unwrap();
    (store, disk)
}

fn all(disk: &WritableDisk) -> Vec<u8> {
    let mut bytes = vec![1; DISK];
    disk.read_at(&mut bytes, 0).unwrap();
    bytes
}

/// A buffer that is written.
struct Bytes<'a>(&'a [u8]);

impl WriteFrom for Bytes<'_> {
    fn remaining(&self) -> usize {
        self.0.len()
    }
    fn take(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact(buffer)
    }
    fn write_to_file(&mut self, file: &File, offset: u64, count: usize) -> io::Result<()> {
        let (now, rest) = self.0.split_at(count);
        self.0 = rest;
        file.write_all_at(now, offset)
    }
}

#[derive(Debug, Clone)]
enum Action {
    Write { offset: usize, len: usize, byte: u8 },
    Zero { offset: usize, len: usize },
    Discard { offset: usize, len: usize },
    Read { offset: usize, len: usize },
    Flush,
    Reopen,
    Commit,
    CommitLive,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let range = (0..DISK).prop_flat_map(|offset| (Just(offset), 0..=(DISK - offset).min(150_000)));
    let action = prop_oneof![
        5 => (range.clone(), 1u8..).prop_map(|((offset, len), byte)| Action::Write { offset, len, byte }),
        1 => range.clone().prop_map(|(offset, len)| Action::Zero { offset, len }),
        1 => range.clone().prop_map(|(offset, len)| Action::Discard { offset, len }),
        2 => range.prop_map(|(offset, len)| Action::Read { offset, len }),
        1 => Just(Action::Flush),
        1 => Just(Action::Reopen),
        1 => Just(Action::Commit),
        2 => Just(Action::CommitLive),
    ];
    proptest::collection::vec(action, 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn disk_does_what_an_array_does(actions in actions()) {
        let dir = tempfile::tempdir().unwrap();
        let (store, mut disk) = new_disk(dir.path());
        let mut model = pattern();
        let mut flushed = pattern();
        for action in actions {
            match action {
                Action::Write { offset, len, byte } => {
                    if byte % 2 == 0 {
                        disk.write_at(&vec![byte; len], offset as u64).unwrap();
                    } else {
                        disk.write_from(&mut Bytes(&vec![byte; len]), offset as u64).unwrap();
                    }
                    model[offset..offset + len].fill(byte);
                }
                Action::Zero { offset, len } => {
                    disk.write_zeroes(offset as u64, len as u64).unwrap();
                    model[offset..offset + len].fill(0);
                }
                Action::Discard { offset, len } => {
                    disk.discard(offset as u64, len as u64).unwrap();
                    let (start, end) = (offset.next_multiple_of(4096), (offset + len) / 4096 * 4096);
                    if start < end {
                        model[start..end].fill(0);
                    }
                }
                Action::Read { offset, len } => {
                    let mut bytes = vec![1; len];
                    disk.read_at(&mut bytes, offset as u64).unwrap();
                    prop_assert!(bytes == model[offset..offset + len]);
                }
                Action::Flush => {
                    disk.flush().unwrap();
                    flushed.clone_from(&model);
                }
                Action::Reopen => {
                    drop(disk);
                    disk = store.open_disk("d").unwrap();
                    let found = all(&disk);
                    // Every block is as it was flushed, or as it was at a later time.
                    for (block, bytes) in found.chunks(4096).enumerate() {
                        let range = block * 4096..(block + 1) * 4096;
                        prop_assert!(bytes == &model[range.clone()] || bytes == &flushed[range]);
                    }
                    flushed.clone_from(&found);
                    model = found;
                }
                Action::Commit => {
                    let snapshot = store.commit(&disk, &()).unwrap().snapshot;
                    drop(disk);
                    store.remove_disk("d").unwrap();
                    disk = store.create_disk("d", &snapshot).unwrap();
                    flushed.clone_from(&model);
                }
                Action::CommitLive => {
                    let snapshot = store.commit_live(&disk, &()).unwrap().snapshot;
                    prop_assert_eq!(disk.base(), snapshot);
                    let copy = store.create_disk("copy", &snapshot).unwrap();
                    prop_assert!(all(&copy) == model);
                    drop(copy);
                    store.remove_disk("copy").unwrap();
                    flushed.clone_from(&model);
                }
            }
        }
        prop_assert!(all(&disk) == model);
        let committed = store.commit(&disk, &()).unwrap();
        let file = dir.path().join("exported");
        store.export(&committed.snapshot, &file, &()).unwrap();
        prop_assert!(fs::read(file).unwrap() == model);
    }
}

#[test]
fn commit_writes_only_what_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, disk) = new_disk(dir.path());
    let unchanged = store.commit(&disk, &()).unwrap();
    assert_eq!(
        (unchanged.snapshot, unchanged.stored_bytes),
        (disk.base(), 0)
    );

    let mut same = [0; 4096];
    disk.read_at(&mut same, 65_536).unwrap();
    disk.write_at(&same, 65_536).unwrap();
    let rewritten = store.commit(&disk, &()).unwrap();
    assert_eq!((rewritten.touched_chunks, rewritten.changed_chunks), (1, 0));
    assert_eq!(
        (rewritten.snapshot, rewritten.stored_bytes),
        (disk.base(), 0)
    );

    disk.write_at(&[9; 2 * 65_536], 131_072).unwrap();
    let changed = store.commit(&disk, &()).unwrap();
    assert_eq!(
        (
            changed.touched_chunks,
            changed.changed_chunks,
            changed.new_chunks
        ),
        (3, 2, 1)
    );
    assert!(
        changed.stored_bytes > 0 && changed.stored_bytes < 4096,
        "{}",
        changed.stored_bytes
    );
    let snapshot = store.snapshot(&changed.snapshot).unwrap();
    assert_eq!(
        (snapshot.parent, snapshot.packs.len()),
        (Some(disk.base()), 2)
    );
}

#[test]
fn disk_that_becomes_all_zero_can_be_committed_and_read() {
    let dir = tempfile::tempdir().unwrap();
    let (store, disk) = new_disk(dir.path());
    disk.discard(0, DISK as u64).unwrap();
    let snapshot = store.commit(&disk, &()).unwrap().snapshot;
    let empty = store.create_disk("empty", &snapshot).unwrap();
    assert!(all(&empty).iter().all(|byte| *byte == 0));
}

#[test]
fn two_disks_over_one_base_do_not_see_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let (store, one) = new_disk(dir.path());
    let two = store.create_disk("two", &one.base()).unwrap();
    one.write_at(b"one", 10_000).unwrap();
    two.write_at(b"two", 10_000).unwrap();
    let read = |disk: &WritableDisk| {
        let mut bytes = [0; 3];
        disk.read_at(&mut bytes, 10_000).unwrap();
        bytes
    };
    assert_eq!((&read(&one), &read(&two)), (b"one", b"two"));
    assert_eq!(
        all(&store.create_disk("three", &one.base()).unwrap()),
        pattern()
    );
}

#[test]
fn what_was_not_flushed_may_be_lost_but_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (store, disk) = new_disk(dir.path());
    disk.write_at(&[1; 8192], 0).unwrap();
    disk.flush().unwrap();
    disk.write_at(&[2; 4096], 40_960).unwrap();
    // The process dies here: the map was not written, the data was.
    drop(disk);
    let disk = store.open_disk("d").unwrap();
    let mut expected = pattern();
    expected[..8192].fill(1);
    assert!(all(&disk) == expected);
}

#[test]
fn older_sectors_of_the_map_lack_only_what_came_later() {
    let dir = tempfile::tempdir().unwrap();
    let (store, disk) = new_disk(dir.path());
    disk.write_at(&[1; 4096], 0).unwrap();
    disk.flush().unwrap();
    let map = dir.path().join("disks/d/map");
    let before = fs::read(&map).unwrap();
    disk.write_at(&[2; 4096], 4096).unwrap();
    disk.flush().unwrap();
    drop(disk);
    // Power fails before the second flush has reached the map.
    fs::write(&map, before).unwrap();
    let mut expected = pattern();
    expected[..4096].fill(1);
    assert!(all(&store.open_disk("d").unwrap()) == expected);
}

#[test]
fn damaged_map_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (store, disk) = new_disk(dir.path());
    disk.write_at(&[1; 4096], 0).unwrap();
    disk.flush().unwrap();
    drop(disk);
    let map = OpenOptions::new()
        .write(true)
        .open(dir.path().join("disks/d/map"))
        .unwrap();
    map.write_all_at(&[0xff], 512).unwrap();
    assert!(matches!(store.open_disk("d"), Err(DiskError::Map { .. })));
    store.remove_disk("d").unwrap();
    assert!(!store.disk_exists("d"));
}

#[test]
fn disk_belongs_to_one_handle_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let (store, disk) = new_disk(dir.path());
    assert!(matches!(store.open_disk("d"), Err(DiskError::InUse { .. })));
    assert!(matches!(
        store.remove_disk("d"),
        Err(DiskError::InUse { .. })
    ));
    assert!(matches!(
        store.create_disk("d", &disk.base()),
        Err(DiskError::Exists { .. })
    ));
    drop(disk);
    store.remove_disk("d").unwrap();
    store.remove_disk("d").unwrap();
    assert!(matches!(
        store.open_disk("d"),
        Err(DiskError::NotFound { .. })
    ));
    assert_eq!(fs::read_dir(dir.path().join("staging")).unwrap().count(), 0);
}

#[test]
fn ids_that_are_no_plain_file_names_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for id in [
        "",
        ".",
        "..",
        "a/b",
        "../d",
        ".hidden",
        "a b",
        "@a",
        &"a".repeat(81),
    ] {
        assert!(
            matches!(store.open_disk(id), Err(DiskError::BadId { .. })),
            "{id}"
        );
    }
}

#[test]
fn disks_are_listed_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (store, disk) = new_disk(dir.path());
    let base = disk.base();
    for id in ["d@data", "a"] {
        store.create_disk(id, &base).unwrap();
    }
    assert_eq!(store.disk_ids().unwrap(), ["a", "d", "d@data"]);
    store.remove_disk("a").unwrap();
    assert_eq!(store.disk_ids().unwrap(), ["d", "d@data"]);
}

#[test]
fn ranges_past_the_end_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, disk) = new_disk(dir.path());
    let size = DISK as u64;
    let refused = |result| matches!(result, Err(DiskError::OutOfRange { .. }));
    assert!(refused(disk.read_at(&mut [0; 2], size - 1)));
    assert!(refused(disk.write_at(&[0; 2], size - 1)));
    assert!(refused(disk.discard(size, 1)));
    assert!(refused(disk.write_zeroes(u64::MAX, 2)));
    disk.read_at(&mut [], size).unwrap();
}

#[test]
fn damaged_chunk_is_an_error_that_names_the_pack() {
    let dir = tempfile::tempdir().unwrap();
    let (store, disk) = new_disk(dir.path());
    let pack = store.snapshot(&disk.base()).unwrap().packs[0].digest;
    let path = dir.path().join("blobs/sha256").join(&pack.to_string()[7..]);
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[0xff; 8], 20).unwrap();
    let error = disk.read_at(&mut [0; 1], 0).unwrap_err();
    assert!(error.to_string().contains(&pack.to_string()), "{error}");
}

#[test]
fn discarded_space_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, disk) = new_disk(dir.path());
    disk.write_at(&vec![1; DISK], 0).unwrap();
    disk.flush().unwrap();
    let before = disk.allocated_bytes().unwrap();
    disk.discard(0, DISK as u64 / 2).unwrap();
    disk.write_zeroes(DISK as u64 / 2, DISK as u64 / 4).unwrap();
    disk.flush().unwrap();
    let after = disk.allocated_bytes().unwrap();
    assert!(after <= before / 3, "{before} bytes before, {after} after");
}

#[test]
fn long_line_of_commits_keeps_its_content_in_few_packs() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut disk) = new_disk(dir.path());
    let mut model = pattern();
    for round in 0..101 {
        let at = round * 9_973;
        disk.write_at(&[round as u8; 100], at as u64).unwrap();
        model[at..at + 100].fill(round as u8);
        let snapshot = store.commit(&disk, &()).unwrap().snapshot;
        drop(disk);
        store.remove_disk("d").unwrap();
        disk = store.create_disk("d", &snapshot).unwrap();
        assert!(store.snapshot(&snapshot).unwrap().packs.len() <= 100);
    }
    assert!(all(&disk) == model);
    assert!(store.snapshot(&disk.base()).unwrap().packs.len() <= 51);
}

#[test]
fn readers_never_see_what_nobody_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, disk) = new_disk(dir.path());
    let base = pattern();
    let blocks = 100..DISK / 4096 / 2;
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for block in blocks.clone() {
                disk.write_at(&[0xee; 4096], block as u64 * 4096).unwrap();
            }
        });
        while !writer.is_finished() {
            for (block, bytes) in all(&disk).chunks(4096).enumerate() {
                let old = bytes == &base[block * 4096..(block + 1) * 4096];
                let new = blocks.contains(&block) && bytes.iter().all(|byte| *byte == 0xee);
                assert!(old || new, "block {block}");
            }
        }
    });
}

#[test]
fn discarding_what_is_zero_already_touches_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, disk) = new_disk(dir.path());
    let zeros = DISK as u64 / 2 + 65_536;
    disk.discard(zeros, 65_536).unwrap();
    assert_eq!(store.commit(&disk, &()).unwrap().touched_chunks, 0);
    disk.write_at(&[1; 4096], zeros).unwrap();
    disk.discard(zeros, 4096).unwrap();
    let committed = store.commit(&disk, &()).unwrap();
    assert_eq!((committed.touched_chunks, committed.changed_chunks), (1, 0));
}

#[test]
fn cut_off_overlay_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (store, disk) = new_disk(dir.path());
    drop(disk);
    let data = OpenOptions::new()
        .write(true)
        .open(dir.path().join("disks/d/overlay"))
        .unwrap();
    data.set_len(4096).unwrap();
    assert!(matches!(
        store.open_disk("d"),
        Err(DiskError::OverlayLength { found: 4096, .. })
    ));
}

fn files_of_disk(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir.join("disks/d")).unwrap();
    let mut names: Vec<_> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_a_crash_left_goes_and_what_is_not_ours_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (store, disk) = new_disk(dir.path());
    drop(disk);
    let folder = dir.path().join("disks/d");
    let ours = ["map.3.new", "overlay.3", "overlay.17"];
    let others = ["map.03", "map.new.1", "notes", "overlay.x", "overlay.3.new"];
    for name in ours.iter().chain(&others) {
        fs::write(folder.join(name), "left").unwrap();
    }
    fs::create_dir(folder.join("copies")).unwrap();
    let disk = store.open_disk("d").unwrap();
    let mut expected = [&["map", "overlay", "copies"], &others[..]].concat();
    expected.sort_unstable();
    assert_eq!(files_of_disk(dir.path()), expected);
    // Nor are they in the way of a new overlay.
    for byte in 1..6 {
        disk.write_at(&[byte; 4096], 0).unwrap();
        store.commit_live(&disk, &()).unwrap();
    }
    drop(disk);
    store.open_disk("d").unwrap();
    store.remove_disk("d").unwrap();
}

#[test]
fn live_commit_gives_back_the_space_of_what_it_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, disk) = new_disk(dir.path());
    disk.write_at(&vec![7; DISK / 2], 0).unwrap();
    let first = store.commit_live(&disk, &()).unwrap();
    assert_eq!(files_of_disk(dir.path()), ["map.1", "overlay.1"]);
    assert_eq!(disk.allocated_bytes().unwrap(), 0);
    // Nothing new: no new overlay, no new snapshot.
    let again = store.commit_live(&disk, &()).unwrap();
    assert_eq!((again.snapshot, again.touched_chunks), (first.snapshot, 0));
    assert_eq!(files_of_disk(dir.path()), ["map.1", "overlay.1"]);
    drop(disk);
    let disk = store.open_disk("d").unwrap();
    assert_eq!(disk.base(), first.snapshot);
    assert!(all(&disk)[..DISK / 2].iter().all(|byte| *byte == 7));
}

#[test]
fn live_commit_has_all_that_was_written_before_and_nothing_of_later() {
    let dir = tempfile::tempdir().unwrap();
    let (store, disk) = new_disk(dir.path());
    // Each round fills the same blocks in order, so a state is a number of blocks of one round and the rest of the one
    // before.
    const BLOCKS: usize = 64;
    let stop = std::sync::atomic::AtomicBool::new(false);
    let snapshots: Vec<_> = std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in (1..=250u8).cycle() {
                for block in 0..BLOCKS {
                    disk.write_at(&[round; 4096], block as u64 * 4096).unwrap();
                }
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
            }
        });
        let snapshots = (0..8)
            .map(|_| store.commit_live(&disk, &()).unwrap().snapshot)
            .collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        snapshots
    });
    let pattern = pattern();
    for (number, snapshot) in snapshots.iter().enumerate() {
        let copy = store.create_disk("copy", snapshot).unwrap();
        let bytes = all(&copy);
        let blocks: Vec<_> = bytes.chunks(4096).take(BLOCKS).collect();
        let rounds: Vec<_> = blocks.iter().map(|block| block[0]).collect();
        let whole = |(n, block): (usize, &&[u8])| {
            block.iter().all(|byte| *byte == block[0]) || *block == &pattern[n * 4096..][..4096]
        };
        assert!(blocks.iter().enumerate().all(whole), "snapshot {number}");
        let steps = rounds.windows(2).filter(|pair| pair[0] != pair[1]).count();
        let fresh = blocks
            .iter()
            .enumerate()
            .filter(|(n, block)| **block == &pattern[n * 4096..][..4096])
            .count();
        assert!(fresh > 0 || steps <= 1, "snapshot {number}: {rounds:?}");
        drop(copy);
        store.remove_disk("copy").unwrap();
    }
}

#[test]
fn live_commit_that_failed_loses_nothing_and_can_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let (store, disk) = new_disk(dir.path());
    disk.write_at(&[1; 8192], 0).unwrap();
    let staging = dir.path().join("staging");
    fs::remove_dir(&staging).unwrap();
    assert!(store.commit_live(&disk, &()).is_err());
    fs::create_dir(&staging).unwrap();
    disk.write_at(&[2; 4096], 4096).unwrap();
    disk.write_at(&[3; 100], 8192).unwrap();
    let mut expected = pattern();
    expected[..4096].fill(1);
    expected[4096..8192].fill(2);
    expected[8192..8292].fill(3);
    assert!(all(&disk) == expected);
    disk.flush().unwrap();
    drop(disk);
    // As after a crash between the switch and the end of the commit.
    let disk = store.open_disk("d").unwrap();
    assert!(all(&disk) == expected);
    let snapshot = store.commit_live(&disk, &()).unwrap().snapshot;
    assert_eq!(files_of_disk(dir.path()), ["map.2", "overlay.2"]);
    drop(disk);
    assert!(all(&store.create_disk("copy", &snapshot).unwrap()) == expected);
}

#[test]
fn missing_overlay_below_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (store, disk) = new_disk(dir.path());
    disk.write_at(&[1; 8192], 0).unwrap();
    let staging = dir.path().join("staging");
    fs::remove_dir(&staging).unwrap();
    assert!(store.commit_live(&disk, &()).is_err());
    drop(disk);
    fs::remove_file(dir.path().join("disks/d/map")).unwrap();
    assert!(matches!(
        store.open_disk("d"),
        Err(DiskError::NoOverlay { .. })
    ));
}

#[test]
fn overlay_of_another_size_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (store, disk) = new_disk(dir.path());
    drop(disk);
    let folder = dir.path().join("disks/d");
    let header = MapHeader {
        disk_bytes: 65_536,
        base: SnapshotDigest::from_bytes([1; 32]),
        over_previous: true,
    };
    let files = crate::files::Files::default();
    Overlay::create(&files, &folder, overlay::Number(1), header).unwrap();
    assert!(matches!(
        store.open_disk("d"),
        Err(DiskError::OverlayLength { .. })
    ));
}

#[test]
fn flush_covers_every_write_that_returned_however_many_write_the_same_block() {
    let dir = tempfile::tempdir().unwrap();
    let (store, disk) = new_disk(dir.path());
    for round in 0..200u64 {
        let at = round % 200 * 4096;
        std::thread::scope(|scope| {
            for byte in [1, 2] {
                let disk = &disk;
                scope.spawn(move || {
                    disk.write_at(&[byte; 4096], at).unwrap();
                    disk.flush().unwrap();
                });
            }
        });
        // What a process that dies now leaves.
        let map = fs::read(dir.path().join("disks/d/map")).unwrap();
        let block = usize::try_from(round % 200).unwrap();
        assert!(
            map[512 + block / 8] >> (block % 8) & 1 == 1,
            "block {block}"
        );
    }
    drop(disk);
    let found = all(&store.open_disk("d").unwrap());
    assert!(found[..200 * 4096].iter().all(|byte| matches!(byte, 1 | 2)));
}

/// Notes by which way bytes come; refuses them once it has `room` no more.
struct Listing {
    room: usize,
    came: Vec<(&'static str, usize)>,
}

impl Listing {
    fn take(&mut self, way: &'static str, count: usize) -> io::Result<()> {
        let room = self.room.checked_sub(count);
        self.room = room.ok_or(io::ErrorKind::QuotaExceeded)?;
        self.came.push((way, count));
        Ok(())
    }
}

impl ReadInto for Listing {
    fn remaining(&self) -> usize {
        DISK - self.came.iter().map(|(_, count)| count).sum::<usize>()
    }
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.take("bytes", bytes.len())
    }
    fn put_zeroes(&mut self, count: usize) -> io::Result<()> {
        self.take("zeroes", count)
    }
    fn put_from_file(&mut self, _: &File, _: u64, count: usize) -> io::Result<()> {
        self.take("file", count)
    }
    fn restart(&mut self) {
        self.came.clear();
    }
}

#[test]
fn what_was_written_is_read_from_its_file_and_the_rest_from_the_base() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, disk) = new_disk(dir.path());
    disk.write_at(&[7; 3 * 4096], 4096).unwrap();
    let mut list = Listing {
        room: DISK,
        came: Vec::new(),
    };
    disk.read_into(&mut list, 0).unwrap();
    assert_eq!(list.came[..2], [("bytes", 4096), ("file", 3 * 4096)]);
    assert!(list.came.iter().any(|(way, _)| *way == "zeroes"));
    assert_eq!(
        list.came.iter().map(|(_, count)| count).sum::<usize>(),
        DISK
    );
    for room in [0, 4096 + 100] {
        let mut small = Listing {
            room,
            came: Vec::new(),
        };
        let refused = disk.read_into(&mut small, 0).unwrap_err();
        assert!(
            matches!(&refused, DiskError::Target { source } | DiskError::Io { source, .. }
                if source.kind() == io::ErrorKind::QuotaExceeded),
            "{refused:?}"
        );
    }
}

#[test]
fn a_write_from_a_buffer_is_kept_like_any_other_and_is_seen_by_who_watches() {
    #[derive(Debug, Default)]
    struct Writes(Mutex<Vec<(u64, Vec<u8>)>>);
    impl Watch for Writes {
        fn change(&self, change: &Change<'_>) -> io::Result<()> {
            if let Change::Write { offset, bytes, .. } = change {
                self.0.lock().unwrap().push((*offset, bytes.to_vec()));
            }
            Ok(())
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let (store, disk) = new_disk(dir.path());
    let text = vec![0x5a; 8192];
    disk.write_from(&mut Bytes(&text), 12288).unwrap();
    disk.write_from(&mut Bytes(b"part"), 100).unwrap();
    disk.write_from(&mut Bytes(b""), 0).unwrap();
    let past = disk.write_from(&mut Bytes(&text), DISK as u64 - 4096);
    assert!(matches!(past, Err(DiskError::OutOfRange { .. })));
    disk.flush().unwrap();
    let expected = all(&disk);
    assert_eq!(expected[12288..20480], text);
    assert_eq!(expected[100..104], *b"part");
    drop((disk, store));
    let writes = Arc::new(Writes::default());
    let watch = Arc::clone(&writes) as Arc<dyn Watch>;
    let store = Store::open_watched(dir.path(), watch).unwrap();
    let disk = store.open_disk("d").unwrap();
    assert!(all(&disk) == expected);
    disk.write_from(&mut Bytes(&text), 4096).unwrap();
    let seen = writes.0.lock().unwrap();
    assert!(
        seen.contains(&(4096, text.clone())),
        "{} writes",
        seen.len()
    );
}
