use proptest::prelude::*;

use super::*;

fn with(old: &str, keys: &[&str]) -> String {
    let keys: Vec<String> = keys.iter().map(|&key| key.to_owned()).collect();
    String::from_utf8(with_keys(old.as_bytes(), &keys)).unwrap()
}

#[test]
fn described_keys_come_and_go_and_others_stay() {
    let one = with("own key\n", &["key 1", "key 2"]);
    let begin = "# begin: keys of this session\n";
    let end = "# end: keys of this session\n";
    assert_eq!(one, format!("own key\n{begin}key 1\nkey 2\n{end}"));
    assert_eq!(with(&one, &["key 1", "key 2"]), one);
    let longer = format!("{one}later key");
    assert_eq!(
        with(&longer, &["key 3"]),
        format!("own key\n{begin}key 3\n{end}later key\n")
    );
    assert_eq!(with(&one, &[]), "own key\n");
    assert_eq!(with("", &[]), "");
    assert_eq!(with("own key", &[]), "own key");
    assert_eq!(with(&with("", &["k"]), &[]), "");
}

#[test]
fn a_broken_block_is_left_to_its_user() {
    let broken = "# begin: keys of this session\nkey 1\n";
    let fixed = with(broken, &["key 2"]);
    assert!(
        fixed.starts_with(broken) && fixed.contains("key 2"),
        "{fixed}"
    );
}

#[test]
fn only_what_is_in_a_home_is_below_it() {
    assert!(is_below("/home/ann/x", "/home/ann"));
    assert!(is_below("/home/ann/x", "/home/ann/"));
    assert!(!is_below("/home/anna/x", "/home/ann"));
    assert!(!is_below("/home/ann", "/home/ann"));
    assert!(!is_below("/etc/x", "/"));
}

fn line() -> impl Strategy<Value = String> {
    let marks = [KEYS_BEGIN, KEYS_END].map(|mark| String::from_utf8_lossy(mark).into_owned());
    prop_oneof![prop::sample::select(marks.to_vec()), "[a-c]{0,2}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_second_time_changes_no_keys(
        lines in prop::collection::vec(line(), 0..8),
        keys in prop::collection::vec("key [0-9]", 0..3),
    ) {
        let old = lines.join("\n");
        let once = with_keys(old.as_bytes(), &keys);
        prop_assert_eq!(with_keys(&once, &keys), once);
    }
}
