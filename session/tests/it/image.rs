//! A small container image.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Writes an OCI image layout of one layer that holds one file.
pub(crate) fn write(folder: &Path) {
    write_for("amd64", folder);
}

/// The same, for another architecture.
pub(crate) fn write_for(architecture: &str, folder: &Path) {
    fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
    let layer = layer();
    let diff_id = format!("sha256:{}", hex(&layer));
    let layer = blob(folder, &layer, "application/vnd.oci.image.layer.v1.tar");
    let config = json!({
        "architecture": architecture, "os": "linux",
        "config": {"Env": ["FROM=image"], "WorkingDir": "/etc"},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    });
    let config = blob(
        folder,
        config.to_string().as_bytes(),
        "application/vnd.oci.image.config.v1+json",
    );
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": [layer],
    });
    let manifest = blob(
        folder,
        manifest.to_string().as_bytes(),
        "application/vnd.oci.image.manifest.v1+json",
    );
    let mut named = manifest;
    named["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
    let index = json!({"schemaVersion": 2, "manifests": [named]});
    fs::write(folder.join("index.json"), index.to_string()).unwrap();
    fs::write(
        folder.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
}

fn layer() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    header.set_mode(0o644);
    tar.append_data(&mut header, "etc/hostname", &b"tst"[..])
        .unwrap();
    tar.into_inner().unwrap()
}

fn blob(folder: &Path, bytes: &[u8], media_type: &str) -> Value {
    let digest = hex(bytes);
    fs::write(folder.join("blobs/sha256").join(&digest), bytes).unwrap();
    json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len()})
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
