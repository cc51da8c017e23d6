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
    let used = Storage::look(&store).unwrap().bytes_of_label("team", "a");
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

#[test]
fn no_image_is_imported_for_a_session_that_is_refused() {
    let (folder, _, _) = store_with_image();
    let empty = Store::open(folder.path().join("empty")).unwrap();
    let image = format!("oci:{}", folder.path().join("image").display());
    let full = Quotas {
        host_reserve: u64::MAX,
        ..Quotas::default()
    };
    let none = Quotas {
        sessions: Some(0),
        ..Quotas::default()
    };
    for quotas in [full, none] {
        let store = empty.clone().with_quotas(quotas);
        let kernel = crate::Kernel::recorded("/dev/null".into(), None);
        let builder = Session::from_image(&store, &image).kernel(kernel);
        let error = builder.create().wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Quota, "{error}");
        assert_eq!(store.inner().usage().unwrap().blob_bytes, 0);
    }
}

#[test]
fn no_more_sessions_than_allowed_are_made_at_once() {
    let (_folder, store, image) = store_with_image();
    let quotas = Quotas {
        sessions: Some(2),
        ..Quotas::default()
    };
    let store = store.with_quotas(quotas);
    let create = || {
        let kernel = crate::Kernel::recorded("/dev/null".into(), None);
        let builder = Session::from_snapshot(&store, image).kernel(kernel);
        builder.create()
    };
    let made: Vec<_> = (0..8).map(|_| create()).collect();
    let made = made.into_iter().filter_map(|op| match op.wait() {
        Ok(_) => Some(()),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Quota, "{error}");
            None
        }
    });
    assert_eq!(made.count(), 2);
    assert_eq!(store.sessions().unwrap().len(), 2);
}
