//! Registries as the origin of packs that are not in a store.

use std::io;
use std::ops::Range;

use super::{Registries, RegistryError, Repository};
use crate::digest::BlobDigest;
use crate::registry::read::RangeAnswer;
use crate::remote::{Origin, OriginError, Part, Sink, Stop};

/// What an origin is called: `HOST/REPOSITORY`.
pub(crate) fn origin_name(host: &str, repository: &str) -> String {
    format!("{host}/{repository}")
}

/// The text of an origin is no name of a repository.
#[derive(Debug, thiserror::Error)]
#[error("`{origin}` is no repository of a registry")]
struct NoRepository {
    origin: String,
}

impl Registries {
    fn origin(&self, origin: &str) -> Result<Repository, OriginError> {
        let no_repository = || NoRepository {
            origin: origin.to_owned(),
        };
        let (host, repository) = origin
            .split_once('/')
            .ok_or_else(|| OriginError::permanent(no_repository()))?;
        // The store decides how long a read may take.
        Ok(self.repository(host, repository).tried_once())
    }
}

impl Origin for Registries {
    fn read(
        &self,
        origin: &str,
        blob: &BlobDigest,
        blob_bytes: u64,
        range: Range<u64>,
        sink: Sink<'_>,
    ) -> Result<Part, OriginError> {
        let mut is_stopped = false;
        let mut take = |bytes: &[u8]| {
            sink(bytes).map_err(|Stop| {
                is_stopped = true;
                io::Error::from(io::ErrorKind::Interrupted)
            })
        };
        let repository = self.origin(origin)?;
        let read = repository.read_range(blob, blob_bytes, range, &mut take);
        match read {
            _ if is_stopped => Err(OriginError::stopped()),
            Ok(RangeAnswer::Part) => Ok(Part::Complete),
            Ok(RangeAnswer::Whole) => Ok(Part::NoRanges),
            Err(error) => Err(failure(error)),
        }
    }

    fn stream(
        &self,
        origin: &str,
        blob: &BlobDigest,
        blob_bytes: u64,
        range: Range<u64>,
        sink: Sink<'_>,
    ) -> Result<(), OriginError> {
        let mut at = range.start;
        let mut is_stopped = false;
        let mut take = |bytes: &[u8]| {
            let wanted = usize::try_from(range.end - at).unwrap_or(usize::MAX);
            let bytes = &bytes[..bytes.len().min(wanted)];
            at += bytes.len() as u64;
            is_stopped = sink(bytes).is_err();
            // A blob is read to its end, unless somebody says that it is enough.
            match is_stopped || at == range.end && at < blob_bytes {
                true => Err(io::Error::from(io::ErrorKind::Interrupted)),
                false => Ok(()),
            }
        };
        let read = self
            .origin(origin)?
            .read_blob(blob, blob_bytes, range.start, &mut take);
        match read {
            _ if is_stopped => Err(OriginError::stopped()),
            Err(_) if at == range.end => Ok(()),
            read => read.map_err(failure),
        }
    }
}

fn failure(error: RegistryError) -> OriginError {
    if let RegistryError::Cancelled { .. } = error {
        return OriginError::stopped();
    }
    let pause = error.retry_after();
    let failure = match error.is_transient() {
        true => OriginError::transient(error),
        false => OriginError::permanent(error),
    };
    match pause {
        Some(pause) => failure.after(pause),
        None => failure,
    }
}
