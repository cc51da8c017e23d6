//! A small image of two layers, written as an OCI layout.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use rootfs_store::{BlobDigest, ImageReference};
use serde_json::json;

/// What differs between sample images.
pub(crate) struct Sample<'a> {
    /// Content of `/etc/note`.
    pub(crate) note: &'a str,
    /// `tar`, `tar+gzip` or `tar+zstd`.
    pub(crate) compression: &'a str,
}

impl Default for Sample<'_> {
    fn default() -> Self {
        Self {
            note: "note",
            compression: "tar+gzip",
        }
    }
}

/// Content of `/usr/lib/large`: more than a chunk, and not compressible to nothing.
pub(crate) fn large() -> Vec<u8> {
    (0..300_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

/// Writes the image to `dir` and returns its name.
pub(crate) fn write(dir: &Path, sample: &Sample<'_>) -> ImageReference {
    fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    let lower = tar(
        &[
            ("etc/note", b"lower"),
            ("etc/removed", b"removed"),
            ("usr/lib/large", &large()),
        ],
        None,
    );
    let upper = tar(
        &[
            ("etc/note", sample.note.as_bytes()),
            ("etc/.wh.removed", b""),
        ],
        Some(("etc/linked", "etc/note")),
    );
    let mut layers = Vec::new();
    let mut diff_ids = Vec::new();
    for layer in [lower, upper] {
        diff_ids.push(BlobDigest::of(&layer).to_string());
        let media_type = format!("application/vnd.oci.image.layer.v1.{}", sample.compression);
        layers.push(blob(dir, &media_type, &compress(layer, sample.compression)));
    }
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": { "Env": ["PATH=/bin"], "Cmd": ["sh"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = blob(
        dir,
        "application/vnd.oci.image.config.v1+json",
        config.to_string().as_bytes(),
    );
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
    let mut manifest = blob(
        dir,
        "application/vnd.oci.image.manifest.v1+json",
        manifest.to_string().as_bytes(),
    );
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "latest" });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    format!("oci:{}:latest", dir.display()).parse().unwrap()
}

/// The file of the image's largest blob, its first layer.
pub(crate) fn largest_blob(dir: &Path) -> PathBuf {
    let blobs = fs::read_dir(dir.join("blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    blobs
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap()
}

fn tar(files: &[(&str, &[u8])], link: Option<(&str, &str)>) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        tar.append_data(&mut header, name, *content).unwrap();
    }
    if let Some((name, target)) = link {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Link);
        header.set_size(0);
        tar.append_link(&mut header, name, target).unwrap();
    }
    tar.into_inner().unwrap()
}

fn compress(plain: Vec<u8>, compression: &str) -> Vec<u8> {
    match compression {
        "tar" => plain,
        "tar+gzip" => {
            let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(&plain).unwrap();
            gzip.finish().unwrap()
        }
        "tar+zstd" => zstd::encode_all(plain.as_slice(), 1).unwrap(),
        other => panic!("{other}"),
    }
}

fn blob(dir: &Path, media_type: &str, bytes: &[u8]) -> serde_json::Value {
    let digest = BlobDigest::of(bytes).to_string();
    fs::write(dir.join("blobs/sha256").join(&digest[7..]), bytes).unwrap();
    json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
}
