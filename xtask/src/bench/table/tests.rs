use super::*;

fn row(value: f64, bound: Option<Bound>) -> Row {
    Row {
        work: "import".to_owned(),
        ours: "1 s".to_owned(),
        peer: "umoci".to_owned(),
        theirs: "12 s".to_owned(),
        value,
        unit: Unit::Faster,
        bound,
    }
}

#[test]
fn a_bound_is_met_at_its_edge() {
    assert_eq!(row(10.0, Some(Bound::AtLeast(10.0))).is_met(), Some(true));
    assert_eq!(row(9.9, Some(Bound::AtLeast(10.0))).is_met(), Some(false));
    assert_eq!(row(1.6, Some(Bound::AtMost(1.5))).is_met(), Some(false));
    assert_eq!(row(1.0, None).is_met(), None);
}

#[test]
fn a_row_says_what_was_asked_and_what_was_found() {
    let text = comparison(&[row(12.34, Some(Bound::AtLeast(10.0)))]);
    let last = text.lines().last().unwrap();
    assert_eq!(
        last,
        "| import | 1 s | umoci | 12 s | 12.3× faster | ≥ 10× faster | yes |"
    );
}

#[test]
fn a_bound_that_is_missed_stands_out() {
    let text = comparison(&[row(2.0, Some(Bound::AtLeast(10.0)))]);
    assert!(text.ends_with("| 2× faster | ≥ 10× faster | **no** |\n"));
}

#[test]
fn numbers_have_three_digits() {
    let shown = [0.123, 1.0, 9.876, 98.76, 987.6].map(digits);
    assert_eq!(shown, ["0.12", "1", "9.88", "98.8", "988"]);
    assert_eq!(seconds(0.0123), "12.3 ms");
    assert_eq!(seconds(31.0), "31 s");
    assert_eq!(mebibytes(1_572_864.0), "1.50");
}

#[test]
fn a_plain_table_has_as_many_columns_as_names() {
    let text = plain(&["a", "b"], &[vec!["1".to_owned(), "2".to_owned()]]);
    assert_eq!(text, "| a | b |\n|---|---|\n| 1 | 2 |\n");
}
