use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct CommandLine {
    #[command(flatten)]
    args: Args,
}

#[test]
fn steps_are_chosen_by_name() {
    let line = CommandLine::parse_from(["x", "--only", "nested", "--only", "fmt"]);
    assert_eq!(line.args.only, [Step::Nested, Step::Fmt]);
    assert!(CommandLine::try_parse_from(["x", "--only", "everything"]).is_err());
}

#[test]
fn fuzzing_for_ever_is_refused() {
    // libFuzzer takes 0 for no limit.
    assert!(CommandLine::try_parse_from(["x", "--fuzz-s", "0"]).is_err());
    assert!(CommandLine::try_parse_from(["x", "--fuzz-s", "1"]).is_ok());
}
