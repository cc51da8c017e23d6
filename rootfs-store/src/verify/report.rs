//! Taking down what is wrong, with all that it hits.

use std::ops::Range;
use std::path::PathBuf;

use super::Check;
use super::contents::Content;
use super::fault::{Affected, Fault, Problem};
use crate::digest::{BlobDigest, SnapshotDigest};
use crate::store::StoreError;

impl Check<'_> {
    pub(super) fn report_content(&mut self, digest: BlobDigest, content: Content) {
        let has_other_bytes = content.actual.filter(|actual| *actual != digest);
        if let Some(source) = content.unreadable {
            self.blob_fault(digest, Problem::Unreadable { source });
        } else if let Some(actual) = has_other_bytes {
            self.blob_fault(digest, Problem::Content { actual });
        }
        if content.actual != Some(digest) {
            // What is wrong inside follows from that.
            return;
        }
        self.report_sizes(digest, content.bytes);
        if let Some(source) = content.pack {
            self.blob_fault(digest, Problem::Pack { source });
        }
        if let Some((offset, source)) = content.first_damaged {
            let problem = Problem::Frames {
                count: content.damaged_frames,
                offset,
                source,
            };
            self.blob_fault(digest, problem);
        }
    }

    /// A blob that is whole has another size than some document says.
    pub(super) fn report_sizes(&mut self, digest: BlobDigest, found: u64) {
        let sizes = self.needs.get(&digest).map(|need| need.sizes.clone());
        for (expected, users) in sizes.unwrap_or_default() {
            if expected != found {
                let affected = users
                    .into_iter()
                    .map(|user| self.affected(user, Vec::new(), false));
                let affected = affected.collect();
                let file = self.store.blobs().path(&digest);
                let problem = Problem::Size { found, expected };
                self.fault(file, Some(digest), problem, affected);
            }
        }
    }

    pub(super) fn affected(
        &self,
        snapshot: SnapshotDigest,
        ranges: Vec<Range<u64>>,
        more: bool,
    ) -> Affected {
        let known = self.roots.get(&snapshot);
        Affected {
            snapshot,
            roots: known.map_or_else(Vec::new, |(_, roots)| roots.clone()),
            ranges,
            more,
        }
    }

    pub(super) fn note_starved(&mut self, error: &StoreError, digest: &BlobDigest) {
        if StoreError::is_of_too_many_files(error) {
            let path = || self.store.blobs().path(digest);
            self.starved_at.get_or_insert_with(path);
        }
    }

    /// A fault of a blob hits all that need it.
    pub(super) fn blob_fault(&mut self, digest: BlobDigest, problem: Problem) {
        let affected = self.users(&digest);
        let file = self.store.blobs().path(&digest);
        self.fault(file, Some(digest), problem, affected);
    }

    /// All that need a blob.
    pub(super) fn users(&self, digest: &BlobDigest) -> Vec<Affected> {
        let users = self.needs.get(digest).map(|need| need.users.clone());
        let users = users.unwrap_or_default().into_iter();
        users
            .map(|user| self.affected(user, Vec::new(), false))
            .collect()
    }

    pub(super) fn fault(
        &mut self,
        file: PathBuf,
        digest: Option<BlobDigest>,
        problem: Problem,
        affected: Vec<Affected>,
    ) {
        if StoreError::is_of_too_many_files(&problem) {
            self.starved_at.get_or_insert_with(|| file.clone());
        }
        self.verified.faults.push(Fault {
            file,
            digest,
            problem,
            affected,
        });
    }
}
