use super::*;

fn life(text: &str) -> Option<Duration> {
    let asked = Instant::now();
    let token = parse(text.as_bytes(), asked)?;
    assert_eq!(token.authorization.reveal(), "Bearer t");
    assert!(!format!("{token:?}").contains("Bearer"));
    Some(token.until - asked)
}

#[test]
fn tokens_are_renewed_before_their_end() {
    for (text, seconds) in [
        (r#"{"token":"t"}"#, 50),
        (r#"{"access_token":"t","expires_in":300}"#, 290),
        (r#"{"token":"t","access_token":"u","expires_in":10}"#, 5),
        (r#"{"token":"","access_token":"t","expires_in":0}"#, 0),
        (r#"{"token":"t","expires_in":18446744073709551615}"#, 86_390),
    ] {
        assert_eq!(life(text), Some(Duration::from_secs(seconds)), "{text}");
    }
    for text in [
        "{}",
        r#"{"token":""}"#,
        r#"{"token":"a b"}"#,
        r#"{"token":"t","expires_in":-1}"#,
        "t",
    ] {
        assert_eq!(life(text), None, "{text}");
    }
}
