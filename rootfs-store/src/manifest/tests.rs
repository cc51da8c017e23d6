use super::*;
use crate::digest::ChunkDigest;
use crate::profile::BootProfile;
use crate::testing::{lease, source_in};

const PACK: BlobDigest = BlobDigest::from_bytes([5; 32]);

fn new_snapshot() -> NewSnapshot {
    NewSnapshot {
        disk_bytes: 1 << 20,
        chunk_bytes: 64 << 10,
        image: Some("sha256:00".to_owned()),
        parent: Some(SnapshotDigest::from_bytes([1; 32])),
        machine: ImageConfig {
            env: vec!["PATH=/bin".to_owned()],
            labels: vec![("a".to_owned(), "b".to_owned())],
            ..ImageConfig::default()
        },
        packs: vec![Pack {
            digest: PACK,
            bytes: 3,
        }],
        profile: None,
        root: Some(Root {
            digest: ChunkDigest::from_bytes([2; 32]),
            pack: PACK,
            offset: 7,
            length: 8,
        }),
    }
}

fn config(change: impl FnOnce(&mut serde_json::Value)) -> Result<Snapshot, ManifestError> {
    let golden = include_bytes!("../../golden/config-v1.json").trim_ascii_end();
    let mut json: serde_json::Value = serde_json::from_slice(golden).unwrap();
    change(&mut json);
    let golden = include_bytes!("../../golden/manifest-v1.json");
    parse_config(
        json.to_string().as_bytes(),
        SnapshotDigest::from_bytes([0; 32]),
        parse_manifest(golden).unwrap(),
    )
}

#[test]
fn documents_have_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = source_in(dir.path()).blobs;
    let (digest, grown) = new_snapshot().write(&blobs, &lease(dir.path())).unwrap();
    let manifest = blobs.document(&digest.into()).unwrap().unwrap();
    let named = parse_manifest(&manifest).unwrap();
    let config = blobs.document(&named.config.digest).unwrap().unwrap();
    assert_eq!(grown, (manifest.len() + config.len()) as u64);
    let golden = include_bytes!("../../golden/manifest-v1.json").trim_ascii_end();
    assert_eq!(
        String::from_utf8(manifest).unwrap(),
        str::from_utf8(golden).unwrap()
    );
    let golden = include_bytes!("../../golden/config-v1.json").trim_ascii_end();
    assert_eq!(
        str::from_utf8(&config).unwrap(),
        str::from_utf8(golden).unwrap()
    );
    let read = parse_config(&config, digest, named).unwrap();
    let written = new_snapshot();
    assert_eq!(
        (read.disk_bytes, read.chunk_bytes),
        (written.disk_bytes, written.chunk_bytes)
    );
    assert_eq!((read.image, read.parent), (written.image, written.parent));
    assert_eq!(
        (read.machine, read.packs, read.root),
        (written.machine, written.packs, written.root)
    );
}

#[test]
fn snapshot_without_one_of_its_packs_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let source = source_in(dir.path());
    let blobs = &source.blobs;
    let (digest, _) = new_snapshot().write(blobs, &lease(dir.path())).unwrap();
    let result = Snapshot::read(&source, digest);
    assert!(matches!(
        result,
        Err(StoreError::BlobMissing { digest: PACK, .. })
    ));
    std::fs::write(blobs.path(&PACK), b"12").unwrap();
    assert!(matches!(
        Snapshot::read(&source, digest),
        Err(StoreError::BlobMissing { .. })
    ));
    std::fs::write(blobs.path(&PACK), b"123").unwrap();
    Snapshot::read(&source, digest).unwrap();
}

#[test]
fn config_that_is_out_of_bounds_is_refused() {
    config(|_| ()).unwrap();
    for (member, value) in [
        ("chunk_bytes", 8192u64),
        ("chunk_bytes", 2 << 20),
        ("chunk_bytes", 65_535),
        ("disk_bytes", 0),
        ("disk_bytes", (1 << 20) + 4096),
        ("disk_bytes", 1u64 << 45),
    ] {
        let result = config(|json| json[member] = value.into());
        assert!(
            matches!(result, Err(ManifestError::Bounds { .. })),
            "{member} = {value}"
        );
    }
    let foreign = BlobDigest::from_bytes([6; 32]).to_string();
    let result = config(|json| json["index"]["pack"] = foreign.into());
    assert!(matches!(result, Err(ManifestError::Bounds { .. })));
}

#[test]
fn newer_version_is_named_even_with_unknown_members() {
    let result = config(|json| {
        json["version"] = 2.into();
        json["novelty"] = true.into();
    });
    assert!(matches!(result, Err(ManifestError::Version { found: 2 })));
    let result = config(|json| json["novelty"] = true.into());
    assert!(matches!(result, Err(ManifestError::Json { .. })));
}

#[test]
fn config_names_an_architecture_that_is_not_the_usual_one() {
    let usual = config(|_| ()).unwrap();
    assert_eq!(usual.machine.architecture(), "amd64");
    let other = config(|json| json["machine"]["architecture"] = "arm64".into()).unwrap();
    assert_eq!(other.machine.architecture(), "arm64");
    let again = serde_json::to_value(&other.machine).unwrap();
    assert_eq!(again["architecture"], "arm64");
}

#[test]
fn boot_profile_is_the_last_layer() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = source_in(dir.path()).blobs;
    let profile = BootProfile::of([3, 1, 2]);
    let snapshot = NewSnapshot {
        profile: Some(NewProfile::Recorded(profile.clone())),
        ..new_snapshot()
    };
    let (digest, _) = snapshot.write(&blobs, &lease(dir.path())).unwrap();
    let manifest = blobs.document(&digest.into()).unwrap().unwrap();
    let named = parse_manifest(&manifest).unwrap();
    assert_eq!(named.packs, new_snapshot().packs);
    let blob = blobs.document(&named.profile.unwrap().digest).unwrap();
    assert_eq!(BootProfile::parse(&blob.unwrap()).unwrap(), profile);
    // Nothing may follow it.
    let text = String::from_utf8(manifest).unwrap();
    let (before, layers) = text.split_once("\"layers\":[").unwrap();
    let (pack, rest) = layers.split_once("},").unwrap();
    let profile = rest.strip_suffix("]}").unwrap();
    let swapped = format!("{before}\"layers\":[{profile},{pack}}}]}}");
    let error = parse_manifest(swapped.as_bytes()).unwrap_err();
    assert!(matches!(error, ManifestError::Bounds { .. }));
}

#[test]
fn image_is_no_disk() {
    let golden = include_str!("../../golden/manifest-v1.json");
    let image = golden.replace(ARTIFACT_TYPE, "application/vnd.other");
    assert!(matches!(
        parse_manifest(image.as_bytes()),
        Err(ManifestError::NoDisk { .. })
    ));
    let config = golden.replace(CONFIG_TYPE, "application/vnd.oci.image.config.v1+json");
    assert!(matches!(
        parse_manifest(config.as_bytes()),
        Err(ManifestError::NoDisk { .. })
    ));
}
