//! Links, names, refusals, and what else is in a layout.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use rootfs_store::{ImageReference, ImportOptions, PublishError, PublishOptions, Store};
use serde_json::{Value, json};

use super::{World, published, small};
use crate::layer::Layer;
use crate::mount::{as_root, mount, run, unmount, walk};
use crate::oci_layout::{add_blob, add_index, add_manifest, digest, write_index};
use crate::sample_image::largest_blob;

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Files with several names.
fn linked() -> Vec<u8> {
    let mut layer = Layer::new();
    for directory in ["./", "a", "b"] {
        layer.directory(directory);
    }
    for name in ["split", "lost", "more", "moved", "touched"] {
        layer
            .file(&format!("a/{name}"), name.as_bytes())
            .hard_link(&format!("a/{name}2"), &format!("a/{name}"))
            .hard_link(&format!("b/{name}3"), &format!("a/{name}"));
    }
    layer.file("a/two", b"same").file("a/two2", b"same");
    layer.bytes()
}

#[test]
fn names_of_one_file_stay_together_and_others_apart() {
    as_root(
        "publish::corners::names_of_one_file_stay_together_and_others_apart",
        || {
            let world = World::new(&[linked()]);
            let (snapshot, files) = world.change(&world.base, |at| {
                let (a, b) = (at.join("a"), at.join("b"));
                // The same file as before, but no link any more.
                run(Command::new("cp")
                    .arg("-a")
                    .args([a.join("split2"), a.join("copy")]));
                fs::rename(a.join("copy"), a.join("split2")).unwrap();
                fs::remove_file(b.join("lost3")).unwrap();
                fs::hard_link(a.join("more"), b.join("more4")).unwrap();
                fs::rename(a.join("moved"), b.join("moved")).unwrap();
                fs::write(b.join("touched3"), b"new").unwrap();
                // Two files become one.
                fs::remove_file(a.join("two2")).unwrap();
                fs::hard_link(a.join("two"), a.join("two2")).unwrap();
            });
            let image = world.publish(&snapshot, "out", &world.stacked());
            let summary = image.layer.unwrap().summary;
            // Two directories, two whiteouts, three names of each file but the one that only lost one.
            assert_eq!((summary.entries, summary.whiteouts), (18 + 1, 2));
            world.check("out", &files);
            world.publish(&snapshot, "squashed", &PublishOptions::default());
            world.check("squashed", &files);
        },
    );
}

#[test]
fn excluded_paths_stay_as_they_are_in_the_base() {
    as_root(
        "publish::corners::excluded_paths_stay_as_they_are_in_the_base",
        || {
            let world = World::new(&[linked()]);
            let (snapshot, mut files) = world.change(&world.base, |at| {
                fs::remove_file(at.join("a/two")).unwrap();
                fs::create_dir(at.join("cache")).unwrap();
                fs::write(at.join("cache/.wh.name"), b"").unwrap();
            });
            let dir = world.path("out");
            let refused =
                world
                    .store
                    .publish_to_layout(&snapshot, &dir, "t", &world.stacked(), &());
            assert!(
                matches!(&refused, Err(PublishError::ReservedName { path }) if path == "cache/.wh.name"),
                "{refused:?}"
            );
            let options = PublishOptions {
                exclude: vec!["/cache/".to_owned(), "a/two".to_owned()],
                ..world.stacked()
            };
            world.publish(&snapshot, "out", &options);
            let (_, base) = world.change(&world.base, |_| {});
            files.retain(|path, _| !path.starts_with(b"cache"));
            files.insert(b"a/two".to_vec(), base[&b"a/two"[..]].clone());
            world.check("out", &files);
        },
    );
}

#[test]
fn names_without_room_for_a_whiteout_are_refused() {
    as_root(
        "publish::corners::names_without_room_for_a_whiteout_are_refused",
        || {
            let names = [251, 252].map(|len| "n".repeat(len));
            let mut layer = Layer::new();
            for name in &names {
                layer.file(name, b"");
            }
            let world = World::new(&[layer.directory("./").bytes()]);
            for (name, fits) in names.iter().zip([true, false]) {
                let (snapshot, _) = world.change(&world.base, |at| {
                    fs::remove_file(at.join(name)).unwrap();
                });
                let dir = world.path("out");
                let result =
                    world
                        .store
                        .publish_to_layout(&snapshot, &dir, "t", &world.stacked(), &());
                let refused = matches!(result, Err(PublishError::PathTooLong { .. }));
                assert_eq!(refused, !fits, "{result:?}");
            }
        },
    );
}

#[test]
fn a_machine_that_was_cut_off_is_published_as_the_kernel_recovers_it() {
    as_root(
        "publish::corners::a_machine_that_was_cut_off_is_published_as_the_kernel_recovers_it",
        || {
            let world = World::new(&[linked()]);
            let raw = world.path("raw");
            world.store.export(&world.base, &raw, &()).unwrap();
            let at = world.path("mounted");
            mount(&raw, &at, "rw,commit=1000");
            fs::write(at.join("a/new"), b"new").unwrap();
            fs::remove_file(at.join("a/lost")).unwrap();
            rustix::fs::syncfs(File::open(&at).unwrap()).unwrap();
            let cut = world.path("cut");
            run(Command::new("cp").arg("--sparse=always").args([&raw, &cut]));
            unmount(&at);
            let snapshot = world.commit(&world.base, &cut);
            world.publish(&snapshot, "out", &world.stacked());
            mount(&cut, &at, "rw");
            let files = published(walk(&at));
            unmount(&at);
            assert!(files.contains_key(&b"a/new"[..]) && !files.contains_key(&b"a/lost"[..]));
            world.check("out", &files);
        },
    );
}

#[test]
fn the_base_is_imported_if_the_snapshot_does_not_lead_to_it() {
    as_root(
        "publish::corners::the_base_is_imported_if_the_snapshot_does_not_lead_to_it",
        || {
            let world = World::new(&[linked()]);
            let (snapshot, _) = world.change(&world.base, |at| {
                fs::write(at.join("a/new"), b"new").unwrap();
            });
            let expected = world.publish(&snapshot, "out", &world.stacked());
            let raw = world.path("raw");
            world.store.export(&snapshot, &raw, &()).unwrap();
            let other = Store::open(world.path("other")).unwrap();
            let lone = other.import_disk(&raw, &()).unwrap().snapshot;
            let image = other
                .publish_to_layout(&lone, &world.path("lone"), "t", &world.stacked(), &())
                .unwrap();
            assert_eq!(image.layer.unwrap(), expected.layer.unwrap());
        },
    );
}

#[test]
fn a_layout_keeps_its_other_images() {
    let world = World::new(&[linked()]);
    let dir = world.path("out");
    let publish = |tag: &str, options: &PublishOptions| {
        let published = world
            .store
            .publish_to_layout(&world.base, &dir, tag, options, &());
        published.unwrap()
    };
    let first = publish("first", &PublishOptions::default());
    publish("second", &PublishOptions::default());
    let second = publish("second", &world.stacked());
    let index = read_json(&dir.join("index.json"));
    let entries = index["manifests"].as_array().unwrap();
    let digests: Vec<_> = entries.iter().map(|entry| &entry["digest"]).collect();
    assert_eq!(
        digests,
        [&first.manifest.to_string(), &second.manifest.to_string()]
    );
    let names = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, ["blobs", "index.json", "oci-layout"]);
    // It is what other tools take for an image, and keep as it is.
    let copy = world.path("copy");
    run(Command::new("skopeo")
        .args(["copy", "--quiet", "--preserve-digests"])
        .arg(format!("oci:{}:second", dir.display()))
        .arg(format!("oci:{}:copy", copy.display())));
    let copied = read_json(&copy.join("index.json"));
    let digest = &copied["manifests"][0]["digest"];
    assert_eq!(*digest, second.manifest.to_string());
}

#[test]
fn what_can_not_be_done_is_refused() {
    let world = World::new(&[linked()]);
    let publish = |dir: &Path, tag: &str, options: &PublishOptions| {
        let result = world
            .store
            .publish_to_layout(&world.base, dir, tag, options, &());
        result.unwrap_err()
    };
    let dir = world.path("out");
    let squashed = PublishOptions::default();
    for tag in ["", "a b", "a\n", &"x".repeat(256)] {
        let error = publish(&dir, tag, &squashed);
        assert!(matches!(error, PublishError::BadTag { .. }), "{error}");
    }
    let error = publish(world.store.dir(), "t", &squashed);
    assert!(matches!(error, PublishError::OwnFolder { .. }), "{error}");
    let other = world.path("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("file"), b"").unwrap();
    let error = publish(&other, "t", &squashed);
    assert!(matches!(error, PublishError::NoLayout { .. }), "{error}");
    let with_base = |base: &str| PublishOptions {
        base: Some(base.parse().unwrap()),
        ..PublishOptions::default()
    };
    let error = publish(&dir, "t", &with_base("docker-archive:/some/file"));
    assert!(
        matches!(error, PublishError::BaseTransport { .. }),
        "{error}"
    );
    let foreign = World::new(&[Layer::new().file("x", b"").bytes()]);
    let error = publish(&dir, "t", &with_base(&foreign.reference.to_string()));
    assert!(matches!(error, PublishError::OtherBase { .. }), "{error}");
    assert!(!dir.exists());
}

#[test]
fn damage_is_found() {
    let world = World::new(&[linked()]);
    let blob = largest_blob(&world.path("image"));
    let mut bytes = fs::read(&blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let dir = world.path("out");
    let publish = |snapshot, options: &PublishOptions| {
        let result = world
            .store
            .publish_to_layout(snapshot, &dir, "t", options, &());
        result.unwrap_err()
    };
    let error = publish(&world.base, &world.stacked());
    assert!(
        matches!(error, PublishError::LayerDamaged { .. }),
        "{error}"
    );
    assert!(!dir.join("index.json").exists());
    // A disk without a file system, and one with a damaged inode.
    let raw = world.path("raw");
    fs::write(&raw, vec![7; 1 << 20]).unwrap();
    let squashed = PublishOptions::default();
    let snapshot = world.store.import_disk(&raw, &()).unwrap().snapshot;
    let error = publish(&snapshot, &squashed);
    assert!(matches!(error, PublishError::Files { .. }), "{error}");
    fs::remove_file(&raw).unwrap();
    world.store.export(&world.base, &raw, &()).unwrap();
    let table = Command::new("debugfs")
        .args(["-R", "imap <2>"])
        .arg(&raw)
        .output()
        .unwrap();
    let table = String::from_utf8(table.stdout).unwrap();
    // `…located at block N, offset 0x0100`.
    let block = table.split("block ").last().unwrap();
    let block: u64 = block.split(',').next().unwrap().parse().unwrap();
    let file = File::options().write(true).open(&raw).unwrap();
    file.write_all_at(b"!", block * 4096 + 256 + 2).unwrap();
    let snapshot = world.store.import_disk(&raw, &()).unwrap().snapshot;
    let error = publish(&snapshot, &squashed);
    let text = std::error::Error::source(&error).unwrap().to_string();
    assert!(text.contains("inode 2 is damaged: its checksum"), "{text}");
}

#[test]
fn properties_of_the_base_stay() {
    let world = World::new(&[linked()]);
    // As builders write it: with members that nothing here knows.
    let image = world.path("image");
    let index = read_json(&image.join("index.json"));
    let blob = |digest: &Value| {
        image
            .join("blobs/sha256")
            .join(&digest.as_str().unwrap()[7..])
    };
    let manifest = read_json(&blob(&index["manifests"][0]["digest"]));
    let mut config = read_json(&blob(&manifest["config"]["digest"]));
    config["config"]["Healthcheck"] = serde_json::json!({ "Test": ["CMD", "true"] });
    config["config"]["Env"] = serde_json::json!(["A=b"]);
    config["history"] = serde_json::json!([{ "created_by": "someone" }]);
    let diff_id = config["rootfs"]["diff_ids"][0].as_str().unwrap().to_owned();
    let config = crate::oci_layout::add_document(&image, "image.config", &config);
    let mut manifest = manifest;
    manifest["config"] = config;
    // Docker's name for the same bytes.
    manifest["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip".into();
    let mut manifest = crate::oci_layout::add_document(&image, "image.manifest", &manifest);
    manifest["annotations"] = index["manifests"][0]["annotations"].clone();
    crate::oci_layout::write_index(&image, &[manifest]);
    let base = world.store.import(&world.reference, &small(), &()).unwrap();
    let disk = world.store.create_disk("d", &base.snapshot).unwrap();
    let snapshot = world.store.commit(&disk, &()).unwrap().snapshot;
    let options = PublishOptions {
        base: None,
        ..PublishOptions::default()
    };
    let squashed = world.publish(&snapshot, "out", &options);
    let published = world.publish(&snapshot, "out", &world.stacked());
    let read = |digest: &rootfs_store::BlobDigest| {
        let path = world
            .path("out/blobs/sha256")
            .join(&digest.to_string()[7..]);
        read_json(&path)
    };
    let stacked = read(&published.manifest);
    let media_type = &stacked["layers"][0]["mediaType"];
    assert_eq!(*media_type, "application/vnd.oci.image.layer.v1.tar+gzip");
    let stacked = read(&published.config);
    assert_eq!(stacked["config"]["Healthcheck"]["Test"][1], "true");
    assert_eq!(stacked["config"]["Env"][0], "A=b");
    assert_eq!(stacked["history"].as_array().unwrap().len(), 1);
    assert_eq!(stacked["rootfs"]["diff_ids"], serde_json::json!([diff_id]));
    let alone = read(&squashed.config);
    assert_eq!(alone["config"], serde_json::json!({ "Env": ["A=b"] }));
    assert_eq!(alone["created"], "2023-11-14T22:13:20Z");
    let created_by = alone["history"][0]["created_by"].as_str().unwrap();
    assert_eq!(created_by, format!("vm-sessions publish {snapshot}"));
}

#[test]
fn an_image_is_for_the_architecture_that_its_disk_was() {
    let dir = tempfile::tempdir().unwrap();
    let layout = dir.path().join("image");
    let manifests = ["amd64", "386"].map(|architecture| {
        let platform = json!({ "os": "linux", "architecture": architecture });
        let layer = Layer::new()
            .file("machine", architecture.as_bytes())
            .bytes();
        let blob = add_blob(&layout, "application/vnd.oci.image.layer.v1.tar", &layer);
        let mut manifest = add_manifest(&layout, &platform, &[blob], &[&digest(&layer)]);
        manifest["platform"] = platform;
        manifest
    });
    write_index(&layout, &[add_index(&layout, &manifests)]);
    let reference: ImageReference = format!("oci:{}", layout.display()).parse().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let options = ImportOptions {
        platform: "linux/386".parse().unwrap(),
        ..small()
    };
    let snapshot = store.import(&reference, &options, &()).unwrap().snapshot;
    let out = dir.path().join("out");
    let stacked = PublishOptions {
        base: Some(reference),
        ..PublishOptions::default()
    };
    for (tag, options) in [
        ("squashed", PublishOptions::default()),
        ("stacked", stacked),
    ] {
        let image = store.publish_to_layout(&snapshot, &out, tag, &options, &());
        let config = image.unwrap().config.to_string();
        let config = read_json(&out.join("blobs/sha256").join(&config["sha256:".len()..]));
        assert_eq!(config["architecture"], "386", "{tag}");
    }
}
