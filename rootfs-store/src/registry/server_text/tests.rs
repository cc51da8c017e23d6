use super::*;

#[test]
fn codes_and_messages_are_told() {
    let text = failure_text(br#"{"errors":[{"code":"DENIED","message":"no"},{"code":"X"}]}"#);
    assert_eq!(text, ": DENIED no; X");
}

#[test]
fn other_bodies_tell_nothing() {
    for body in [
        "",
        "<html>",
        "{}",
        r#"{"errors":[]}"#,
        r#"{"errors":[{}]}"#,
        r#"{"errors":1}"#,
    ] {
        assert_eq!(failure_text(body.as_bytes()), "", "{body}");
    }
}

#[test]
fn long_texts_and_control_characters_are_not_shown() {
    let message = format!("\\u001b[31m{}", "é".repeat(1000));
    let body = format!(r#"{{"errors":[{{"code":"C","message":"{message}"}}]}}"#);
    let text = failure_text(body.as_bytes());
    assert!(text.starts_with(": C \u{fffd}[31mé"), "{text}");
    assert!(text.len() < 220);
}
