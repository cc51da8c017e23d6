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
