use std::collections::BTreeMap;

use super::*;
use crate::ErrorKind;
use crate::about::About;
use crate::session::Session;
use crate::testing::store_with_image;

#[test]
fn a_session_too_many_is_refused_and_leaves_nothing() {
    let (_folder, store, image) = store_with_image();
    let quotas = Quotas {
        sessions: Some(2),
        ..Quotas::default()
    };
    let store = store.with_quotas(quotas);
    let create = |id: &str| {
        let kernel = crate::Kernel::recorded("/dev/null".into(), None);
        let builder = Session::from_snapshot(&store, image).id(id);
        builder.kernel(kernel).create().wait()
    };
    create("a").unwrap();
    create("b").unwrap();
    let error = create("c").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Quota, "{error}");
    assert_eq!(store.sessions().unwrap().len(), 2);
    store.remove_session("a").unwrap();
    create("c").unwrap();
}

#[test]
fn a_value_of_a_label_takes_what_its_sessions_take() {
    let (_folder, store, image) = store_with_image();
    let labels = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
    let about = About {
        labels: labels.clone(),
        ..About::default()
    };
    let kernel = crate::Kernel::recorded("/dev/null".into(), None);
    let builder = Session::from_snapshot(&store, image).kernel(kernel);
    builder.about(about).create().wait().unwrap();
    let used = store.storage_of_label("team").unwrap()["a"];
    assert!(used > 0);
    let with = |limit| {
        store.clone().with_quotas(Quotas {
            bytes_per_label: BTreeMap::from([("team".to_owned(), limit)]),
            ..Quotas::default()
        })
    };
    check_start(&with(used + 1), &labels).unwrap();
    let error = check_start(&with(used), &labels).unwrap_err();
    assert!(error.to_string().contains("team=a"), "{error}");
    let other = BTreeMap::from([("team".to_owned(), "b".to_owned())]);
    check_start(&with(used), &other).unwrap();
}

#[test]
fn nothing_starts_on_a_full_host() {
    let (_folder, store, _) = store_with_image();
    let store = store.with_quotas(Quotas {
        host_reserve: u64::MAX,
        ..Quotas::default()
    });
    let error = check_start(&store, &BTreeMap::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Quota, "{error}");
}
