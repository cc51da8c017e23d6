//! Packs that are elsewhere: known by a record, and partly here.

use super::Check;
use super::fault::Problem;
use crate::digest::BlobDigest;

impl Check<'_> {
    /// A blob that is not there may be a pack that is known to be elsewhere.
    pub(super) fn look_elsewhere(&mut self, digest: BlobDigest) {
        let remotes = &self.store.inner.source.remotes;
        let record = match remotes.record(&digest) {
            Ok(Some(record)) => record,
            // It became a blob since that was looked for.
            Ok(None) if self.store.blobs().path(&digest).exists() => return,
            Ok(None) => return self.blob_fault(digest, Problem::Missing),
            Err(source) => {
                let affected = self.users(&digest);
                let file = remotes.record_path(&digest);
                let problem = Problem::Document { source };
                return self.fault(file, Some(digest), problem, affected);
            }
        };
        let cached = remotes.cached_bytes(&digest);
        self.verified.remote_packs += 1;
        self.verified.remote_bytes += record.bytes;
        self.verified.missing_bytes += record.bytes.saturating_sub(cached);
        self.report_sizes(digest, record.bytes);
        self.remotes.insert(digest);
    }
}
