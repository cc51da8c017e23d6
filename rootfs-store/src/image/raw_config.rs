//! The config of an image with all that nothing here knows.

use std::path::Path;

use oci_spec::image::{Descriptor, ImageManifest};
use serde_json::Value;

use super::documents::{Documents, read_blob, read_shaped};
use super::layout::Layout;
use super::shape::Shape;
use super::{Image, ImageError, Platform, select};

/// Reads the config of an image that was opened in the layout in `dir`.
pub(crate) fn raw_config_in_layout(
    dir: &Path,
    tag: Option<&str>,
    platform: &Platform,
    image: &Image,
) -> Result<Value, ImageError> {
    let chosen = select::in_layout(dir, tag, platform)?;
    raw_config(&Layout(dir), chosen, platform, image)
}

/// Reads the config of an image that was found at `chosen`.
pub(super) fn raw_config(
    from: &dyn Documents,
    chosen: Descriptor,
    platform: &Platform,
    image: &Image,
) -> Result<Value, ImageError> {
    let descriptor = select::manifest(from, chosen, platform)?;
    let digest = descriptor.digest().to_string();
    if digest != image.manifest_digest {
        // The tag was moved since.
        return Err(ImageError::DigestMismatch {
            digest: image.manifest_digest.clone(),
            actual: digest,
        });
    }
    let manifest: ImageManifest = read_shaped(from, &descriptor, Shape::Manifest)?;
    read_blob(from, manifest.config())
}
