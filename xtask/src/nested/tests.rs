use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct CommandLine {
    #[command(flatten)]
    args: Args,
}

#[test]
fn everything_after_the_dashes_belongs_to_the_command() {
    let line = CommandLine::parse_from([
        "x", "--rw", "/a", "--rw", "/b", "--icount", "--", "ls", "--rw", "-l",
    ]);
    assert_eq!(line.args.rw, [PathBuf::from("/a"), PathBuf::from("/b")]);
    assert_eq!(line.args.command, ["ls", "--rw", "-l"]);
    assert!(line.args.icount);
    assert!(CommandLine::try_parse_from(["x", "--"]).is_err());
}

#[test]
fn only_whole_flags_count_as_hardware_virtualisation() {
    assert!(has_hardware_virtualisation("flags\t\t: fpu svm sse\n"));
    assert!(has_hardware_virtualisation("flags\t\t: vmx\n"));
    assert!(!has_hardware_virtualisation(
        "flags\t\t: fpu svm_lock\nmodel name: vmx\n"
    ));
}
