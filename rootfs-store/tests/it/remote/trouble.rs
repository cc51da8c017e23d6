//! What a disk tells of reads that its origins made fail.

use std::time::SystemTime;

use super::origin::{Manner, ORIGIN};
use super::{CHUNK, Lazy};

#[test]
fn disk_tells_which_of_its_reads_failed_because_an_origin_is_gone() {
    let lazy = Lazy::new();
    let disk = lazy.store.create_disk("d", &lazy.snapshot).unwrap();
    let other = lazy.store.create_disk("other", &lazy.snapshot).unwrap();
    let mut bytes = vec![0; CHUNK];
    disk.read_at(&mut bytes, 0).unwrap();
    assert_eq!(disk.remote_trouble(), None);
    let begun = SystemTime::now();
    lazy.origin.behave(Manner {
        is_down: true,
        ..Manner::default()
    });
    let at = 100 * CHUNK as u64;
    disk.read_at(&mut bytes, at).unwrap_err();
    let trouble = disk.remote_trouble().unwrap();
    assert_eq!((trouble.reads, trouble.first), (1, trouble.last));
    assert!((begun..=SystemTime::now()).contains(&trouble.first));
    assert!(trouble.message.contains(ORIGIN), "{trouble:?}");
    assert!(trouble.message.contains("connection reset"), "{trouble:?}");
    // A write of a part of a block reads the rest of it.
    disk.write_at(&[1; 10], at + 5).unwrap_err();
    let later = disk.remote_trouble().unwrap();
    assert_eq!((later.reads, later.first), (2, trouble.first));
    assert!(later.last >= trouble.last);
    // What is here fails nobody, and the other disk read nothing.
    disk.read_at(&mut bytes, 0).unwrap();
    assert_eq!(disk.remote_trouble(), Some(later));
    assert_eq!(other.remote_trouble(), None);
}

#[test]
fn what_an_origin_refuses_or_damages_is_trouble_and_a_range_past_the_end_is_none() {
    for (manner, text) in [
        (
            Manner {
                is_empty: true,
                ..Manner::default()
            },
            "can't be had from",
        ),
        (
            Manner {
                lies: usize::MAX,
                ..Manner::default()
            },
            "is damaged at byte",
        ),
    ] {
        let lazy = Lazy::new();
        let disk = lazy.store.create_disk("d", &lazy.snapshot).unwrap();
        let mut bytes = vec![0; CHUNK];
        disk.read_at(&mut bytes, disk.size()).unwrap_err();
        assert_eq!(disk.remote_trouble(), None);
        lazy.origin.behave(manner);
        disk.read_at(&mut bytes, 0).unwrap_err();
        let trouble = disk.remote_trouble().unwrap();
        assert_eq!(trouble.reads, 1);
        assert!(trouble.message.contains(text), "{trouble:?}");
    }
}
