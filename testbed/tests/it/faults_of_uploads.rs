//! Each fault of what is written, as a client and the registry see it.

use testbed::Fault;

use crate::client::{Client, ask, begin_upload};
use crate::front::{Bed, digest};

/// Gives the fault to requests by `method`.
fn plan(bed: &Bed, method: &'static str, fault: Fault) {
    bed.front
        .set_plan(move |_, seen| (seen.method == method).then(|| fault.clone()));
}

/// How many bytes have arrived of uploads that are not finished.
fn arrived(bed: &Bed) -> Vec<u64> {
    bed.registry.unfinished_uploads("some/blobs").unwrap()
}

#[test]
fn a_dropped_patch_happened_or_did_not() {
    let bed = Bed::new();
    for (fault, all) in [(Fault::DropBefore, 0), (Fault::DropAfter, 10)] {
        let target = begin_upload(bed.front.host(), "some/blobs");
        plan(&bed, "PATCH", fault);
        let start = format!("PATCH {target}");
        assert!(ask(bed.front.host(), &start, &[], &[1; 10]).is_err());
        assert_eq!(arrived(&bed).into_iter().sum::<u64>(), all);
    }
}

#[test]
fn a_put_with_a_lost_answer_made_the_blob() {
    let bed = Bed::new();
    for (number, fault) in [Fault::DropAfter, Fault::ServerError(502)]
        .into_iter()
        .enumerate()
    {
        let blob = format!("blob {number}").into_bytes();
        let target = begin_upload(bed.front.host(), "some/blobs");
        plan(&bed, "PUT", fault.clone());
        let start = format!("PUT {target}&digest={}", digest(&blob));
        let answer = ask(bed.front.host(), &start, &[], &blob);
        assert_eq!(answer.is_err(), fault == Fault::DropAfter);
        let head = format!("HEAD /v2/some/blobs/blobs/{}", digest(&blob));
        assert_eq!(
            ask(bed.registry.host(), &head, &[], b"").unwrap().status,
            200
        );
    }
}

#[test]
fn a_request_is_cut_on_its_way() {
    let bed = Bed::new();
    let target = begin_upload(bed.front.host(), "some/blobs");
    plan(&bed, "PATCH", Fault::CutRequest(70_000));
    let start = format!("PATCH {target}");
    assert!(ask(bed.front.host(), &start, &[], &bed.blob).is_err());
    let seen = bed.front.log().pop().unwrap();
    assert_eq!((seen.from_client, seen.status), (70_000, None));
}

#[test]
fn what_arrived_is_lied_about() {
    let bed = Bed::new();
    let target = begin_upload(bed.front.host(), "some/blobs");
    plan(&bed, "PATCH", Fault::WrongUploadRange);
    let start = format!("PATCH {target}");
    let answer = ask(bed.front.host(), &start, &[], &[1; 101]).unwrap();
    assert_eq!((answer.status, answer.field("range")), (202, Some("0-50")));
    assert_eq!(arrived(&bed), [101]);
}

#[test]
fn patches_are_created_or_not_allowed() {
    let bed = Bed::new();
    let target = begin_upload(bed.front.host(), "some/blobs");
    let start = format!("PATCH {target}");
    plan(&bed, "PATCH", Fault::NoPatch);
    assert_eq!(
        ask(bed.front.host(), &start, &[], b"x").unwrap().status,
        405
    );
    plan(&bed, "PATCH", Fault::Patch201);
    let answer = ask(bed.front.host(), &start, &[], b"x").unwrap();
    assert_eq!(answer.status, 201);
    let ours = format!("http://{}/v2/", bed.front.host());
    assert!(answer.field("location").unwrap().starts_with(&ours));
}

#[test]
fn a_mount_becomes_an_upload() {
    let bed = Bed::new();
    let start = format!(
        "POST /v2/other/blobs/uploads/?mount={}&from=some/blobs",
        bed.digest
    );
    plan(&bed, "POST", Fault::NoMount);
    let answer = ask(bed.front.host(), &start, &[], b"").unwrap();
    assert_eq!(answer.status, 202);
    assert_eq!(bed.registry.unfinished_uploads("other").unwrap(), [0]);
    bed.front.clear_plan();
    let answer = ask(bed.front.host(), &start, &[], b"").unwrap();
    assert_eq!(answer.status, 201);
    let mounted = bed.registry.repository_blobs("other").unwrap();
    assert_eq!(mounted, std::slice::from_ref(&bed.digest));
}

#[test]
fn a_client_that_waits_for_leave_is_refused_without_its_body() {
    let bed = Bed::new();
    let target = begin_upload(bed.front.host(), "some/blobs");
    plan(&bed, "PATCH", Fault::TooManyRequests { retry_after_s: 1 });
    let mut client = Client::connect(bed.front.host()).unwrap();
    let fields = ["Expect: 100-continue", "Transfer-Encoding: chunked"];
    client
        .send(&format!("PATCH {target}"), &fields, b"")
        .unwrap();
    assert_eq!(client.answer(false).unwrap().status, 429);
    // The same without waiting: the body is read, and the connection lasts.
    let mut client = Client::connect(bed.front.host()).unwrap();
    let patch = format!("PATCH {target}");
    assert_eq!(client.ask(&patch, &[], &bed.blob).unwrap().status, 429);
    bed.front.clear_plan();
    assert_eq!(client.ask(&patch, &[], &bed.blob).unwrap().status, 202);
}

#[test]
fn a_registry_that_refuses_early_is_heard() {
    use testbed::{Auth, Front, Options, Registry};
    let registry = Registry::start(&Options {
        auth: Auth::Password,
        ..Options::default()
    });
    let registry = registry.unwrap();
    let front = Front::start(registry.host()).unwrap();
    let body = vec![7; 4 << 20];
    let start = "PATCH /v2/some/blobs/blobs/uploads/x";
    let answer = ask(front.host(), start, &[], &body).unwrap();
    assert_eq!(answer.status, 401);
    assert!(answer.field("www-authenticate").is_some());
}
