//! The folder that an image is published to: an OCI image layout, not necessarily ours.
//!
//! Invariant: a blob has its name only when it is complete and durable, and `index.json` names only what is there.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::{Builder, NamedTempFile};

use super::PublishError;
use super::documents::{encode, manifest_descriptor};
use crate::blobs::BLOBS;
use crate::digest::BlobDigest;
use crate::image::MAX_DOCUMENT_BYTES;

const MARKER: &str = "oci-layout";
const MARKER_CONTENT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
const INDEX: &str = "index.json";
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const MAX_TAG_LEN: usize = 255;

/// A document that was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    pub(super) digest: BlobDigest,
    pub(super) bytes: u64,
}

/// An OCI image layout.
#[derive(Debug)]
pub(super) struct LayoutDir {
    dir: PathBuf,
}

/// Checks that an image may be called `tag`.
pub(super) fn check_tag(tag: &str) -> Result<(), PublishError> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"._-+/@:".contains(&b);
    match !tag.is_empty() && tag.len() <= MAX_TAG_LEN && tag.bytes().all(fits) {
        true => Ok(()),
        false => Err(PublishError::BadTag {
            tag: tag.to_owned(),
        }),
    }
}

impl LayoutDir {
    /// Opens the layout in `dir`, which must not be the store's; makes one if there is nothing.
    pub(super) fn open(dir: &Path, store: &Path) -> Result<Self, PublishError> {
        let layout = Self {
            dir: dir.to_owned(),
        };
        let blobs = layout.dir.join(BLOBS);
        fs::create_dir_all(dir).map_err(io_error("create", dir))?;
        let same = |path: &Path| path.canonicalize().map_err(io_error("find", path));
        if same(dir)? == same(store)? {
            return Err(PublishError::OwnFolder {
                dir: dir.to_owned(),
            });
        }
        let marker = dir.join(MARKER);
        if !marker.is_file() {
            let mut inside = fs::read_dir(dir).map_err(io_error("list", dir))?;
            if inside.next().is_some() {
                return Err(PublishError::NoLayout {
                    dir: dir.to_owned(),
                });
            }
            layout.replace(&marker, MARKER_CONTENT)?;
        }
        fs::create_dir_all(&blobs).map_err(io_error("create", &blobs))?;
        Ok(layout)
    }

    /// A file that is removed when it is dropped, unless [`Self::keep`] gives it a name.
    pub(super) fn stage(&self) -> Result<NamedTempFile, PublishError> {
        // As any other new file; the umask takes off what it should.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        let file = Builder::new()
            .prefix(".publish-")
            .permissions(mode)
            .tempfile_in(&self.dir);
        file.map_err(io_error("create a file in", &self.dir))
    }

    /// Makes a file the blob that it is.
    pub(super) fn keep(
        &self,
        file: NamedTempFile,
        digest: &BlobDigest,
    ) -> Result<(), PublishError> {
        persist(file, &self.path(digest))?;
        sync_dir(&self.dir.join(BLOBS))
    }

    /// Writes a document.
    pub(super) fn put(&self, bytes: &[u8]) -> Result<Written, PublishError> {
        if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
            return Err(PublishError::DocumentTooLarge {
                limit: MAX_DOCUMENT_BYTES,
            });
        }
        let digest = BlobDigest::of(bytes);
        let mut file = self.stage()?;
        let path = self.path(&digest);
        file.write_all(bytes).map_err(io_error("write", &path))?;
        self.keep(file, &digest)?;
        Ok(Written {
            digest,
            bytes: bytes.len() as u64,
        })
    }

    /// Whether a blob of this size is here.
    pub(super) fn has(&self, digest: &BlobDigest, bytes: u64) -> bool {
        let found = self.path(digest).metadata();
        found.is_ok_and(|found| found.len() == bytes)
    }

    /// Names a manifest in the layout's index, in the place of what had the tag.
    pub(super) fn tag(&self, tag: &str, manifest: &Written) -> Result<(), PublishError> {
        let path = self.dir.join(INDEX);
        let mut index = read_index(&path)?;
        let mut entry = manifest_descriptor(manifest);
        entry["annotations"] = json!({ REF_NAME: tag });
        if let Some(entries) = index["manifests"].as_array_mut() {
            entries.retain(|entry| entry["annotations"][REF_NAME] != *tag);
            entries.push(entry);
        }
        self.replace(&path, &encode("index", &index)?)
    }

    /// Writes a file so that after a crash there is the old one or the new one.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), PublishError> {
        let mut file = self.stage()?;
        file.write_all(bytes).map_err(io_error("write", path))?;
        persist(file, path)?;
        sync_dir(&self.dir)
    }

    /// The file of a blob.
    pub(super) fn path(&self, digest: &BlobDigest) -> PathBuf {
        self.dir.join(BLOBS).join(digest.file_name())
    }
}

/// The index of a layout, which has a list of manifests; an empty one if there is no file.
fn read_index(path: &Path) -> Result<Value, PublishError> {
    let empty = json!({ "schemaVersion": 2, "manifests": [] });
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(empty),
        file => file.map_err(io_error("open", path))?,
    };
    let mut bytes = Vec::new();
    let read = file.take(MAX_DOCUMENT_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(io_error("read", path))?;
    if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
        return Err(PublishError::DocumentTooLarge {
            limit: MAX_DOCUMENT_BYTES,
        });
    }
    let invalid = |source| PublishError::Index {
        path: path.to_owned(),
        source,
    };
    let mut index: serde_json::Map<String, Value> =
        serde_json::from_slice(&bytes).map_err(invalid)?;
    let manifests = index.remove("manifests").unwrap_or_else(|| json!([]));
    let manifests: Vec<Value> = serde_json::from_value(manifests).map_err(invalid)?;
    index.insert("manifests".into(), Value::Array(manifests));
    Ok(Value::Object(index))
}

fn persist(file: NamedTempFile, to: &Path) -> Result<(), PublishError> {
    let synced = file.as_file().sync_all();
    synced.map_err(io_error("sync", file.path()))?;
    let persisted = file.persist(to);
    persisted.map_err(|error| io_error("rename a file to", to)(error.error))?;
    Ok(())
}

fn sync_dir(dir: &Path) -> Result<(), PublishError> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(io_error("sync", dir))
}

pub(super) fn io_error(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> PublishError + use<> {
    let path = path.to_owned();
    move |source| PublishError::Io {
        action,
        path,
        source,
    }
}
