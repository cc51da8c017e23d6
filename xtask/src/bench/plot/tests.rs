use super::*;

#[test]
fn an_axis_is_logarithmic_and_ends_at_powers_of_ten() {
    let axis = Axis::over([3.0, 70.0].into_iter(), 0.0, 200.0);
    assert_eq!(
        [1.0, 10.0, 100.0].map(|value| axis.at(value)),
        [0.0, 100.0, 200.0]
    );
    assert_eq!(axis.ticks().collect::<Vec<_>>(), [1.0, 10.0, 100.0]);
}

#[test]
fn an_axis_of_nothing_or_of_one_value_can_be_drawn() {
    assert_eq!(Axis::over([].into_iter(), 0.0, 100.0).at(1.0), 0.0);
    assert_eq!(Axis::over([10.0].into_iter(), 0.0, 100.0).at(10.0), 0.0);
}

#[test]
fn bars_show_their_values_and_marks() {
    let bar = Bar {
        label: "import <5 s & more".to_owned(),
        value: 25.0,
        mark: Some(10.0),
    };
    let svg = bars("ratios", "×", &[bar]);
    assert!(svg.contains("import &lt;5 s &amp; more</text>"));
    assert!(svg.contains(">25×</text>"));
    // From 1 at x = 300 to 100 at x = 690: 10 is in the middle.
    assert!(svg.contains(r#"<path d="M495.0 46.0V74.0""#), "{svg}");
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
}

#[test]
fn lines_join_their_points() {
    let line = Line {
        label: "ours".to_owned(),
        points: vec![(1.0, 0.1), (100.0, 10.0)],
    };
    let svg = lines("times", ["MiB", "s"], &[line]);
    assert!(svg.contains(r#"points="70.0,340.0 730.0,50.0""#), "{svg}");
    assert!(svg.contains(">ours</text>") && svg.contains(">MiB</text>"));
}
