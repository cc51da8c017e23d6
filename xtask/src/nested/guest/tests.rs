use super::*;

#[test]
fn words_pass_the_shell_unchanged() {
    let words = ["it's", "a b\n$HOME `x` \"y\" \\", ""];
    let script = script(
        std::iter::empty(),
        Path::new("/"),
        &["printf", "%s|", words[0], words[1], words[2]],
    );
    let output = std::process::Command::new("sh")
        .arg("-c")
        .arg(OsStr::from_bytes(&script))
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("{}|{}|{}|", words[0], words[1], words[2])
    );
}

#[test]
fn environment_arrives_except_names_that_a_shell_refuses() {
    let pairs = [("A_1", "x y"), ("BASH_FUNC_f%%", "() { :; }"), ("1A", "")];
    let environment = pairs
        .iter()
        .map(|(name, value)| (OsStr::new(name), OsStr::new(value)));
    let script = script(environment, Path::new("/tmp"), &["true"]);
    let text = String::from_utf8(script).unwrap();
    assert!(text.contains("export A_1='x y'\n"));
    assert!(!text.contains("BASH_FUNC") && !text.contains("1A="));
    assert!(text.ends_with("cd '/tmp' || exit 126\nexec 'true'\n"));
}
