use std::num::NonZeroU64;

use super::*;
use clap::CommandFactory;

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn a_guest_command_keeps_its_own_options() {
    let line = [
        "playground",
        "run",
        "web",
        "--rm",
        "--",
        "ls",
        "--json",
        "-l",
    ];
    let cli = Cli::try_parse_from(line).unwrap();
    let Command::Run(args) = cli.command else {
        panic!("{cli:?}")
    };
    assert!(args.rm && !cli.json);
    assert_eq!(args.work.command, ["ls", "--json", "-l"]);
}

#[test]
fn fill_takes_a_rate_or_none() {
    for (option, expected) in [
        ("--fill", Some(None)),
        ("--fill=4MiB", Some(NonZeroU64::new(4 << 20))),
        ("--rm", None),
    ] {
        let line = ["playground", "run", "web", option, "--", "true"];
        let Command::Run(args) = Cli::try_parse_from(line).unwrap().command else {
            panic!("{option}")
        };
        assert_eq!(args.machine.fill, expected, "{option}");
    }
}

#[test]
fn wrong_usage_is_refused() {
    for line in [
        &["playground"][..],
        &["playground", "run", "web"],
        &["playground", "run", "web", "--vcpus", "many", "--", "true"],
        &["playground", "run", "web", "--fill=0", "--", "true"],
        &[
            "playground",
            "image",
            "import",
            "oci:x",
            "--size",
            "8 parsecs",
        ],
        &["playground", "fork"],
        &["playground", "run", "web", "--hold", "--", "true"],
        &["playground", "run", "web", "--hold", "--tty"],
        &["playground", "run", "web", "--hold", "--copy-out", "/a:b"],
        &["playground", "du", "--sessions", "--label", "a=b"],
        &["playground", "describe", "web", "--pin", "--unpin"],
        &["playground", "resume", "web", "--copy-in", "site"],
        &["playground", "run", "web", "--task", "setup", "--", "true"],
        &[
            "playground",
            "run",
            "web",
            "--network",
            "bridge:br0",
            "--",
            "true",
        ],
        &["playground", "resume", "web", "--forward", "127.0.0.1:0:80"],
        &[
            "playground",
            "resume",
            "web",
            "--max-uptime",
            "1h",
            "--no-max-uptime",
        ],
    ] {
        assert!(Cli::try_parse_from(line).is_err(), "{line:?}");
    }
}
