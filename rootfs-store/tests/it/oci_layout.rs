//! Writes OCI layouts of one image, tagged `t`.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::write::GzEncoder;
use rootfs_store::BlobDigest;
use serde_json::{Value, json};

const OCI: &str = "application/vnd.oci";

pub(crate) fn digest(bytes: &[u8]) -> String {
    BlobDigest::of(bytes).to_string()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Stores a blob in a layout, and describes it.
pub(crate) fn add_blob(layout: &Path, media_type: &str, bytes: &[u8]) -> Value {
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    let digest = digest(bytes);
    fs::write(layout.join("blobs/sha256").join(&digest[7..]), bytes).unwrap();
    json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
}

/// Stores a JSON document, and describes it.
pub(crate) fn add_document(layout: &Path, kind: &str, json: &Value) -> Value {
    let media_type = format!("{OCI}.{kind}.v1+json");
    add_blob(layout, &media_type, json.to_string().as_bytes())
}

/// Writes an image whose layers are these tar streams, each a gzip blob.
pub(crate) fn write_layout(layout: &Path, layers: &[Vec<u8>]) {
    let blobs = layers.iter().map(|layer| (gzip(layer), digest(layer)));
    write_gzip_layout(layout, &blobs.collect::<Vec<_>>());
}

/// Writes an image whose layers are these gzip blobs, each with the `diff_id` that the config gives it.
pub(crate) fn write_gzip_layout(layout: &Path, blobs: &[(Vec<u8>, String)]) {
    let media_type = format!("{OCI}.image.layer.v1.tar+gzip");
    let layers = blobs
        .iter()
        .map(|(blob, _)| add_blob(layout, &media_type, blob));
    let layers: Vec<_> = layers.collect();
    let diff_ids: Vec<_> = blobs.iter().map(|(_, diff_id)| &**diff_id).collect();
    write_documents(layout, &layers, &diff_ids);
}

/// Writes all but the layers, which these descriptors say are there.
pub(crate) fn write_documents(layout: &Path, layers: &[Value], diff_ids: &[&str]) {
    let platform = json!({ "architecture": "amd64", "os": "linux" });
    let mut manifest = add_manifest(layout, &platform, layers, diff_ids);
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "t" });
    write_index(layout, &[manifest]);
}

/// Stores config and manifest of an image, and describes the latter.
pub(crate) fn add_manifest(
    layout: &Path,
    platform: &Value,
    layers: &[Value],
    diff_ids: &[&str],
) -> Value {
    let mut config = platform.clone();
    config["config"] = json!({});
    config["rootfs"] = json!({ "type": "layers", "diff_ids": diff_ids });
    let config = add_document(layout, "image.config", &config);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": format!("{OCI}.image.manifest.v1+json"),
        "config": config, "layers": layers,
    });
    add_document(layout, "image.manifest", &manifest)
}

/// Stores an index of these manifests, and describes it.
pub(crate) fn add_index(layout: &Path, manifests: &[Value]) -> Value {
    let index = json!({
        "schemaVersion": 2, "mediaType": format!("{OCI}.image.index.v1+json"),
        "manifests": manifests,
    });
    add_document(layout, "image.index", &index)
}

/// Writes the layout's own index and version.
pub(crate) fn write_index(layout: &Path, manifests: &[Value]) {
    let index = json!({ "schemaVersion": 2, "manifests": manifests });
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
    let version = json!({ "imageLayoutVersion": "1.0.0" });
    fs::write(layout.join("oci-layout"), version.to_string()).unwrap();
}
