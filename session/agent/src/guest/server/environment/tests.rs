use std::fs;

use super::*;

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}

#[test]
fn later_variables_win_and_defaults_fill_in() {
    let all = build(
        &strings(&["A=1", "B=1=2", "TERM=x"]),
        &strings(&["A=2", "C="]),
        "/home/u",
        false,
    )
    .unwrap();
    let listed: Vec<_> = all
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(
        listed,
        [
            "A=2",
            "B=1=2",
            "C=",
            "HOME=/home/u",
            &format!("PATH={DEFAULT_PATH}"),
            "TERM=x"
        ]
    );
}

#[test]
fn variables_without_a_name_are_refused() {
    for bad in ["A", "=1", ""] {
        assert_eq!(
            build(&[], &strings(&[bad]), "/", false).unwrap_err().kind,
            FailureKind::Invalid
        );
    }
}

#[test]
fn programs_are_found_in_the_order_of_path() {
    let dir = tempfile::tempdir().unwrap();
    for (path, mode) in [
        ("a/tool", 0o644),
        ("b/tool", 0o755),
        ("c/tool", 0o755),
        ("a/only", 0o644),
    ] {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let find = |program| find_program(program, dir.path(), "a:missing:b:c");
    assert_eq!(find("tool").unwrap(), dir.path().join("b/tool"));
    assert_eq!(find("./c/tool").unwrap(), dir.path().join("c/tool"));
    assert_eq!(find("only").unwrap_err().kind, FailureKind::NotExecutable);
    for missing in ["nothing", "./nothing", "", "a/", "/"] {
        assert_eq!(
            find(missing).unwrap_err().kind,
            FailureKind::NotFound,
            "{missing}"
        );
    }
}
