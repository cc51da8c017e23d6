//! Snapshots' files as images in registries.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use rootfs_store::{
    ImageReference, ImportOptions, Progress, PublishError, PublishOptions, PublishedImage,
    SnapshotDigest, Stage, Store,
};
use testbed::{Fault, Front, Options, Registry};

use super::{Bed, chain, docker, reference, skopeo};
use crate::sample_image::{self, Sample};

/// An imported image, and a snapshot of it with other content in one file.
fn changed(bed: &Bed, store: &Store, image: &ImageReference) -> SnapshotDigest {
    let options = ImportOptions {
        disk_bytes: Some(64 << 20),
        ..ImportOptions::default()
    };
    let base = store.import(image, &options, &()).unwrap();
    store.set_name("base", &base.snapshot).unwrap();
    let raw = bed.path("raw");
    drop(fs::remove_file(&raw));
    store.export(&base.snapshot, &raw, &()).unwrap();
    let note = bed.path("new-note");
    fs::write(&note, "changed").unwrap();
    let script = format!(
        "rm /etc/note\nwrite {} /etc/note\nmkdir /new",
        note.display()
    );
    let script_file = bed.path("script");
    fs::write(&script_file, script).unwrap();
    let run = Command::new("debugfs")
        .args(["-w", "-f"])
        .args([&script_file, &raw])
        .output()
        .unwrap();
    assert!(run.status.success(), "{run:?}");
    let bytes = fs::read(&raw).unwrap();
    let disk = store.create_disk("d", &base.snapshot).unwrap();
    let before = bed.path("before");
    drop(fs::remove_file(&before));
    store.export(&base.snapshot, &before, &()).unwrap();
    let old = fs::read(&before).unwrap();
    for (number, (new, old)) in bytes.chunks(4096).zip(old.chunks(4096)).enumerate() {
        if new != old {
            disk.write_at(new, number as u64 * 4096).unwrap();
        }
    }
    let committed = store.commit(&disk, &()).unwrap();
    store.set_name("changed", &committed.snapshot).unwrap();
    committed.snapshot
}

/// What umoci unpacks of an image in a registry: the content of `/etc/note`, and whether there is `/new`.
fn unpacked(bed: &Bed, host: &str, name: &str) -> (String, bool) {
    let (layout, bundle) = (bed.path("copied"), bed.path("bundle"));
    for dir in [&layout, &bundle] {
        drop(fs::remove_dir_all(dir));
    }
    let (from, to) = (
        format!("docker://{host}/{name}"),
        format!("oci:{}:t", layout.display()),
    );
    skopeo(&bed.registry, &["copy", &from, &to]);
    unpack(&layout, &bundle)
}

/// The same, of an image in a layout.
fn unpack(layout: &Path, bundle: &Path) -> (String, bool) {
    let image = format!("{}:t", layout.display());
    let run = Command::new("umoci")
        .args(["unpack", "--rootless", "--image", &image])
        .arg(bundle)
        .output()
        .unwrap();
    assert!(run.status.success(), "{run:?}");
    let root = bundle.join("rootfs");
    let note = fs::read_to_string(root.join("etc/note")).unwrap();
    (note, root.join("new").is_dir())
}

fn publish(store: &Store, snapshot: &SnapshotDigest, to: (&str, &str), base: bool) -> usize {
    let base = base.then(|| store.base_of(snapshot).unwrap());
    let options = PublishOptions {
        base,
        ..PublishOptions::default()
    };
    let to = reference(to.0, to.1);
    let published = store.publish(snapshot, &to, &options, &()).unwrap();
    published.layers
}

#[test]
fn playground_becomes_an_image_in_the_registry_that_it_came_from() {
    let bed = Bed::plain();
    let (front, store, snapshot) = changed_behind_a_front(&bed);
    front.clear_log();
    assert_eq!(
        publish(&store, &snapshot, (front.host(), "mine/app:v1"), true),
        3
    );
    // The layers of the base did not come here, and did not go there.
    let log = front.log();
    let (sent, got) = log.iter().fold((0, 0), |(sent, got), seen| {
        (sent + seen.from_client, got + seen.to_client)
    });
    assert!(sent < 20_000 && got < 20_000, "{sent} {got}");
    let host = bed.registry.host();
    assert_eq!(
        unpacked(&bed, host, "mine/app:v1"),
        ("changed".to_owned(), true)
    );
    assert_eq!(
        publish(
            &store,
            &snapshot,
            (front.host(), "mine/app:squashed"),
            false
        ),
        1
    );
    assert_eq!(
        unpacked(&bed, host, "mine/app:squashed"),
        ("changed".to_owned(), true)
    );
    // It is an image as any other.
    let again = store.import(
        &docker(front.host(), "mine/app:v1"),
        &ImportOptions::default(),
        &(),
    );
    again.unwrap();
    assert!(store.verify(&()).unwrap().faults.is_empty());
}

#[test]
fn playground_becomes_an_image_in_another_registry() {
    let bed = Bed::plain();
    let beside = Registry::start(&Options::default()).unwrap();
    let image = sample_image::write(&bed.path("image"), &Sample::default());
    bed.upload(&image, "labs/base:v1");
    let store = bed.store("store", &[beside.host()]);
    let snapshot = changed(&bed, &store, &docker(bed.registry.host(), "labs/base:v1"));
    assert_eq!(
        publish(&store, &snapshot, (beside.host(), "mine/app:v1"), true),
        3
    );
    assert_eq!(
        unpacked(&bed, beside.host(), "mine/app:v1"),
        ("changed".to_owned(), true)
    );
}

#[test]
fn base_in_a_folder_has_to_be_named() {
    let bed = Bed::plain();
    let image = sample_image::write(&bed.path("image"), &Sample::default());
    let store = bed.store("store", &[]);
    let snapshot = changed(&bed, &store, &image);
    let error = store.base_of(&snapshot).unwrap_err();
    assert!(
        matches!(error, PublishError::NoBase { .. }),
        "{}",
        chain(&error)
    );
    let options = PublishOptions {
        base: Some(image),
        ..PublishOptions::default()
    };
    let to = reference(bed.registry.host(), "mine/app:v1");
    let published = store.publish(&snapshot, &to, &options, &()).unwrap();
    assert_eq!(published.layers, 3);
    assert_eq!(
        unpacked(&bed, bed.registry.host(), "mine/app:v1"),
        ("changed".to_owned(), true)
    );
}

/// The last that was told of what is fetched.
#[derive(Default)]
struct Fetched(Mutex<(u64, u64)>);

impl Progress for Fetched {
    fn advance(&self, stage: Stage, done: u64, total: u64) {
        if stage == Stage::Fetch {
            let mut last = self.0.lock().unwrap();
            assert!(last.0 <= done && done <= total, "{last:?} {done} {total}");
            *last = (done, total);
        }
    }
}

/// Publishes to a layout, upon the image that the snapshot came from.
fn to_layout(
    store: &Store,
    snapshot: &SnapshotDigest,
    dir: &Path,
) -> Result<(PublishedImage, (u64, u64)), PublishError> {
    let options = PublishOptions {
        base: Some(store.base_of(snapshot).unwrap()),
        ..PublishOptions::default()
    };
    let progress = Fetched::default();
    let published = store.publish_to_layout(snapshot, dir, "t", &options, &progress)?;
    Ok((published, progress.0.into_inner().unwrap()))
}

/// A front before the registry, and a store with a changed snapshot of an image that came through it.
fn changed_behind_a_front(bed: &Bed) -> (Front, Store, SnapshotDigest) {
    let front = Front::start(bed.registry.host()).unwrap();
    let image = sample_image::write(&bed.path("image"), &Sample::default());
    bed.upload(&image, "labs/base:v1");
    let store = bed.store("store", &[front.host()]);
    let snapshot = changed(bed, &store, &docker(front.host(), "labs/base:v1"));
    (front, store, snapshot)
}

/// Does this to so many requests for layers. The first blob that an image is asked for is its config.
fn in_layers(front: &Front, count: u32, fault: Fault) {
    let mut blobs = 0;
    front.set_plan(move |_, seen| {
        blobs += u32::from(seen.is_blob() && seen.method == "GET");
        (seen.is_blob() && (2..2 + count).contains(&blobs)).then(|| fault.clone())
    });
}

#[test]
fn playground_from_a_registry_becomes_an_image_in_a_folder() {
    let bed = Bed::plain();
    let (front, store, snapshot) = changed_behind_a_front(&bed);
    let layout = bed.path("layout");
    // A connection that breaks in a layer is no reason to begin anew.
    front.clear_log();
    in_layers(&front, 1, Fault::TruncateBody(10));
    let (published, (done, total)) = to_layout(&store, &snapshot, &layout).unwrap();
    assert_eq!(published.layers, 3);
    assert!(done == total && total > 0, "{done} of {total}");
    let expected = ("changed".to_owned(), true);
    assert_eq!(unpack(&layout, &bed.path("unpacked")), expected);
    // What is there is not fetched again.
    front.clear_log();
    let (again, _) = to_layout(&store, &snapshot, &layout).unwrap();
    assert_eq!(again, published);
    let fetched: u64 = front.log().iter().map(|seen| seen.to_client).sum();
    assert!(fetched < 20_000, "{:?}", front.log());
}

#[test]
fn layer_that_changes_on_its_way_to_a_folder_gets_no_name() {
    let bed = Bed::plain();
    let (front, store, snapshot) = changed_behind_a_front(&bed);
    let layout = bed.path("layout");
    in_layers(&front, 9, Fault::CorruptBody(1000));
    let error = to_layout(&store, &snapshot, &layout).unwrap_err();
    assert!(
        matches!(error, PublishError::LayerDamaged { .. }),
        "{}",
        chain(&error)
    );
    assert!(!layout.join("index.json").exists());
    in_layers(&front, 9, Fault::Status(404));
    let error = to_layout(&store, &snapshot, &layout).unwrap_err();
    let text = chain(&error);
    assert!(matches!(error, PublishError::BaseLayer { .. }), "{text}");
    assert!(text.contains("labs/base"), "{text}");
    front.clear_plan();
    to_layout(&store, &snapshot, &layout).unwrap();
    let expected = ("changed".to_owned(), true);
    assert_eq!(unpack(&layout, &bed.path("unpacked")), expected);
}
