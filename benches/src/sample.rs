//! Images that are made up: trees of files that their seed decides, written as OCI layouts.

use std::fs;
use std::path::Path;

use rootfs_store::{BlobDigest, ImageReference};
use serde_json::{Value, json};

use crate::{MeasureError, Numbers};

/// Names a real image for benchmarks: `oci:DIR:TAG`.
const IMAGE_VARIABLE: &str = "BENCH_IMAGE";
/// Sizes of files: most are small and most bytes are in large ones, as in a distribution.
const FILE_BYTES: [u64; 8] = [700, 3_000, 5_000, 9_000, 17_000, 40_000, 120_000, 600_000];

/// An image with one plain layer.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Bytes of all files together, about.
    pub bytes: u64,
    /// So many files, spread over the tree, have other bytes than in the first version, of which it is 0.
    pub changed_files: u64,
}

/// The image that `BENCH_IMAGE` names, or else `sample`, which is written to `dir`.
///
/// # Errors
/// [`MeasureError::Reference`] for a variable that names no image, or [`MeasureError::Io`].
pub fn image_or_sample(dir: &Path, sample: Sample) -> Result<ImageReference, MeasureError> {
    match std::env::var(IMAGE_VARIABLE) {
        Ok(text) => parse(text),
        Err(_) => sample.write(dir),
    }
}

fn parse(text: String) -> Result<ImageReference, MeasureError> {
    text.parse()
        .map_err(|source| MeasureError::Reference { text, source })
}

impl Sample {
    /// Number of files.
    #[must_use]
    pub fn files(&self) -> u64 {
        let mean = FILE_BYTES.iter().sum::<u64>() / FILE_BYTES.len() as u64;
        (self.bytes / mean).max(1)
    }

    /// Writes the image as an OCI layout to the new folder `dir`.
    ///
    /// # Errors
    /// [`MeasureError::Io`].
    pub fn write(&self, dir: &Path) -> Result<ImageReference, MeasureError> {
        let blobs = dir.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(MeasureError::io("create", &blobs))?;
        let layer = self
            .layer()
            .map_err(MeasureError::io("write a layer for", dir))?;
        let config = json!({
            "architecture": "amd64", "os": "linux",
            "rootfs": { "type": "layers", "diff_ids": [BlobDigest::of(&layer).to_string()] },
        });
        let config = blob(&blobs, "config.v1+json", config.to_string().as_bytes())?;
        let layers = [blob(&blobs, "layer.v1.tar", &layer)?];
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
        let manifest = blob(&blobs, "manifest.v1+json", manifest.to_string().as_bytes())?;
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        let marker = r#"{"imageLayoutVersion":"1.0.0"}"#;
        for (name, text) in [
            ("index.json", index.to_string().as_str()),
            ("oci-layout", marker),
        ] {
            let path = dir.join(name);
            fs::write(&path, text).map_err(MeasureError::io("write", &path))?;
        }
        parse(format!("oci:{}", dir.display()))
    }

    fn layer(&self) -> std::io::Result<Vec<u8>> {
        let files = self.files();
        let every = files / self.changed_files.max(1);
        let mut tar = tar::Builder::new(Vec::new());
        for file in 0..files {
            let changed = self.changed_files > 0
                && file.is_multiple_of(every)
                && file / every < self.changed_files;
            let content = content(file, changed);
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(1_700_000_000 + u64::from(changed));
            tar.append_data(
                &mut header,
                format!("usr/lib/{:03}/{file}", file / 100),
                &*content,
            )?;
        }
        tar.into_inner()
    }
}

fn content(file: u64, changed: bool) -> Vec<u8> {
    let mut numbers = Numbers::new(file * 2 + u64::from(changed));
    // The size is the same in both versions, so that a changed file moves no other.
    let size = FILE_BYTES[usize::try_from(file).unwrap_or(0) % FILE_BYTES.len()];
    let mut content = vec![0; usize::try_from(size).unwrap_or(0)];
    numbers.fill(&mut content);
    content
}

fn blob(blobs: &Path, kind: &str, bytes: &[u8]) -> Result<Value, MeasureError> {
    let digest = BlobDigest::of(bytes).to_string();
    let path = blobs.join(&digest["sha256:".len()..]);
    fs::write(&path, bytes).map_err(MeasureError::io("write", &path))?;
    let media_type = format!("application/vnd.oci.image.{kind}");
    Ok(json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_differ_in_as_many_files_as_asked_for() {
        let first = Sample {
            bytes: 8 << 20,
            changed_files: 0,
        };
        let second = Sample {
            changed_files: 3,
            ..first
        };
        let files = |sample: &Sample| -> Vec<Vec<u8>> {
            let layer = sample.layer().unwrap();
            let mut archive = tar::Archive::new(&*layer);
            let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
                let mut bytes = Vec::new();
                std::io::Read::read_to_end(&mut entry.unwrap(), &mut bytes).unwrap();
                bytes
            };
            archive.entries().unwrap().map(read).collect()
        };
        let (first, second) = (files(&first), files(&second));
        let differ = first.iter().zip(&second).filter(|(a, b)| a != b);
        assert_eq!((differ.count(), first.len()), (3, second.len()));
    }
}
