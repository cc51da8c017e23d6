//! Sessions over HTTP, on real guests.

use serde_json::json;

use super::async_service::Service;
use super::playground::{Bed, env};

fn start(bed: &Bed) -> Service {
    let options = [
        "--kernel".to_owned(),
        env("VM_TEST_KERNEL"),
        "--modules".to_owned(),
        env("VM_TEST_MODULES"),
    ];
    Service::start(&bed.path("store"), &options)
}

#[test]
fn a_session_lives_over_http_and_outlives_its_service() {
    let bed = Bed::empty();
    let service = start(&bed);
    let image = env("VM_TEST_BUSYBOX_IMAGE");
    let new = json!({ "image": image, "id": "lab", "memory_mib": 256 }).to_string();
    let running = json!({ "id": "lab", "state": "running" });
    assert_eq!(
        service.send("POST", "/sessions", &new),
        (201, running.clone())
    );
    assert_eq!(service.send("POST", "/sessions", &new).0, 409);
    assert_eq!(service.send("POST", "/sessions/lab/resume", "").0, 409);
    let exec = |service: &Service, script: &str| {
        let body = json!({ "argv": ["sh", "-c", script] }).to_string();
        service.send("POST", "/sessions/lab/exec", &body)
    };
    let (status, output) = exec(&service, "echo hi > /note; echo out; echo err >&2; exit 3");
    assert_eq!(
        (status, &output["stdout"], &output["stderr"]),
        (200, &json!("out\n"), &json!("err\n"))
    );
    assert!(output["status"].as_str().unwrap().contains('3'), "{output}");
    assert_eq!(
        service
            .send("POST", "/sessions/lab/exec", r#"{"argv":[]}"#)
            .0,
        400
    );
    assert_eq!(
        service
            .send("POST", "/sessions/lab/exec", r#"{"argv":["/none"]}"#)
            .0,
        422
    );

    let (status, stopped) = service.send("POST", "/sessions/lab/shutdown", "");
    assert_eq!(status, 200, "{stopped}");
    assert!(stopped["snapshot"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(exec(&service, "true").0, 409);
    let listed = json!([{ "id": "lab", "state": "stopped" }]);
    assert_eq!(service.send("GET", "/sessions", ""), (200, listed.clone()));
    assert_eq!(
        service.send("POST", "/sessions/lab/resume", ""),
        (200, running)
    );

    // A service that stops leaves nothing that runs, and nothing that is lost.
    let (said, ended_well) = service.stop();
    assert!(ended_well && said.starts_with("lab is sha256:"), "{said}");
    let service = start(&bed);
    assert_eq!(service.send("GET", "/sessions", ""), (200, listed));
    assert_eq!(service.send("POST", "/sessions/lab/resume", "").0, 200);
    assert_eq!(exec(&service, "cat /note").1["stdout"], "hi\n");
    assert_eq!(service.send("DELETE", "/sessions/lab", "").0, 204);
    assert_eq!(service.send("GET", "/sessions", ""), (200, json!([])));
    assert_eq!(service.stop(), (String::new(), true));
}
