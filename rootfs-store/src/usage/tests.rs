use super::*;
use crate::testing::snapshot_of;

const DISK: usize = 1 << 20;

#[test]
fn bytes_that_are_alone_are_what_a_collection_frees() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let base = snapshot_of(&store, &[1; DISK]);
    store.set_name("base", &base).unwrap();
    store.set_name("same", &base).unwrap();
    let disk = store.create_disk("d", &base).unwrap();
    disk.write_at(&[9; 8192], 0).unwrap();
    disk.flush().unwrap();
    let child = store.commit(&disk, &()).unwrap();
    store.set_name("child", &child.snapshot).unwrap();
    drop(child.lease);
    snapshot_of(&store, &[2; DISK]);

    let usage = store.usage().unwrap();
    assert_eq!((usage.disks.len(), usage.disks[0].id.as_str()), (1, "d"));
    assert!(usage.disks[0].overlay_bytes >= 8192);
    let [first, second] = &usage.snapshots[..] else {
        panic!("{usage:?}")
    };
    let name = |name: &str| Root::Name(name.to_owned());
    let roots = [name("base"), name("same"), Root::Disk("d".to_owned())];
    assert_eq!((first.snapshot, &first.roots[..]), (base, &roots[..]));
    assert_eq!(second.roots, [name("child")]);
    assert_eq!(first.shared_bytes, second.shared_bytes);
    assert!(first.shared_bytes > 0 && first.live_bytes > Some(0));
    let sum = first.alone_bytes + second.alone_bytes + first.shared_bytes;
    assert_eq!(sum + usage.unreachable_bytes, usage.blob_bytes);

    let collect = || store.gc(Duration::ZERO, &()).unwrap().freed_bytes;
    assert_eq!(collect(), usage.unreachable_bytes);
    store.remove_name("child").unwrap();
    assert_eq!(collect(), second.alone_bytes);
}

#[test]
fn empty_store_has_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let usage = Store::open(dir.path()).unwrap().usage().unwrap();
    assert!(usage.snapshots.is_empty() && usage.disks.is_empty());
    assert_eq!((usage.blob_bytes, usage.unreachable_bytes), (0, 0));
}

#[test]
fn what_a_group_shares_among_its_own_is_the_groups() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let base = snapshot_of(&store, &[1; DISK]);
    store.set_name("a/base", &base).unwrap();
    let disk = store.create_disk("a@d", &base).unwrap();
    disk.write_at(&[9; 8192], 0).unwrap();
    disk.flush().unwrap();
    let child = store.commit(&disk, &()).unwrap();
    store.set_name("a/child", &child.snapshot).unwrap();
    let group = |root: &Root| match root {
        Root::Name(text) | Root::Disk(text) => text.chars().next(),
        _ => None,
    };
    // The lease of the commit is no holder.
    let usage = store.usage().unwrap();
    let all = usage.blob_bytes - usage.unreachable_bytes;
    let needs = store.needs().unwrap();
    assert_eq!(needs.disks().len(), 1);
    assert_eq!(needs.bytes_by(group), BTreeMap::from([('a', all)]));
    drop(needs);
    // Another's share is nobody's.
    store.set_name("b/base", &base).unwrap();
    let alone = store.needs().unwrap().bytes_by(group);
    assert!(
        alone[&'a'] > 0 && alone[&'a'] < all && alone.len() == 1,
        "{alone:?}"
    );
    drop(child);
    store.remove_name("a/base").unwrap();
    store.remove_name("a/child").unwrap();
    drop(disk);
    store.remove_disk("a@d").unwrap();
    assert_eq!(
        store.gc(Duration::ZERO, &()).unwrap().freed_bytes,
        alone[&'a'] + usage.unreachable_bytes
    );
}
