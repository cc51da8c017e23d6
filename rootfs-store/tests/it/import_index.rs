//! Indexes of images for several machines, and documents that say two things at once.

use std::path::Path;

use rootfs_store::image::{Image, ImageError, Scratch, open};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::layer::Layer;
use crate::oci_layout::{add_blob, add_document, add_index, add_manifest, digest, write_index};

/// Stores an image for a machine, `OS/ARCHITECTURE[/VARIANT]`, and describes it as an index does.
fn image_for(layout: &Path, machine: &str) -> Value {
    let parts: Vec<_> = machine.split('/').collect();
    let mut platform = json!({ "os": parts[0], "architecture": parts[1] });
    if let Some(variant) = parts.get(2) {
        platform["variant"] = json!(variant);
    }
    let layer = Layer::new().file("etc/machine", machine.as_bytes()).bytes();
    let blob = add_blob(layout, "application/vnd.oci.image.layer.v1.tar", &layer);
    let mut manifest = add_manifest(layout, &platform, &[blob], &[&digest(&layer)]);
    manifest["platform"] = platform;
    manifest
}

/// What BuildKit puts beside each image.
fn attestation(layout: &Path) -> Value {
    let mut manifest = image_for(layout, "unknown/unknown");
    manifest["annotations"] = json!({ "vnd.docker.reference.type": "attestation-manifest" });
    manifest
}

fn open_for(layout: &Path, machine: &str) -> Result<Image, ImageError> {
    let scratch = Scratch {
        dir: layout,
        limit_bytes: 0,
        progress: &(),
    };
    let reference = format!("oci:{}", layout.display()).parse().unwrap();
    open(&reference, &machine.parse().unwrap(), &scratch)
}

/// A layout whose own index names one index of these machines' images.
fn layout(machines: &[&str]) -> (TempDir, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let images: Vec<_> = machines.iter().map(|m| image_for(dir.path(), m)).collect();
    let digests = images.iter().map(|i| i["digest"].as_str().unwrap().into());
    let digests = digests.collect();
    let index = add_index(dir.path(), &images);
    write_index(dir.path(), &[index]);
    (dir, digests)
}

#[test]
fn the_image_for_the_machine_is_taken_whatever_its_variant_is_called() {
    let machines = [
        "linux/arm/v6",
        "linux/arm/v7",
        "linux/arm64/v8",
        "linux/amd64",
    ];
    let (dir, digests) = layout(&machines);
    for (asked, number) in [
        ("linux/arm/v6", 0),
        ("linux/arm", 1),
        ("linux/arm64", 2),
        ("linux/arm64/v8", 2),
        ("linux/amd64", 3),
        ("linux/amd64/v1", 3),
    ] {
        let image = open_for(dir.path(), asked).unwrap();
        assert_eq!(image.manifest_digest, digests[number], "{asked}");
    }
}

#[test]
fn a_machine_that_is_missing_is_an_error_that_lists_the_others() {
    let (dir, _) = layout(&["linux/arm64/v8", "linux/amd64", "windows/amd64"]);
    for asked in ["linux/riscv64", "linux/amd64/v3", "linux/arm64/v9"] {
        let error = open_for(dir.path(), asked).unwrap_err();
        let ImageError::NoSuchPlatform {
            platform, offered, ..
        } = error
        else {
            panic!("{error:?}");
        };
        assert_eq!(platform, asked);
        assert_eq!(offered, "linux/amd64, linux/arm64/v8, windows/amd64");
    }
}

#[test]
fn attestations_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let image = image_for(dir.path(), "linux/amd64");
    let mut nameless = image.clone();
    nameless.as_object_mut().unwrap().remove("platform");
    let mut unannotated = attestation(dir.path());
    unannotated.as_object_mut().unwrap().remove("annotations");
    for manifests in [
        [attestation(dir.path()), image.clone()],
        [unannotated, image.clone()],
        [attestation(dir.path()), nameless],
    ] {
        let index = add_index(dir.path(), &manifests);
        // In an index of their own, or at once in the layout's.
        for list in [&[index][..], &manifests] {
            write_index(dir.path(), list);
            let found = open_for(dir.path(), "linux/amd64").unwrap();
            assert_eq!(json!(found.manifest_digest), image["digest"]);
        }
    }
    let index = add_index(dir.path(), &[attestation(dir.path())]);
    write_index(dir.path(), &[index]);
    let error = open_for(dir.path(), "linux/amd64").unwrap_err();
    assert!(error.to_string().ends_with("it holds: nothing"), "{error}");
}

#[test]
fn indexes_may_be_nested_but_not_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let image = image_for(dir.path(), "linux/amd64");
    let mut top = image.clone();
    for depth in 0..6 {
        write_index(dir.path(), &[top.clone()]);
        let found = open_for(dir.path(), "linux/amd64");
        match (depth, found) {
            (0..=4, Ok(found)) => assert_eq!(json!(found.manifest_digest), image["digest"]),
            (5, Err(ImageError::NestedTooDeep { limit: 4, .. })) => {}
            other => panic!("{other:?}"),
        }
        top = add_index(dir.path(), &[top]);
    }
}

#[test]
fn the_config_has_the_last_word_about_the_machine() {
    let dir = tempfile::tempdir().unwrap();
    let mut image = image_for(dir.path(), "linux/arm64/v8");
    image["platform"] = json!({ "os": "linux", "architecture": "amd64" });
    write_index(dir.path(), &[image]);
    let error = open_for(dir.path(), "linux/amd64").unwrap_err();
    assert!(
        matches!(error, ImageError::OtherPlatform { .. }),
        "{error:?}"
    );
}

/// CVE-2021-41190: a document with the fields of both is an index to one reader, and a manifest to the other.
#[test]
fn cve_2021_41190_documents_that_are_manifest_and_index_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let image = image_for(dir.path(), "linux/amd64");
    let both = |kind: &str| {
        let both = json!({
            "schemaVersion": 2, "manifests": [image], "config": image, "layers": [],
        });
        add_document(dir.path(), kind, &both)
    };
    for kind in ["image.manifest", "image.index"] {
        write_index(dir.path(), &[both(kind)]);
        let error = open_for(dir.path(), "linux/amd64").unwrap_err();
        assert!(
            matches!(error, ImageError::MixedDocument { .. }),
            "{error:?}"
        );
    }
    // The media type in the document and that of its descriptor differ.
    let index = add_index(dir.path(), std::slice::from_ref(&image));
    let mut called_docker = index.clone();
    called_docker["mediaType"] = json!("application/vnd.docker.distribution.manifest.list.v2+json");
    let mut called_manifest = index;
    called_manifest["mediaType"] = image["mediaType"].clone();
    write_index(dir.path(), &[called_docker]);
    let error = open_for(dir.path(), "linux/amd64").unwrap_err();
    assert!(
        matches!(error, ImageError::OtherMediaType { .. }),
        "{error:?}"
    );
    write_index(dir.path(), &[called_manifest]);
    let error = open_for(dir.path(), "linux/amd64").unwrap_err();
    assert!(
        matches!(error, ImageError::MixedDocument { .. }),
        "{error:?}"
    );
}
