//! Disks made from trees, checked by e2fsck and read back by `ext4-view`.
use rootfs_store::ext4::Layout;
use rootfs_store::tree::{Limits, build_from_plain_layers};
use std::fs::File;
use std::os::unix::fs::FileExt;

#[test]
fn scratch() {
    let dir = tempfile::tempdir().unwrap();
    let data = std::fs::read(std::env::var("TARFILE").unwrap()).unwrap();
    let tree = build_from_plain_layers(&[&data], dir.path(), &Limits::default()).unwrap();
    let chunk = 64 << 10;
    let t = std::time::Instant::now();
    let min = Layout::minimum_bytes(&tree, chunk).unwrap();
    eprintln!("min {min} in {:?}", t.elapsed());
    let size = std::env::var("SIZE").map_or(min, |s| s.parse::<u64>().unwrap());
    let t = std::time::Instant::now();
    let layout = Layout::plan(tree, size, chunk).unwrap();
    eprintln!("plan {:?}", t.elapsed());
    let t = std::time::Instant::now();
    let file = File::create(std::env::var("OUT").unwrap()).unwrap();
    file.set_len(size).unwrap();
    let mut buf = vec![0; 1 << 20];
    let mut n = 0;
    for range in layout.occupied() {
        let mut at = range.start;
        while at < range.end {
            let len = (range.end - at).min(1 << 20) as usize;
            layout.read_at(&mut buf[..len], at).unwrap();
            file.write_all_at(&buf[..len], at).unwrap();
            at += len as u64;
            n += len;
        }
    }
    eprintln!("wrote {n} in {:?}", t.elapsed());
}
