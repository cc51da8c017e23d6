//! The config of an image with all that nothing here knows.

use std::path::Path;

use oci_spec::image::ImageManifest;
use serde_json::Value;

use super::documents::{read_blob, read_shaped};
use super::layout::Layout;
use super::shape::Shape;
use super::{Image, ImageError, Platform, select};

/// Reads the config of an image that was opened in the layout in `dir`.
pub(crate) fn raw_config(
    dir: &Path,
    tag: Option<&str>,
    platform: &Platform,
    image: &Image,
) -> Result<Value, ImageError> {
    let documents = Layout(dir);
    let chosen = select::in_layout(dir, tag, platform)?;
    let descriptor = select::manifest(&documents, chosen, platform)?;
    let digest = descriptor.digest().to_string();
    if digest != image.manifest_digest {
        // The tag was moved since.
        return Err(ImageError::DigestMismatch {
            digest: image.manifest_digest.clone(),
            actual: digest,
        });
    }
    let manifest: ImageManifest = read_shaped(&documents, &descriptor, Shape::Manifest)?;
    read_blob(&documents, manifest.config())
}
