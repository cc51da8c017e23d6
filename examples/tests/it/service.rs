//! What the service answers without any machine.

use serde_json::json;

use super::async_service::Service;

#[test]
fn requests_that_can_not_be_met_are_told_why() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(&folder.path().join("store"), &[]);
    assert_eq!(service.send("GET", "/sessions", ""), (200, json!([])));
    let expected = [
        ("POST", "/sessions/none/exec", r#"{"argv":["true"]}"#, 404),
        ("POST", "/sessions/none/shutdown", "", 404),
        ("POST", "/sessions/none/resume", "", 404),
        ("DELETE", "/sessions/none", "", 404),
        (
            "POST",
            "/sessions",
            r#"{"image":"oci:/nowhere","id":"../x"}"#,
            400,
        ),
        ("POST", "/sessions", r#"{"image":"what?"}"#, 400),
        (
            "POST",
            "/sessions",
            r#"{"image":"oci:/x","memory_mib":1}"#,
            400,
        ),
    ];
    for (method, path, body, status) in expected {
        let (found, answer) = service.send(method, path, body);
        assert_eq!(found, status, "{method} {path}: {answer}");
        let error = answer["error"].as_str().unwrap();
        assert!(!error.is_empty(), "{method} {path}");
    }
    // What the framework refuses.
    for (method, path, body, status) in [
        ("POST", "/sessions", "no JSON", 400),
        (
            "POST",
            "/sessions",
            r#"{"image":"oci:/x","root":true}"#,
            422,
        ),
        ("PUT", "/sessions", "", 405),
        ("GET", "/elsewhere", "", 404),
    ] {
        assert_eq!(
            service.send(method, path, body).0,
            status,
            "{method} {path}"
        );
    }
    assert_eq!(service.stop(), (String::new(), true));
}
