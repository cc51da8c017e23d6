use super::*;

fn xattrs(sizes: &[(String, usize)]) -> Xattrs {
    let boxed = |(name, len): &(String, usize)| {
        let value = vec![b'v'; *len].into_boxed_slice();
        (name.as_bytes().into(), value)
    };
    sizes.iter().map(boxed).collect()
}

fn named(count: usize, len: usize) -> Xattrs {
    let names = (0..count).map(|n| (format!("user.{n}"), len));
    xattrs(&names.collect::<Vec<_>>())
}

#[test]
fn the_inode_is_filled_before_the_block() {
    let xattrs = named(5, 10);
    let plan = Plan::new(&xattrs).unwrap();
    // 16 bytes, the name and the value, both padded: 32, of 88 bytes.
    assert_eq!((plan.in_inode.len(), plan.in_block.len()), (2, 3));
    assert!(plan.own_values().is_empty());
}

#[test]
fn the_largest_values_move_out_of_a_full_block() {
    let sizes = [("user.a", 3000), ("user.b", 2000), ("user.c", 100)];
    let xattrs = xattrs(&sizes.map(|(name, len)| (name.to_owned(), len)));
    let plan = Plan::new(&xattrs).unwrap();
    let own: Vec<_> = plan.own_values().iter().map(|v| v.len()).collect();
    assert_eq!(own, [3000]);
}

#[test]
fn more_names_than_a_block_holds_are_refused() {
    assert_eq!(Plan::new(&named(100_000, 2)), Err(XattrFault::TooLarge));
    let xattrs = named(180, 300);
    let plan = Plan::new(&xattrs).unwrap();
    assert!(plan.own_values().len() > 170);
}

#[test]
fn namespaces_that_ext4_has_not_are_left_out() {
    let names = ["user.", "com.apple.x", "system.data", "security", "user.x"];
    let xattrs = xattrs(&names.map(|name| (name.to_owned(), 1)));
    let plan = Plan::new(&xattrs).unwrap();
    assert_eq!(plan.in_inode.len(), 1);
    assert_eq!(plan.in_inode[0].suffix, b"x");
}
