//! Files out of the guest.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agent::archive::{Limits, Unpacker};
use agent::protocol::{Copied, DataReader, Frame, Pack};

use super::job::Job;
use super::{Report, unheard};
use crate::command::{Guest, Patient};
use crate::error::{Error, Repr};
use crate::op::Op;

/// What the agent calls the copy in its stream. The host doesn't rely on it.
const NAME: &str = "copy";
/// The most bytes of files, unless it is said otherwise.
const MAX_BYTES: u64 = 16 << 30;

/// A copy out of the guest that is being described; nothing happens before [`start`](Self::start).
///
/// The guest is not trusted: whatever it sends, nothing appears but the file or folder that the caller named, and what
/// is in it. No symbolic link is followed, neither one that is there nor one that comes. The files belong to this
/// process, without set-user-id, set-group-id and sticky bits; device nodes, pipes and sockets are skipped. Files that
/// are there are replaced, each once its successor is complete, and folders that are there are filled. Zeros become holes.
/// As much of the disk as [`Quotas::host_reserve`](crate::Quotas::host_reserve) says stays free.
#[must_use = "nothing is copied before `start`"]
pub struct CopyOut {
    guest: Arc<dyn Guest>,
    from: String,
    to: PathBuf,
    pub(super) limits: Limits,
    report: Report,
}

impl CopyOut {
    /// `reserve` bytes of the host's disk stay free.
    pub(crate) fn new(guest: Arc<dyn Guest>, from: String, to: PathBuf, reserve: u64) -> Self {
        Self {
            guest,
            from,
            to,
            limits: Limits {
                bytes: MAX_BYTES,
                reserve,
                ..Limits::default()
            },
            report: unheard(),
        }
    }

    /// The most bytes of files that are taken, holes included; 16 GiB if it is not called.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.limits.bytes = bytes;
        self
    }

    /// The most files, folders and links that are taken; 2,097,152 if it is not called. About 60 bytes are remembered
    /// of each file while the copy lasts.
    pub fn max_entries(mut self, entries: u64) -> Self {
        self.limits.entries = entries;
        self
    }

    /// Is told now and then what was made. It is called on the operation's thread.
    pub fn on_progress(mut self, report: impl FnMut(&Copied) + Send + 'static) -> Self {
        self.report = Box::new(report);
        self
    }

    /// Copies, and says what. What was made before a failure stays, but no part of a file.
    ///
    /// The operation fails with
    /// - [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput): the path on the host has no name at its end;
    /// - [`ErrorKind::NotFound`](crate::ErrorKind::NotFound): the guest has no such file;
    /// - [`ErrorKind::Copy`](crate::ErrorKind::Copy): a file could not be read or made, or a limit was passed; the error
    ///   names the file;
    /// - [`ErrorKind::Timeout`](crate::ErrorKind::Timeout): the guest did nothing for five minutes, a pause not counted;
    /// - [`ErrorKind::Guest`](crate::ErrorKind::Guest): the guest is gone, or its agent makes no sense.
    pub fn start(self) -> Op<Copied> {
        Op::start("copy out", move || self.run())
    }

    fn run(self) -> Result<Copied, Error> {
        let no_name = || Repr::HostPath {
            path: self.to.clone(),
        };
        let name = self.to.file_name().ok_or_else(no_name)?.to_owned();
        let folder = match self.to.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let folder = File::open(folder).map_err(|source| Repr::Io {
            action: "open",
            path: folder.to_owned(),
            source,
        })?;
        let what = format!("{} of the guest to {}", self.from, self.to.display());
        let first = Frame::Pack(Pack {
            path: self.from,
            name: Some(NAME.to_owned()),
        });
        let job = Job::start(self.guest, &first, what)?;
        let mut stream = DataReader::new(job.patient()?);
        let unpacker = Unpacker::strict(folder.into())
            .rename(name)
            .limits(self.limits)
            .report(self.report);
        let copied = unpacker.run(&mut stream);
        let mut copied = copied.map_err(|error| job.failed(error))?;
        // What the guest left out did not come.
        copied.skipped += job.end(&mut stream.into_inner())?.skipped;
        Ok(copied)
    }
}

impl fmt::Debug for CopyOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyOut")
            .field("from", &self.from)
            .field("to", &self.to)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// A file or folder of the guest's as a tar stream, as the guest sends it: **whoever unpacks it must not trust it**.
///
/// A read fails if the guest can't go on; the source of that error is an [`Error`]. Dropping it ends the stream.
#[derive(Debug)]
pub struct GuestTar {
    job: Job,
    stream: DataReader<Patient>,
    copied: Option<Copied>,
}

impl GuestTar {
    pub(crate) fn start(guest: Arc<dyn Guest>, from: String) -> Result<Self, Error> {
        let what = format!("{from} of the guest");
        let first = Frame::Pack(Pack {
            path: from,
            name: None,
        });
        let job = Job::start(guest, &first, what)?;
        Ok(Self {
            stream: DataReader::new(job.patient()?),
            job,
            copied: None,
        })
    }

    /// What was sent, by the guest's account; known once all was read.
    #[must_use]
    pub fn copied(&self) -> Option<Copied> {
        self.copied
    }
}

impl Read for GuestTar {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let failed = |error| {
            let error = self.job.of_stream(error);
            error.map_or_else(|error| error, io::Error::other)
        };
        let count = self.stream.read(buf).map_err(failed)?;
        if count == 0 && !buf.is_empty() && self.copied.is_none() {
            let mut connection = self.job.patient().map_err(io::Error::other)?;
            let end = self.job.end(&mut connection).map_err(io::Error::other)?;
            self.copied = Some(end);
        }
        Ok(count)
    }
}
