//! Picks one manifest: by tag in the layout's index, by platform in the indexes below it.

use std::path::Path;

use oci_spec::image::{Descriptor, ImageIndex, MediaType};

use super::{ImageError, Platform, layout};

const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Most indexes between the layout's and a manifest; tools write one.
const MAX_NESTED_INDEXES: usize = 4;

/// Finds the manifest that `tag` (or its absence) and `platform` mean.
pub(super) fn manifest(
    dir: &Path,
    tag: Option<&str>,
    platform: &Platform,
) -> Result<Descriptor, ImageError> {
    let index = layout::read_index(dir)?;
    let mut chosen = by_tag(dir, &index, tag, platform)?.clone();
    for _ in 0..=MAX_NESTED_INDEXES {
        match kind_of(&chosen) {
            Kind::Manifest => return Ok(chosen),
            Kind::Index => {
                let nested: ImageIndex = layout::read_document(dir, &chosen)?;
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
        }),
        _ => Err(ImageError::Ambiguous {
            dir: dir.to_owned(),
            available: tags(all),
        }),
    }
}

fn by_platform<'a>(
    manifests: impl Iterator<Item = &'a Descriptor>,
    platform: &Platform,
    document: String,
) -> Result<&'a Descriptor, ImageError> {
    let candidates: Vec<_> = manifests.collect();
    let fits = |descriptor: &&&Descriptor| {
        descriptor.platform().as_ref().is_some_and(|p| {
            p.os().to_string() == platform.os
                && p.architecture().to_string() == platform.architecture
        })
    };
    match (candidates.iter().find(fits), candidates.as_slice()) {
        (Some(found), _) => Ok(found),
        (None, [only]) if only.platform().is_none() => Ok(only),
        _ => Err(ImageError::NoSuchPlatform {
            document,
            platform: platform.to_string(),
        }),
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
