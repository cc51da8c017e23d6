//! Further drives of a session, besides its root.

use std::collections::BTreeSet;

use rootfs_store::{Lease, SnapshotDigest};
use serde::{Deserialize, Serialize};
use vmm_core::MAX_DRIVES;

use crate::error::{Error, Repr};
use crate::machine::ROOT_SERIAL;
use crate::store::Store;

/// The most further drives of a session; the root is one, too.
const MOST: usize = MAX_DRIVES - 1;

/// Longest name in bytes: a guest reads it as the serial of a virtio disk, which has 20, and as a label.
const MAX_NAME_BYTES: usize = 15;

/// Longest mount point in bytes.
const MAX_PATH_BYTES: usize = 255;

/// What is the agent's own to mount, and all below it.
const RESERVED_PATHS: [&str; 4] = ["/dev", "/proc", "/run", "/sys"];

/// Options that may be asked for; each is a flag or, like `discard`, a word that ext4 knows.
const OPTIONS: [&str; 10] = [
    "nosuid",
    "nodev",
    "noexec",
    "noatime",
    "nodiratime",
    "relatime",
    "lazytime",
    "sync",
    "dirsync",
    "discard",
];

/// A drive for [`SessionBuilder::drive`](crate::SessionBuilder::drive), besides the session's root.
///
/// Its name is 1 to 15 lower-case letters, digits or `-`. The guest finds the drive by it: it is the disk's serial, as
/// in `/sys/block/*/serial` and, with udev, `/dev/disk/by-id/virtio-NAME`. What is on it is kept, committed and thrown
/// away together with the root. [`Snapshot::drives`](crate::Snapshot::drives) names what a shutdown made of it.
///
/// ```no_run
/// # async fn example(store: session::Store) -> Result<(), session::Error> {
/// use session::{ExtraDrive, Session};
///
/// let data = ExtraDrive::empty("data", 10 << 30).mount_with("/data", ["noatime", "nosuid"]);
/// let tools = ExtraDrive::from_image("tools", "docker://golang:1.26").read_only().mount("/opt/tools");
/// let lab = Session::from_image(&store, "docker://debian:13").drive(data).drive(tools).start().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a session has it only if its builder is given it"]
pub struct ExtraDrive {
    name: String,
    content: Content,
    read_only: bool,
    mount: Option<MountPoint>,
}

#[derive(Debug, Clone)]
enum Content {
    Empty { bytes: u64 },
    Snapshot(SnapshotDigest),
    Image(String),
}

/// What is kept of a drive in its session's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DriveRecord {
    pub(crate) name: String,
    /// The snapshot that the present disk started from, or is, if the session is stopped.
    pub(crate) snapshot: SnapshotDigest,
    /// The snapshot that the session was created with.
    pub(crate) origin: SnapshotDigest,
    pub(crate) read_only: bool,
    pub(crate) mount: Option<MountPoint>,
}

/// Where a drive is mounted, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MountPoint {
    pub(crate) path: String,
    pub(crate) options: Vec<String>,
}

/// A drive of a session that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DriveInfo {
    /// Its name.
    pub name: String,
    /// The snapshot that it is, if the session is stopped, or started from last.
    pub snapshot: SnapshotDigest,
    /// The snapshot that the session was created with.
    pub base: SnapshotDigest,
    /// Whether the guest can only read it.
    pub read_only: bool,
    /// Where the guest has it mounted, if it was told to.
    pub mount: Option<String>,
}

impl ExtraDrive {
    fn new(name: impl Into<String>, content: Content) -> Self {
        Self {
            name: name.into(),
            content,
            read_only: false,
            mount: None,
        }
    }

    /// A drive of so many bytes, rounded up to a multiple of 1 MiB, with an empty ext4 on it. It takes space as it is
    /// filled.
    pub fn empty(name: impl Into<String>, bytes: u64) -> Self {
        Self::new(name, Content::Empty { bytes })
    }

    /// A drive that begins as a snapshot: of another session, or of one of its drives, for example.
    pub fn from_snapshot(name: impl Into<String>, snapshot: impl Into<SnapshotDigest>) -> Self {
        Self::new(name, Content::Snapshot(snapshot.into()))
    }

    /// A drive that holds a container image's files; it is named, found and imported as an image for a root is.
    pub fn from_image(name: impl Into<String>, reference: impl Into<String>) -> Self {
        Self::new(name, Content::Image(reference.into()))
    }

    /// Lets the guest read the drive only. One that was left as after a power cut, by
    /// [`DriveSnapshot::clean`](crate::DriveSnapshot::clean), is mounted without its journal: what was written to it last may be
    /// missing.
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Mounts the drive, an ext4, before the guest's init starts: at an absolute path without `.` and `..`, which is
    /// made if it is not there. A file system that is smaller than the drive grows, unless it is read-only.
    pub fn mount(self, path: impl Into<String>) -> Self {
        self.mount_with(path, [] as [String; 0])
    }

    /// As [`mount`](Self::mount), with options of mount(8): `nosuid`, `nodev`, `noexec`, `noatime`, `nodiratime`,
    /// `relatime`, `lazytime`, `sync`, `dirsync` and `discard`.
    pub fn mount_with(
        mut self,
        path: impl Into<String>,
        options: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.mount = Some(MountPoint {
            path: path.into(),
            options: options.into_iter().map(Into::into).collect(),
        });
        self
    }
}

/// Checks what can be checked of drives without touching the store.
pub(crate) fn check(drives: &[ExtraDrive]) -> Result<(), Error> {
    if drives.len() > MOST {
        let asked = drives.len();
        return Err(Repr::TooManyDrives { asked, most: MOST }.into());
    }
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for drive in drives {
        check_name(&drive.name)?;
        if !names.insert(&drive.name) {
            let name = drive.name.clone();
            return Err(Repr::DriveTwice { name }.into());
        }
        let Some(mount) = &drive.mount else { continue };
        check_mount(&drive.name, mount)?;
        if !paths.insert(&mount.path) {
            let path = mount.path.clone();
            return Err(Repr::MountTwice { path }.into());
        }
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), Error> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let is_good = (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(allowed)
        && !name.starts_with('-')
        && name != ROOT_SERIAL;
    match is_good {
        true => Ok(()),
        false => Err(Repr::BadDriveName {
            name: name.to_owned(),
        }
        .into()),
    }
}

fn check_mount(drive: &str, mount: &MountPoint) -> Result<(), Error> {
    let MountPoint { path, options } = mount;
    let what = if path.len() > MAX_PATH_BYTES {
        Some("it is too long")
    } else if path.contains(char::is_control) {
        Some("it has control characters")
    } else if !is_plain(path) {
        Some("it must be absolute, not the root, and without empty parts, `.` and `..`")
    } else if RESERVED_PATHS
        .iter()
        .any(|reserved| is_within(path, reserved))
    {
        Some("the kernel's own file systems are mounted there")
    } else {
        None
    };
    if let Some(what) = what {
        let (drive, path) = (drive.to_owned(), path.clone());
        return Err(Repr::BadMountPoint { drive, path, what }.into());
    }
    match options
        .iter()
        .find(|option| !OPTIONS.contains(&option.as_str()))
    {
        None => Ok(()),
        Some(option) => Err(Repr::BadMountOption {
            drive: drive.to_owned(),
            option: option.clone(),
            known: OPTIONS.join(", "),
        }
        .into()),
    }
}

/// Whether it is an absolute path that says where it leads.
fn is_plain(path: &str) -> bool {
    path.strip_prefix('/')
        .is_some_and(|rest| rest.split('/').all(|part| !matches!(part, "" | "." | "..")))
}

/// Whether the path is the folder, or lies below it.
fn is_within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The drives of a fork: those of the session that it is a fork of, but for what is given anew by the same name.
pub(crate) fn together(
    old: Vec<DriveRecord>,
    more: Vec<DriveRecord>,
) -> Result<Vec<DriveRecord>, Error> {
    let is_kept = |drive: &DriveRecord| more.iter().all(|new| new.name != drive.name);
    let mut all: Vec<_> = old.into_iter().filter(is_kept).collect();
    all.extend(more);
    if all.len() > MOST {
        let asked = all.len();
        return Err(Repr::TooManyDrives { asked, most: MOST }.into());
    }
    let mut paths = BTreeSet::new();
    for mount in all.iter().filter_map(|drive| drive.mount.as_ref()) {
        if !paths.insert(&mount.path) {
            let path = mount.path.clone();
            return Err(Repr::MountTwice { path }.into());
        }
    }
    Ok(all)
}

/// Finds, imports or makes what the drives begin as. The leases keep that until it has names.
pub(crate) fn resolve(
    store: &Store,
    drives: &[ExtraDrive],
) -> Result<(Vec<DriveRecord>, Vec<Lease>), Error> {
    let (mut records, mut leases) = (Vec::new(), Vec::new());
    for drive in drives {
        let snapshot = match &drive.content {
            Content::Empty { bytes } => {
                let made = store.inner().empty_disk(*bytes, &drive.name)?;
                leases.push(made.lease);
                made.snapshot
            }
            Content::Snapshot(digest) => store.snapshot(digest)?.digest,
            Content::Image(reference) => {
                let (snapshot, lease) = store.import(reference).obtain()?;
                leases.push(lease);
                snapshot
            }
        };
        records.push(DriveRecord {
            name: drive.name.clone(),
            snapshot,
            origin: snapshot,
            read_only: drive.read_only,
            mount: drive.mount.clone(),
        });
    }
    Ok((records, leases))
}

impl From<DriveRecord> for DriveInfo {
    fn from(record: DriveRecord) -> Self {
        Self {
            name: record.name,
            snapshot: record.snapshot,
            base: record.origin,
            read_only: record.read_only,
            mount: record.mount.map(|mount| mount.path),
        }
    }
}

#[cfg(test)]
mod tests;
