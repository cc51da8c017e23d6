//! Files into the guest.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use agent::archive::{self, ArchiveError};
use agent::protocol::{Copied, DataWriter, Frame, Owner, Unpack};

use super::job::Job;
use super::{Report, unheard};
use crate::command::{Connection, Guest, Patient};
use crate::error::{Error, Repr};
use crate::op::Op;

const TOO_EARLY: &str = "it had copied everything before it was sent";

/// What is read of a caller's stream at once.
const BUFFER_BYTES: usize = 64 << 10;

/// A copy into the guest that is being described; nothing happens before [`start`](Self::start).
///
/// Files that are there are replaced, each once its successor is complete, and folders that are there are filled. Symbolic
/// links are copied as such, further names of a file as such, zeros as holes; permissions and times are kept. Device nodes,
/// pipes and sockets are skipped. At most 2,097,152 files, folders and links are taken. The guest needs no programs for it.
///
/// Symbolic links of the guest's root are followed: on the way to the folder that the copy is put into wherever they lead,
/// and in it where they are relative and stay inside. Others are an error, as the agent writes as root.
#[must_use = "nothing is copied before `start`"]
pub struct CopyIn {
    guest: Arc<dyn Guest>,
    source: Source,
    to: String,
    owner: Owner,
    report: Report,
}

/// Where the files come from.
enum Source {
    Path(PathBuf),
    Stream(Box<dyn Read + Send>),
}

impl CopyIn {
    pub(crate) fn path(guest: Arc<dyn Guest>, from: PathBuf, to: String) -> Self {
        Self {
            guest,
            source: Source::Path(from),
            to,
            owner: Owner::User(String::new()),
            report: unheard(),
        }
    }

    pub(crate) fn stream(
        guest: Arc<dyn Guest>,
        stream: impl Read + Send + 'static,
        to: String,
    ) -> Self {
        Self {
            guest,
            source: Source::Stream(Box::new(stream)),
            to,
            owner: Owner::Stream,
            report: unheard(),
        }
    }

    /// Whose the copy shall be: `user[:group]`, names of the image or numbers. Without it, what comes from the host is
    /// root's, and what comes from a stream belongs to whom the stream says.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Owner::User(owner.into());
        self
    }

    /// Leaves the owners' numbers as they are.
    pub fn keep_owners(mut self) -> Self {
        self.owner = Owner::Stream;
        self
    }

    /// Is told now and then what was sent; of a stream, its bytes alone. It is called on the operation's thread.
    pub fn on_progress(mut self, report: impl FnMut(&Copied) + Send + 'static) -> Self {
        self.report = Box::new(report);
        self
    }

    /// Copies, and says what. What was copied before a failure stays, but no part of a file.
    ///
    /// The operation fails with
    /// - [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput): the path in the guest is not absolute, or has no
    ///   name;
    /// - [`ErrorKind::Copy`](crate::ErrorKind::Copy): a file could not be read or made; the error names it;
    /// - [`ErrorKind::Timeout`](crate::ErrorKind::Timeout): the guest did nothing for five minutes, a pause not counted;
    /// - [`ErrorKind::Guest`](crate::ErrorKind::Guest): the guest is gone.
    pub fn start(self) -> Op<Copied> {
        Op::start("copy in", move || self.run())
    }

    fn run(mut self) -> Result<Copied, Error> {
        let (directory, name) = match &self.source {
            Source::Path(from) => {
                // Before the guest is asked for anything.
                fs::symlink_metadata(from).map_err(|source| Repr::Copy {
                    what: self.to.clone(),
                    source: ArchiveError::Entry {
                        action: "examine",
                        entry: from.display().to_string(),
                        source,
                    },
                })?;
                split(&self.to)?
            }
            Source::Stream(_) => (check(&self.to)?.to_owned(), String::new()),
        };
        let what = match &self.source {
            Source::Path(from) => format!("{} to {} in the guest", from.display(), self.to),
            Source::Stream(_) => format!("a tar stream to {} in the guest", self.to),
        };
        let first = Frame::Unpack(Unpack {
            directory,
            owner: self.owner.clone(),
        });
        let job = Job::start(Arc::clone(&self.guest), &first, what)?;
        let is_sent = Arc::new(AtomicBool::new(false));
        let mut answers = Patient::after(&self.guest, job.share()?, &is_sent);
        let closer = job.share()?;
        thread::scope(|scope| {
            // A panic of the caller's own code must not leave the listener waiting.
            let _hangs_up = HangUp(&*job.connection);
            // The agent says at once what it can't do, and takes no more then.
            let listener = thread::Builder::new().name("copy-answer".to_owned());
            let listener = listener.spawn_scoped(scope, || {
                let end =
                    job.end(&mut answers)
                        .and_then(|made| match is_sent.load(Ordering::SeqCst) {
                            true => Ok(made),
                            false => Err(Repr::AgentConfused { what: TOO_EARLY }.into()),
                        });
                if end.is_err() {
                    closer.hang_up();
                }
                end
            });
            let listener = listener.map_err(|source| Repr::Thread {
                name: "copy-answer",
                source,
            })?;
            let sent = self.send(&job, &name, &is_sent);
            // No more comes, for whatever reason, so the answer is due.
            is_sent.store(true, Ordering::SeqCst);
            if sent.as_ref().is_err_and(|failure| !failure.is_agents()) {
                job.connection.hang_up();
            }
            let end = listener.join().unwrap_or_else(|_| {
                Err(Repr::Panicked {
                    name: "copy-answer",
                }
                .into())
            });
            match (sent, end) {
                (Ok(Some(sent)), Ok(_)) => Ok(sent),
                (Ok(None), Ok(made)) => Ok(made),
                (Err(Unsent::Source(error)), _) => Err(error),
                (Err(Unsent::Connection(source)), _) if is_timeout(&source) => {
                    Err(job.broken(source))
                }
                // Whoever breaks a connection off has said why.
                (_, Err(error)) => Err(error),
                (Err(Unsent::Connection(source)), Ok(_)) => Err(job.broken(source)),
            }
        })
    }

    /// Sends all of it; what that was, if it is known.
    fn send(
        &mut self,
        job: &Job,
        name: &str,
        is_sent: &AtomicBool,
    ) -> Result<Option<Copied>, Unsent> {
        let connection = job.patient().map_err(Unsent::Source)?;
        let mut stream = DataWriter::new(connection);
        let copied = match &mut self.source {
            Source::Path(from) => {
                let packed = archive::pack(from, OsStr::new(name), &mut stream, &mut self.report);
                Some(packed.map_err(|error| match error {
                    ArchiveError::Stream { source, .. } => Unsent::Connection(source),
                    error => Unsent::Source(job.failed(error)),
                })?)
            }
            Source::Stream(from) => {
                pour(from, &mut stream, &mut self.report, &job.what)?;
                None
            }
        };
        // The agent may answer before the last write returns.
        is_sent.store(true, Ordering::SeqCst);
        stream.finish().map_err(Unsent::Connection)?;
        Ok(copied)
    }
}

/// Hangs up when it is dropped.
struct HangUp<'a>(&'a dyn Connection);

impl Drop for HangUp<'_> {
    fn drop(&mut self) {
        self.0.hang_up();
    }
}

/// Why not all was sent.
enum Unsent {
    /// What was to be sent could not be read.
    Source(Error),
    Connection(io::Error),
}

impl Unsent {
    /// Whether the agent has ended it, and may have said why.
    fn is_agents(&self) -> bool {
        matches!(self, Self::Connection(source) if !is_timeout(source))
    }
}

fn is_timeout(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut
}

/// Sends a caller's stream as it is.
fn pour(
    from: &mut dyn Read,
    to: &mut impl Write,
    report: &mut Report,
    what: &str,
) -> Result<(), Unsent> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut sent = Copied::default();
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => {
                let what = what.to_owned();
                return Err(Unsent::Source(Repr::CopyInput { what, source }.into()));
            }
        };
        to.write_all(&buffer[..count]).map_err(Unsent::Connection)?;
        sent.bytes += count as u64;
        report(&sent);
    }
}

fn check(path: &str) -> Result<&str, Error> {
    let problem = if !path.starts_with('/') {
        "it has to begin with a slash"
    } else if path.contains('\0') {
        "it has a zero byte"
    } else {
        return Ok(path);
    };
    let path = path.to_owned();
    Err(Repr::GuestPath { path, problem }.into())
}

/// The folder and the name that a path in the guest has.
fn split(path: &str) -> Result<(String, String), Error> {
    let checked = Path::new(check(path)?);
    let parts = checked.parent().zip(checked.file_name());
    let (folder, name) = parts.ok_or_else(|| Repr::GuestPath {
        path: path.to_owned(),
        problem: "it has to end with the name that the copy shall have",
    })?;
    // They are parts of a text.
    let text = |part: &OsStr| part.to_string_lossy().into_owned();
    Ok((text(folder.as_os_str()), text(name)))
}

impl fmt::Debug for CopyIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("CopyIn");
        if let Source::Path(from) = &self.source {
            shown.field("from", from);
        }
        shown
            .field("to", &self.to)
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}
