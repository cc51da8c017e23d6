//! Images in the files that `docker save` and `skopeo copy … docker-archive:` write: a tar of layers, a config for each
//! image, and `manifest.json`, which says what belongs together.
//!
//! Layers are read where they lie in the archive. Newer archives are OCI layouts as well; their `manifest.json` says
//! the same as the older ones', so nothing else is looked at.
//!
//! Invariant: nothing of the archive is written anywhere but to an unnamed file.

mod error;
mod members;
mod names;

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;
use oci_spec::image::ImageConfiguration;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{BlobPlace, Compression, Image, ImageError, Layer, MAX_DOCUMENT_BYTES, Platform};
use super::{Scratch, assemble, documents, layout};
use crate::progress::{Progress, Stage};
pub use error::ArchiveError;
use members::{Extent, Members, read_start};

const MANIFEST: &str = "manifest.json";
/// Longest magic number that is looked for, in bytes.
const MAGIC_BYTES: usize = 8;

/// One image in `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Saved {
    fn tags(&self) -> &[String] {
        self.repo_tags.as_deref().unwrap_or_default()
    }
}

/// An archive whose members are known.
struct Archive<'a> {
    path: &'a Path,
    file: Arc<File>,
    members: Members,
}

/// Opens the image that `image` (or its absence) means in the archive `path`.
pub(super) fn open(
    path: &Path,
    image: Option<&str>,
    platform: &Platform,
    scratch: &Scratch<'_>,
) -> Result<Image, ImageError> {
    let file = layout::open_file(path)?;
    let archive_error = |source| ImageError::Archive {
        path: path.to_owned(),
        source,
    };
    let file = plain(file, scratch).map_err(archive_error)?;
    let file_len = file.metadata().map(|metadata| metadata.len());
    let file_len = file_len.map_err(|source| ImageError::Io {
        path: path.to_owned(),
        source,
    })?;
    let members = Members::read(&file, file_len).map_err(archive_error)?;
    let archive = Archive {
        path,
        file: Arc::new(file),
        members,
    };
    let images: Vec<Saved> = archive.parse(MANIFEST, &archive.document(MANIFEST)?)?;
    let saved = choose(&images, image).map_err(archive_error)?;
    let raw_config = archive.document(&saved.config)?;
    let digest = documents::digest_of(&raw_config);
    check_config_name(&saved.config, &digest)?;
    let config: ImageConfiguration = archive.parse(&saved.config, &raw_config)?;
    let find = |name: &String, diff_id: &str| archive.layer(name, diff_id);
    let image = assemble(digest, &config, platform, &saved.layers, find)?;
    Ok(Image {
        raw_config,
        ..image
    })
}

impl Archive<'_> {
    fn error(&self, source: ArchiveError) -> ImageError {
        ImageError::Archive {
            path: self.path.to_owned(),
            source,
        }
    }

    /// What messages call a member.
    fn name_of(&self, member: &str) -> String {
        format!("{member} in {}", self.path.display())
    }

    fn parse<T: DeserializeOwned>(&self, member: &str, bytes: &[u8]) -> Result<T, ImageError> {
        documents::parse(&self.name_of(member), bytes)
    }

    /// Reads a member that is a document.
    fn document(&self, name: &str) -> Result<Vec<u8>, ImageError> {
        let extent = self.members.find(name).map_err(|e| self.error(e))?;
        if extent.len > MAX_DOCUMENT_BYTES {
            return Err(ImageError::DocumentTooLarge {
                document: self.name_of(name),
                size: extent.len,
            });
        }
        self.start(name, extent, usize::MAX)
    }

    fn layer(&self, name: &str, diff_id: &str) -> Result<Layer, ImageError> {
        let extent = self.members.find(name).map_err(|e| self.error(e))?;
        let magic = self.start(name, extent, MAGIC_BYTES)?;
        Ok(Layer {
            digest: None,
            size: extent.len,
            diff_id: diff_id.to_owned(),
            compression: compression(&magic).map_err(|format| {
                self.error(ArchiveError::LayerCompression {
                    name: name.to_owned(),
                    format,
                })
            })?,
            place: BlobPlace::Archive {
                archive: Arc::clone(&self.file),
                path: self.path.to_owned(),
                offset: extent.offset,
            },
        })
    }

    fn start(&self, name: &str, extent: Extent, limit: usize) -> Result<Vec<u8>, ImageError> {
        read_start(&self.file, extent, limit).map_err(|source| {
            self.error(ArchiveError::Read {
                name: name.to_owned(),
                source,
            })
        })
    }
}

/// The archive itself, or an unnamed file with what it decompresses to.
fn plain(mut file: File, scratch: &Scratch<'_>) -> Result<File, ArchiveError> {
    let mut magic = Vec::new();
    let mut start = file.by_ref().take(MAGIC_BYTES as u64);
    let read = start.read_to_end(&mut magic);
    let rewound = read.and_then(|_| file.rewind());
    rewound.map_err(ArchiveError::Decompress)?;
    let metadata = file.metadata().map_err(ArchiveError::Decompress)?;
    let counted = Counted {
        file,
        done: 0,
        total: metadata.len(),
        progress: scratch.progress,
    };
    let input = io::BufReader::with_capacity(128 << 10, counted);
    match compression(&magic).map_err(|format| ArchiveError::Compression { format })? {
        Compression::None => Ok(input.into_inner().file),
        Compression::Gzip => spool(MultiGzDecoder::new(input), scratch),
        Compression::Zstd => {
            let decoder = zstd::Decoder::with_buffer(input);
            spool(decoder.map_err(ArchiveError::Decompress)?, scratch)
        }
    }
}

/// An archive of which somebody is told how much was read.
struct Counted<'a> {
    file: File,
    done: u64,
    total: u64,
    progress: &'a dyn Progress,
}

impl Read for Counted<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.file.read(buf)?;
        self.done += len as u64;
        self.progress.advance(Stage::Archive, self.done, self.total);
        Ok(len)
    }
}

fn spool(mut from: impl Read, scratch: &Scratch<'_>) -> Result<File, ArchiveError> {
    let spool_error = |source| ArchiveError::Spool {
        dir: scratch.dir.to_owned(),
        source,
    };
    let mut to = tempfile::tempfile_in(scratch.dir).map_err(spool_error)?;
    let mut buffer = vec![0; 1 << 20];
    let mut left = scratch.limit_bytes;
    loop {
        let len = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(ArchiveError::Decompress(error)),
        };
        left = left.checked_sub(len as u64).ok_or(ArchiveError::TooLarge {
            limit: scratch.limit_bytes,
        })?;
        io::Write::write_all(&mut to, &buffer[..len]).map_err(spool_error)?;
    }
    to.rewind().map_err(spool_error)?;
    Ok(to)
}

/// How bytes that start so are compressed, or the name of a compression that can't be read.
fn compression(start: &[u8]) -> Result<Compression, &'static str> {
    match start {
        [0x1f, 0x8b, ..] => Ok(Compression::Gzip),
        // A Zstandard frame, or a skippable one.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Compression::Zstd),
        [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', b'&'] => Err("bzip2"),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Err("xz"),
        _ => Ok(Compression::None),
    }
}

/// Writers name a config by its digest; where that is so, it has to be true.
fn check_config_name(name: &str, actual: &str) -> Result<(), ImageError> {
    let name = name.rsplit('/').next().unwrap_or(name);
    let name = name.strip_suffix(".json").unwrap_or(name);
    let digest = format!("sha256:{}", name.strip_prefix("sha256:").unwrap_or(name));
    if documents::sha256_name(&digest).is_some() && digest != actual {
        return Err(ImageError::DigestMismatch {
            digest,
            actual: actual.to_owned(),
        });
    }
    Ok(())
}

fn choose<'a>(images: &'a [Saved], wanted: Option<&str>) -> Result<&'a Saved, ArchiveError> {
    let Some(wanted) = wanted else {
        return match images {
            [] => Err(ArchiveError::Empty),
            [only] => Ok(only),
            several => Err(ArchiveError::Ambiguous {
                available: available(several),
            }),
        };
    };
    if let Some(number) = wanted
        .strip_prefix('@')
        .and_then(|n| n.parse::<usize>().ok())
    {
        return only(images.get(number).into_iter().collect(), images, wanted);
    }
    let tagged = |fits: &dyn Fn(&str) -> bool| -> Vec<&'a Saved> {
        let fits = |saved: &&Saved| saved.tags().iter().any(|tag| fits(tag));
        images.iter().filter(fits).collect()
    };
    let full = names::full(wanted);
    let mut found = tagged(&|tag| names::full(tag) == full);
    if found.is_empty() {
        found = tagged(&|name| names::tag(name) == Some(wanted));
    }
    only(found, images, wanted)
}

fn only<'a>(
    found: Vec<&'a Saved>,
    images: &[Saved],
    wanted: &str,
) -> Result<&'a Saved, ArchiveError> {
    match found.as_slice() {
        [only] => Ok(only),
        [] => Err(ArchiveError::NoSuchImage {
            image: wanted.to_owned(),
            available: available(images),
        }),
        _ => Err(ArchiveError::Ambiguous {
            available: available(images),
        }),
    }
}

fn available(images: &[Saved]) -> String {
    let all: Vec<_> = images
        .iter()
        .flat_map(Saved::tags)
        .map(String::as_str)
        .collect();
    match all.as_slice() {
        [] => format!("{} images without names", images.len()),
        names => names.join(", "),
    }
}
