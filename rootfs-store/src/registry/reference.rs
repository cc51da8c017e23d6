//! Names of images in registries, by Docker's rules.
//!
//! Invariant: what [`RegistryReference`] displays parses back to the same value, and its parts may stand in a URL.

use std::fmt;
use std::str::FromStr;

use crate::digest::BlobDigest;
use crate::reference::ReferenceError;

/// The registry of names without a host.
const DOCKER_HUB: &str = "docker.io";
/// Other names of it.
const DOCKER_HUB_ALIASES: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];
/// Where Docker Hub's registry really is.
const DOCKER_HUB_API: &str = "registry-1.docker.io";
/// What names of one part on Docker Hub lie in.
const DOCKER_HUB_LIBRARY: &str = "library/";
/// The tag that is meant where none is given.
const DEFAULT_TAG: &str = "latest";
/// Longest repository, and longest host, in bytes.
const MAX_NAME_BYTES: usize = 255;
/// Longest tag, in bytes.
const MAX_TAG_BYTES: usize = 128;

/// An image or a snapshot in a registry: `[HOST/]REPOSITORY[:TAG][@DIGEST]`.
///
/// `alpine` means `docker.io/library/alpine:latest`. A first part is a host if it holds a dot or a colon, or is
/// `localhost`. With a digest, the tag is only a note.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RegistryReference {
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<BlobDigest>,
}

impl RegistryReference {
    /// The registry, as `HOST` or `HOST:PORT`; Docker Hub is `docker.io`.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository, without the host.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag. There is one if there is no digest.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of the manifest.
    #[must_use]
    pub const fn digest(&self) -> Option<BlobDigest> {
        self.digest
    }

    /// What a registry is asked for: the digest, or else the tag.
    #[must_use]
    pub fn manifest(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => DEFAULT_TAG.to_owned(),
        }
    }
}

impl FromStr for RegistryReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let bad = |problem| ReferenceError::BadName {
            reference: text.to_owned(),
            problem,
        };
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => {
                let digest = digest.parse().map_err(|_| bad("its digest is none"))?;
                (rest, Some(digest))
            }
        };
        let (name, tag) = match rest.rsplit_once(':') {
            // The last colon may be that of a port.
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(bad("its tag is none"));
        }
        let (host, repository) = split_host(name);
        if repository.len() > MAX_NAME_BYTES {
            return Err(bad("its name is too long"));
        }
        if !is_host(&host) {
            return Err(bad("its host is none"));
        }
        if !is_repository(&repository) {
            return Err(bad("its repository is none"));
        }
        let default_tag = digest.is_none().then_some(DEFAULT_TAG);
        Ok(Self {
            host,
            repository,
            tag: tag.or(default_tag).map(str::to_owned),
            digest,
        })
    }
}

impl fmt::Display for RegistryReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// The host that the registry called `host` is really at.
pub(crate) fn api_host(host: &str) -> &str {
    match host {
        DOCKER_HUB => DOCKER_HUB_API,
        host => host,
    }
}

/// Whether `host` is Docker Hub, by any of its names.
pub(crate) fn is_docker_hub(host: &str) -> bool {
    host == DOCKER_HUB || DOCKER_HUB_ALIASES.contains(&host)
}

/// Splits a name into its host and repository.
fn split_host(name: &str) -> (String, String) {
    let (host, repository) = match name.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest),
        _ => (DOCKER_HUB, name),
    };
    if !is_docker_hub(host) {
        return (host.to_owned(), repository.to_owned());
    }
    let library = match repository.contains('/') {
        true => "",
        false => DOCKER_HUB_LIBRARY,
    };
    (DOCKER_HUB.to_owned(), format!("{library}{repository}"))
}

/// Whether `text` is `HOST` or `HOST:PORT`, where the host is a name or an address, that of IPv6 in brackets.
pub(crate) fn is_host(text: &str) -> bool {
    if text.len() > MAX_NAME_BYTES {
        return false;
    }
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else {
            return false;
        };
        let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return is_port && address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let (name, is_port) = match text.split_once(':') {
        None => (text, true),
        Some((name, port)) => (name, is_port(port)),
    };
    is_port && name.split('.').all(is_host_label)
}

fn is_host_label(label: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !label.is_empty()
        && label.bytes().all(is_inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Whether a manifest can be asked for by `text`: a tag or a digest.
pub(crate) fn is_manifest(text: &str) -> bool {
    is_tag(text) || text.parse::<BlobDigest>().is_ok()
}

/// Whether `text` is parts of lower-case letters and digits, joined by slashes; a part may hold `.`, `_`, `__` and any
/// number of dashes between letters.
pub(crate) fn is_repository(text: &str) -> bool {
    text.split('/').all(is_repository_part)
}

fn is_repository_part(part: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if !is_word(first) || !is_word(last) {
        return false;
    }
    part.split(|char: char| char.is_ascii_lowercase() || char.is_ascii_digit())
        .all(|joint| {
            matches!(joint, "" | "." | "_" | "__") || joint.bytes().all(|byte| byte == b'-')
        })
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_inner = |byte: u8| is_word(byte) || byte == b'.' || byte == b'-';
    text.len() <= MAX_TAG_BYTES
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(is_inner)
}

#[cfg(test)]
mod tests;
