use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn any_table_keeps_its_bytes(bytes in prop::collection::vec(any::<u8>(), 1..200)) {
        prop_assume!(bytes != b"\n");
        let mut expected = bytes.clone();
        if bytes.last() != Some(&b'\n') {
            expected.push(b'\n');
        }
        prop_assert_eq!(Table::parse(&bytes).to_bytes(), expected);
    }
}

#[test]
fn names_join_a_list_once() {
    let mut table = Table::parse(b"g:x:5:ann\nh:x:6\n");
    for name in ["bob", "ann", "bob", "an"] {
        table.find_mut("g").unwrap().add_to_list(3, name);
        table.find_mut("h").unwrap().add_to_list(3, name);
    }
    assert_eq!(table.to_bytes(), b"g:x:5:ann,bob,an\nh:x:6:bob,ann,an\n");
}
