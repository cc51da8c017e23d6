//! Images that are imported from registries.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rootfs_store::{
    Credential, Credentials, ImageReference, ImportOptions, Progress, RegistryOptions, Secret,
    Stage, Store,
};
use testbed::{Auth, Fault, Front, Options, TokenRules};

use super::{Bed, chain, docker, is_empty, skopeo};
use crate::sample_image::{self, Sample};

pub(super) fn sample(bed: &Bed, compression: &str) -> ImageReference {
    let sample = Sample {
        compression,
        ..Sample::default()
    };
    sample_image::write(&bed.path(compression), &sample)
}

/// Imports from the layout and from the registry give the same snapshot.
fn assert_same_import(bed: &Bed, store: &Store, local: &ImageReference, name: &str) {
    let options = ImportOptions::default();
    let reference = docker(bed.registry.host(), name);
    let pulled = store.import(&reference, &options, &()).unwrap();
    assert!(is_empty(&store.dir().join("downloads")));
    let beside = Store::open(bed.path("beside")).unwrap();
    let imported = beside.import(local, &options, &()).unwrap();
    assert_eq!(pulled.snapshot, imported.snapshot);
    assert!(store.verify(&()).unwrap().faults.is_empty());
    let again = store.import(&reference, &options, &()).unwrap();
    assert_eq!((again.snapshot, again.stored_bytes), (pulled.snapshot, 0));
}

#[test]
fn image_of_a_registry_is_the_one_of_its_layout_by_any_login() {
    for (tls, auth) in [
        (false, Auth::None),
        (true, Auth::None),
        (true, Auth::Password),
        (false, Auth::Token(TokenRules::default())),
        (true, Auth::Token(TokenRules::default())),
    ] {
        let bed = Bed::new(&Options {
            tls,
            auth,
            ..Options::default()
        });
        for compression in ["tar", "tar+gzip", "tar+zstd"] {
            let local = sample(&bed, compression);
            let name = format!("labs/{}:v1", compression.replace('+', "-"));
            bed.upload(&local, &name);
            let store = bed.store(compression, &[]);
            assert_same_import(&bed, &store, &local, &name);
        }
    }
}

#[test]
fn image_is_found_by_tag_by_digest_and_through_a_mirror() {
    let bed = Bed::plain();
    let local = sample(&bed, "tar+gzip");
    bed.upload(&local, "labs/app:v1");
    let store = bed.store("store", &[]);
    let by_tag = store
        .import(
            &docker(bed.registry.host(), "labs/app:v1"),
            &ImportOptions::default(),
            &(),
        )
        .unwrap();
    let image = store.snapshot(&by_tag.snapshot).unwrap().image.unwrap();
    let by_digest = docker(bed.registry.host(), &format!("labs/app@{image}"));
    let by_digest = store.import(&by_digest, &ImportOptions::default(), &());
    assert_eq!(by_digest.unwrap().snapshot, by_tag.snapshot);
    let mut options = bed.options();
    let mirrors = vec![bed.registry.host().to_owned()];
    options
        .mirrors
        .insert("registry.invalid".to_owned(), mirrors);
    let mirrored = bed.store_with("mirrored", options);
    let reference = docker("registry.invalid", "labs/app:v1");
    let found = mirrored.import(&reference, &ImportOptions::default(), &());
    assert_eq!(found.unwrap().snapshot, by_tag.snapshot);
}

#[test]
fn wrong_credentials_are_an_error_that_does_not_show_them() {
    let bed = Bed::new(&Options {
        tls: true,
        auth: Auth::Password,
        ..Options::default()
    });
    let host = bed.registry.host().to_owned();
    let mut options = bed.options();
    let password = Secret::new("hunter-in-the-rye");
    let credential = Credential::Password {
        username: "tester".to_owned(),
        password,
    };
    options.credentials = Credentials::Explicit([(host.clone(), credential)].into());
    assert!(!format!("{options:?}").contains("hunter"));
    let store = bed.store_with("store", options);
    let error = store.import(&docker(&host, "labs/app"), &ImportOptions::default(), &());
    let text = chain(&error.unwrap_err());
    assert!(
        text.contains(&host) && text.contains("docker login"),
        "{text}"
    );
    assert!(!text.contains("hunter"), "{text}");
}

#[test]
fn registry_that_is_not_trusted_or_not_there_is_named() {
    let bed = Bed::new(&Options {
        tls: true,
        ..Options::default()
    });
    let mut options = RegistryOptions::default();
    options.retry.attempts = 1;
    let store = bed.store_with("store", options);
    for host in [bed.registry.host(), "localhost:1"] {
        let error = store.import(&docker(host, "labs/app"), &ImportOptions::default(), &());
        let text = chain(&error.unwrap_err());
        assert!(text.contains(host), "{text}");
    }
}

#[test]
fn image_of_the_right_platform_is_taken_from_an_index() {
    let bed = Bed::plain();
    let local = sample(&bed, "tar+gzip");
    bed.upload(&local, "labs/app:v1");
    let store = bed.store("store", &[]);
    let options = ImportOptions {
        platform: "linux/arm64".parse().unwrap(),
        ..ImportOptions::default()
    };
    let error = store.import(&docker(bed.registry.host(), "labs/app:v1"), &options, &());
    let text = chain(&error.unwrap_err());
    assert!(text.contains("linux/arm64"), "{text}");
}

/// Every fault at every request that an import makes: it comes through, or fails in words, and works the second time.
#[test]
fn import_survives_any_fault_at_any_request() {
    let bed = Bed::plain();
    let local = sample(&bed, "tar+gzip");
    bed.upload(&local, "labs/app:v1");
    let expected = Store::open(bed.path("expected")).unwrap();
    let expected = expected
        .import(&local, &ImportOptions::default(), &())
        .unwrap();
    let front = Front::start(bed.registry.host()).unwrap();
    let reference = docker(front.host(), "labs/app:v1");
    let count = {
        let store = bed.store("count", &[front.host()]);
        store
            .import(&reference, &ImportOptions::default(), &())
            .unwrap();
        front.log().len() as u64
    };
    assert!(count >= 4, "{:?}", front.log());
    let faults = [
        Fault::DropBefore,
        Fault::DropAfter,
        Fault::TruncateBody(100),
        Fault::CorruptBody(10),
        Fault::Status(404),
        Fault::ServerError(500),
        Fault::Status(503),
        Fault::TooManyRequests { retry_after_s: 0 },
        Fault::Unauthorized,
        Fault::LyingLength(-1),
        Fault::LyingLength(1),
        Fault::WrongDigest,
        Fault::RedirectTo("http://127.0.0.1:1/".to_owned()),
    ];
    for (number, fault) in faults.iter().enumerate() {
        for at in 0..count {
            front.clear_log();
            let bad = fault.clone();
            let begun = AtomicU64::new(0);
            front.set_plan(move |_, _| {
                (begun.fetch_add(1, Ordering::Relaxed) == at).then(|| bad.clone())
            });
            let store = bed.store(&format!("store-{number}-{at}"), &[front.host()]);
            let imported = store.import(&reference, &ImportOptions::default(), &());
            let imported = imported.unwrap_or_else(|error| {
                assert!(chain(&error).contains(front.host()), "{}", chain(&error));
                front.clear_plan();
                let again = store.import(&reference, &ImportOptions::default(), &());
                again.unwrap_or_else(|error| panic!("{fault:?} at {at}: {}", chain(&error)))
            });
            assert_eq!(imported.snapshot, expected.snapshot, "{fault:?} at {at}");
            assert!(is_empty(&store.dir().join("downloads")));
            fs::remove_dir_all(store.dir()).unwrap();
        }
    }
}

/// What came of a layer before the registry was gone is not fetched again.
#[test]
fn second_try_goes_on_where_the_first_ended() {
    let bed = Bed::plain();
    let local = sample(&bed, "tar");
    bed.upload(&local, "labs/app:v1");
    let front = Front::start(bed.registry.host()).unwrap();
    let reference = docker(front.host(), "labs/app:v1");
    let mut options = bed.options();
    options.plain_http.insert(front.host().to_owned());
    options.retry.attempts = 1;
    let store = bed.store_with("store", options);
    let cut = 200_000;
    front.set_plan(move |_, seen| {
        let is_large = seen.method == "GET" && seen.is_blob();
        is_large.then_some(Fault::TruncateBody(cut))
    });
    store
        .import(&reference, &ImportOptions::default(), &())
        .unwrap_err();
    front.clear_plan();
    front.clear_log();
    store
        .import(&reference, &ImportOptions::default(), &())
        .unwrap();
    let ranges: Vec<_> = front
        .log()
        .into_iter()
        .filter_map(|seen| seen.range)
        .collect();
    assert!(
        ranges
            .iter()
            .any(|range| range.starts_with("bytes=200000-")),
        "{ranges:?}"
    );
    assert!(is_empty(&store.dir().join("downloads")));
}

/// The digest of the last layer of the only image in a layout.
pub(super) fn last_layer(layout: &Path) -> String {
    let index = fs::read_to_string(layout.join("index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    let manifest = fs::read_to_string(layout.join("blobs/sha256").join(&digest[7..])).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    layers.last().unwrap()["digest"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// The first layer is applied before the last one has begun to come.
#[test]
fn import_starts_before_the_last_layer_is_in() {
    /// When most of the first layer was read.
    #[derive(Default)]
    struct Early(OnceLock<Instant>);
    impl Progress for Early {
        fn advance(&self, stage: Stage, done: u64, _total: u64) {
            if stage == Stage::Layers && done > 300_000 {
                self.0.get_or_init(Instant::now);
            }
        }
    }
    let bed = Bed::plain();
    let local = sample(&bed, "tar");
    bed.upload(&local, "labs/app:v1");
    let front = Front::start(bed.registry.host()).unwrap();
    let reference = docker(front.host(), "labs/app:v1");
    let store = bed.store("store", &[front.host()]);
    let last = last_layer(&bed.path("tar"));
    front.set_plan(move |_, request| {
        let is_last = request.method == "GET" && request.path.ends_with(&last);
        is_last.then_some(Fault::Stall(Duration::from_secs(3)))
    });
    let (begun, early) = (Instant::now(), Early::default());
    store
        .import(&reference, &ImportOptions::default(), &early)
        .unwrap();
    let ended = begun.elapsed();
    let early = early.0.get().unwrap().duration_since(begun);
    assert!(
        ended > Duration::from_secs(3) && early < Duration::from_secs(3),
        "{early:?}"
    );
}

#[test]
fn image_that_a_tool_copies_to_another_repository_is_the_same() {
    let bed = Bed::plain();
    let local = sample(&bed, "tar+gzip");
    bed.upload(&local, "labs/app:v1");
    let host = bed.registry.host().to_owned();
    let (from, to) = (
        format!("docker://{host}/labs/app:v1"),
        format!("docker://{host}/other/app:v2"),
    );
    skopeo(&bed.registry, &["copy", &from, &to]);
    let store = bed.store("store", &[]);
    assert_same_import(&bed, &store, &local, "other/app:v2");
}
