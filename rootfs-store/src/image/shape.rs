//! A document must not be a manifest to one reader and an index to another (CVE-2021-41190).

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::ImageError;

/// What a descriptor's media type says about the document it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Manifest,
    Index,
}

/// The fields that make a document one or the other, in all versions of both formats.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    media_type: Option<String>,
    manifests: Option<IgnoredAny>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    fs_layers: Option<IgnoredAny>,
}

/// Makes sure that `bytes` can be read as `shape` only, and say the same about themselves as `media_type` does.
pub(super) fn check(
    document: &str,
    bytes: &[u8],
    shape: Shape,
    media_type: Option<&str>,
) -> Result<(), ImageError> {
    let fields: Fields = super::documents::parse(document, bytes)?;
    let index = fields.manifests.is_some();
    let manifest = fields.config.is_some() || fields.layers.is_some() || fields.fs_layers.is_some();
    let mixed = match shape {
        Shape::Manifest => index,
        Shape::Index => manifest,
    };
    if mixed {
        let document = document.to_owned();
        return Err(ImageError::MixedDocument { document });
    }
    match (fields.media_type, media_type) {
        (Some(found), Some(expected)) if found != expected => Err(ImageError::OtherMediaType {
            document: document.to_owned(),
            expected: expected.to_owned(),
            found,
        }),
        _ => Ok(()),
    }
}
