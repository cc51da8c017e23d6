//! Picks one manifest: by tag in the layout's index, by platform in the indexes below it.

use std::path::Path;

use oci_spec::image::{Descriptor, ImageIndex, MediaType};

use super::documents::{Documents, read_shaped};
use super::shape::Shape;
use super::{ImageError, Platform, layout};

const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation and the platform by which BuildKit's attestation manifests are known.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
const UNKNOWN: &str = "unknown";
/// Most platforms that a message lists.
const MAX_LISTED: usize = 20;
/// Most indexes between the layout's and a manifest; tools write one.
const MAX_NESTED_INDEXES: usize = 4;

/// Finds what `tag` (or its absence) and `platform` mean in a layout.
pub(super) fn in_layout(
    dir: &Path,
    tag: Option<&str>,
    platform: &Platform,
) -> Result<Descriptor, ImageError> {
    let index = layout::read_index(dir)?;
    by_tag(dir, &index, tag, platform).cloned()
}

/// The manifest for `platform`: `chosen` itself, or one in the index that it is.
pub(super) fn manifest(
    from: &dyn Documents,
    mut chosen: Descriptor,
    platform: &Platform,
) -> Result<Descriptor, ImageError> {
    for _ in 0..=MAX_NESTED_INDEXES {
        match kind_of(&chosen) {
            Kind::Manifest => return Ok(chosen),
            Kind::Index => {
                let nested: ImageIndex = read_shaped(from, &chosen, Shape::Index)?;
                let document = chosen.digest().to_string();
                chosen = by_platform(nested.manifests().iter(), platform, document)?.clone();
            }
            Kind::Other => {
                return Err(ImageError::MediaType {
                    digest: chosen.digest().to_string(),
                    media_type: chosen.media_type().to_string(),
                    expected: "image manifest or index",
                });
            }
        }
    }
    Err(ImageError::NestedTooDeep {
        digest: chosen.digest().to_string(),
        limit: MAX_NESTED_INDEXES,
    })
}

fn by_tag<'a>(
    dir: &Path,
    index: &'a ImageIndex,
    tag: Option<&str>,
    platform: &Platform,
) -> Result<&'a Descriptor, ImageError> {
    let all = index.manifests();
    let matching: Vec<_> = all
        .iter()
        .filter(|descriptor| tag.is_none() || tag_of(descriptor) == tag)
        .filter(|descriptor| !is_attestation(descriptor))
        .collect();
    match (matching.as_slice(), tag) {
        ([only], _) => Ok(only),
        ([], Some(tag)) => Err(ImageError::NoSuchTag {
            dir: dir.to_owned(),
            tag: tag.to_owned(),
            available: tags(all),
        }),
        // One name for several machines needs no nested index.
        ([first, rest @ ..], _) if rest.iter().all(|d| tag_of(d) == tag_of(first)) => {
            let document = dir.join("index.json").display().to_string();
            by_platform(matching.iter().copied(), platform, document)
        }
        ([], None) => Err(ImageError::NoSuchPlatform {
            document: dir.join("index.json").display().to_string(),
            platform: platform.to_string(),
            offered: "nothing".to_owned(),
        }),
        _ => Err(ImageError::Ambiguous {
            dir: dir.to_owned(),
            available: tags(all),
        }),
    }
}

/// The first manifest for `platform`, or the only one that says nothing about its platform.
fn by_platform<'a>(
    manifests: impl Iterator<Item = &'a Descriptor>,
    platform: &Platform,
    document: String,
) -> Result<&'a Descriptor, ImageError> {
    let candidates: Vec<_> = manifests.filter(|d| !is_attestation(d)).collect();
    let fits = |d: &&&Descriptor| platform_of(d).is_some_and(|p| p.is_same(platform));
    match (candidates.iter().find(fits), candidates.as_slice()) {
        (Some(found), _) => Ok(found),
        (None, [only]) if only.platform().is_none() => Ok(only),
        _ => Err(ImageError::NoSuchPlatform {
            document,
            platform: platform.to_string(),
            offered: platforms(&candidates),
        }),
    }
}

fn platform_of(descriptor: &Descriptor) -> Option<Platform> {
    let platform = descriptor.platform().as_ref()?;
    Some(Platform {
        os: platform.os().to_string(),
        architecture: platform.architecture().to_string(),
        variant: platform.variant().clone().filter(|v| !v.is_empty()),
    })
}

/// Whether it is a statement about another manifest of its index, which builders put beside images.
fn is_attestation(descriptor: &Descriptor) -> bool {
    let annotations = descriptor.annotations().as_ref();
    let annotated = annotations.is_some_and(|a| a.contains_key(REFERENCE_TYPE));
    annotated
        || platform_of(descriptor).is_some_and(|p| p.os == UNKNOWN && p.architecture == UNKNOWN)
}

fn platforms(manifests: &[&Descriptor]) -> String {
    let mut all: Vec<_> = manifests
        .iter()
        .map(|d| platform_of(d).map_or("an unnamed platform".to_owned(), |p| p.to_string()))
        .collect();
    all.sort_unstable();
    all.dedup();
    all.truncate(MAX_LISTED);
    match all.as_slice() {
        [] => "nothing".to_owned(),
        all => all.join(", "),
    }
}

enum Kind {
    Manifest,
    Index,
    Other,
}

fn kind_of(descriptor: &Descriptor) -> Kind {
    match descriptor.media_type() {
        MediaType::ImageManifest => Kind::Manifest,
        MediaType::ImageIndex => Kind::Index,
        other => match other.to_string().as_str() {
            "application/vnd.docker.distribution.manifest.v2+json" => Kind::Manifest,
            "application/vnd.docker.distribution.manifest.list.v2+json" => Kind::Index,
            _ => Kind::Other,
        },
    }
}

fn tag_of(descriptor: &Descriptor) -> Option<&str> {
    let annotations = descriptor.annotations().as_ref()?;
    annotations.get(REF_NAME).map(String::as_str)
}

fn tags(manifests: &[Descriptor]) -> String {
    let mut tags: Vec<_> = manifests.iter().filter_map(tag_of).collect();
    tags.sort_unstable();
    match tags.as_slice() {
        [] => "no tagged image".to_owned(),
        tags => tags.join(", "),
    }
}
