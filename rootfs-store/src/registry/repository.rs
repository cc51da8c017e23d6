//! A repository: what is in it, and blobs that another repository has.

use std::sync::Arc;

use ureq::http::{HeaderName, Method};

use super::answer::Answer;
use super::auth::Access;
use super::body::Body;
use super::client::{Client, Registry};
use super::error::RegistryError;
use super::reference::is_repository;
use super::transport::Head;
use super::url::Url;
use crate::digest::BlobDigest;

/// A repository of a registry. Clones are cheap, and share connections and tokens.
#[derive(Debug, Clone)]
pub(crate) struct Repository {
    client: Arc<Client>,
    registry: Arc<Registry>,
    mirrors: Arc<[Registry]>,
    name: Arc<str>,
    /// Reads are tried once only, as the caller has a time limit of its own.
    is_tried_once: bool,
}

impl Repository {
    pub(crate) fn new(client: Arc<Client>, host: &str, name: &str) -> Self {
        Self {
            registry: Arc::new(client.registry(host)),
            mirrors: client.mirrors(host).into(),
            name: name.into(),
            client,
            is_tried_once: false,
        }
    }

    /// The size of a blob in bytes, or nothing if the registry has no such blob. Mirrors are not asked.
    ///
    /// # Errors
    /// Any [`RegistryError`] of a request; [`RegistryError::BadAnswer`] if the registry does not tell the size.
    pub(crate) fn blob_size(&self, digest: &BlobDigest) -> Result<Option<u64>, RegistryError> {
        self.client.attempts(|| self.blob_size_once(digest))
    }

    /// The same, with one attempt.
    pub(crate) fn blob_size_once(&self, digest: &BlobDigest) -> Result<Option<u64>, RegistryError> {
        let head = Head::new(Method::HEAD);
        let url = self.url(&self.registry, &format!("blobs/{digest}"))?;
        let answer = self.ask(&self.registry, &head, &url)?;
        match answer.status() {
            200 => {
                let size = answer.content_length();
                size.map(Some).ok_or_else(|| RegistryError::BadAnswer {
                    request: answer.request().to_owned(),
                    problem: "it tells no size".to_owned(),
                })
            }
            404 => Ok(None),
            _ => Err(answer.into_error()),
        }
    }

    /// Makes a blob of another repository of the same registry one of this repository, without moving it. Says whether
    /// that worked; where it did not, the blob has to be uploaded.
    ///
    /// # Errors
    /// Any [`RegistryError`] that an upload would meet, too.
    pub(crate) fn mount(
        &self,
        digest: &BlobDigest,
        from_repository: &str,
    ) -> Result<bool, RegistryError> {
        // The name may come from a document that somebody else wrote.
        if !is_repository(from_repository) {
            return Ok(false);
        }
        let access = Access::push(&self.name).and_pull(from_repository);
        let mounted = self.client.attempts(|| {
            let head = Head::new(Method::POST);
            let url = self.url(&self.registry, "blobs/uploads/")?;
            let url = url
                .with_parameter("mount", &digest.to_string())
                .with_parameter("from", from_repository);
            let body = &mut Body::Empty;
            let answer = self
                .client
                .exchange(&self.registry, &access, &head, &url, body)?;
            match answer.status() {
                201 => {
                    answer.drain();
                    Ok(true)
                }
                // The registry began an upload instead.
                202 => {
                    let upload = self.client.location(&answer);
                    answer.drain();
                    self.cancel(upload);
                    Ok(false)
                }
                _ => Err(answer.into_error()),
            }
        });
        match mounted {
            // To take a blob from elsewhere may be forbidden where uploads are not.
            Err(
                error @ (RegistryError::Unauthorized { .. }
                | RegistryError::Denied { .. }
                | RegistryError::NotFound { .. }
                | RegistryError::Refused { .. }),
            ) => {
                tracing::debug!(%error, "not mounted");
                Ok(false)
            }
            mounted => mounted,
        }
    }

    /// Ends an upload that is not needed. Registries forget such uploads by themselves, only later.
    fn cancel(&self, upload: Result<Url, RegistryError>) {
        let head = Head::new(Method::DELETE);
        let access = Access::push(&self.name);
        let body = &mut Body::Empty;
        let cancelled = upload.and_then(|url| {
            self.client
                .exchange(&self.registry, &access, &head, &url, body)
        });
        match cancelled {
            Ok(answer) => answer.drain(),
            Err(error) => tracing::debug!(%error, "could not cancel an upload"),
        }
    }

    /// The address of something in this repository.
    pub(crate) fn url(&self, registry: &Registry, path: &str) -> Result<Url, RegistryError> {
        if !is_repository(&self.name) {
            return Err(RegistryError::BadName {
                name: self.name.to_string(),
            });
        }
        let url = registry.root()?.join(&format!("/v2/{}/{path}", self.name));
        url.ok_or_else(|| RegistryError::BadLocation {
            request: format!("{}/{path}", self.name),
        })
    }

    /// Sends a request that only reads.
    pub(crate) fn ask(
        &self,
        registry: &Registry,
        head: &Head,
        url: &Url,
    ) -> Result<Answer, RegistryError> {
        let access = Access::pull(&self.name);
        self.client
            .exchange(registry, &access, head, url, &mut Body::Empty)
    }

    /// Sends a request that changes the repository.
    pub(crate) fn change(
        &self,
        head: &Head,
        url: &Url,
        body: &mut Body<'_>,
    ) -> Result<Answer, RegistryError> {
        let access = Access::push(&self.name);
        self.client
            .exchange(&self.registry, &access, head, url, body)
    }

    /// The same, for a caller that tries reads again by itself.
    pub(crate) fn tried_once(self) -> Self {
        Self {
            is_tried_once: true,
            ..self
        }
    }

    pub(crate) fn is_tried_once(&self) -> bool {
        self.is_tried_once
    }

    /// Reads something from the mirrors, each tried once, or else from the registry.
    pub(crate) fn read_anywhere<T>(
        &self,
        mut read: impl FnMut(&Registry) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        for mirror in self.mirrors() {
            match read(mirror) {
                Ok(done) => return Ok(done),
                // What fails here fails with any registry.
                Err(error) if error.is_ours() => return Err(error),
                Err(error) => tracing::debug!(%error, mirror = %mirror.host, "mirror passed over"),
            }
        }
        match self.is_tried_once {
            true => read(&self.registry),
            false => self.client.attempts(|| read(&self.registry)),
        }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(crate) fn mirrors(&self) -> &[Registry] {
        &self.mirrors
    }
}

/// The name of a header that this crate writes itself.
pub(crate) const fn header(name: &'static str) -> HeaderName {
    HeaderName::from_static(name)
}

#[cfg(test)]
mod tests;
