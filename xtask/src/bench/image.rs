//! The images that are measured with: a Debian that builds software, and later versions of it.
//!
//! All are in one folder of the cache. The later versions have the same 21 files changed: as a single layer that was
//! built anew, as one more layer, and, again as a single layer, with sizes that changed too.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::BenchError;
use crate::cache;
use crate::command;
use crate::file_error::file_error;
use crate::images::{self, Layout};
use crate::packages;
use crate::root;

/// The version of what makes the images: one more with every change that makes others.
const ENTRY: &str = "bench-debian-v1";
/// What the image has beyond the smallest Debian: compilers, interpreters and their libraries.
const PACKAGES: &str = "systemd-sysv,dbus,openssh-server,python3,python3-numpy,iproute2,procps,build-essential,git,vim";
/// Folders whose content differs from build to build.
const EMPTIED: [&str; 4] = [
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log",
    "var/cache/ldconfig",
];
/// Files that are changed in the later versions.
pub(super) const CHANGED_FILES: usize = 21;
/// The seconds of the time that changed files have: 1 January 2025.
const CHANGED_AT: &str = "2025-01-01T00:00:00Z";

/// The folders of the images, each an OCI layout.
#[derive(Debug, Clone)]
pub(super) struct Images {
    pub(super) first: PathBuf,
    /// Changed, and built as one layer again.
    pub(super) rebuilt: PathBuf,
    /// The same files as in `rebuilt`, as the first and one more layer.
    pub(super) layered: PathBuf,
    /// Changed with most of the files' sizes, and built as one layer again.
    pub(super) resized: PathBuf,
}

impl Images {
    fn of(folder: &Path) -> Self {
        Self {
            first: folder.join("first"),
            rebuilt: folder.join("rebuilt"),
            layered: folder.join("layered"),
            resized: folder.join("resized"),
        }
    }
}

/// Prints where the images are.
pub(super) fn print() -> Result<(), BenchError> {
    let images = ensure()?;
    for folder in [images.first, images.rebuilt, images.layered, images.resized] {
        println!("{}", images::reference(&folder));
    }
    Ok(())
}

/// Returns the images, which are made first if they are not there.
pub(super) fn ensure() -> Result<Images, BenchError> {
    if !root::is_root() {
        return Err(BenchError::NotRoot);
    }
    packages::ensure(&["umoci", "debootstrap", "debian-archive-keyring"])?;
    let folder = cache::ensure(ENTRY, |partial| {
        make(&Images::of(partial), &partial.join("next"))
    })?;
    Ok(Images::of(&folder))
}

fn make(images: &Images, next: &Path) -> Result<(), BenchError> {
    eprintln!("xtask: making the images to measure with, which takes some minutes");
    create(&images.first)?;
    let first = Layout::begin(&images.first)?;
    images::bootstrap(&first.rootfs(), PACKAGES)?;
    for folder in EMPTIED {
        empty(&first.rootfs().join(folder))?;
    }
    first.add_layer("debootstrap")?;
    copy(&first.rootfs(), next)?;
    first.finish(&[])?;
    change(next, flip)?;
    rebuild(&images.rebuilt, next)?;
    create(&images.layered)?;
    add_layer(&images.first, &images.layered, next)?;
    change(next, resize)?;
    rebuild(&images.resized, next)?;
    Ok(fs::remove_dir_all(next).map_err(file_error("remove", next))?)
}

/// One layer that holds the files of `next`.
fn rebuild(target: &Path, next: &Path) -> Result<(), BenchError> {
    create(target)?;
    let rebuilt = Layout::begin(target)?;
    copy(&next.join("."), &rebuilt.rootfs())?;
    rebuilt.add_layer("built anew")?;
    Ok(rebuilt.finish(&[])?)
}

/// The image in `first`, and a layer that makes the files of `next` of it.
fn add_layer(first: &Path, target: &Path, next: &Path) -> Result<(), BenchError> {
    copy(&first.join("."), target)?;
    let image = format!("{}:latest", target.display());
    let bundle = target.join("bundle");
    run("umoci", &["unpack", "--image", &image], &[&bundle])?;
    for file in chosen(next)? {
        copy(&next.join(&file), &bundle.join("rootfs").join(&file))?;
    }
    run("umoci", &["repack", "--image", &image], &[&bundle])?;
    run("umoci", &["gc", "--layout"], &[target])?;
    Ok(fs::remove_dir_all(&bundle).map_err(file_error("remove", &bundle))?)
}

/// Changes the content of each of the chosen files, and its time.
fn change(rootfs: &Path, edit: fn(usize, Vec<u8>) -> Vec<u8>) -> Result<(), BenchError> {
    for (number, file) in chosen(rootfs)?.iter().enumerate() {
        let path = rootfs.join(file);
        let bytes = fs::read(&path).map_err(file_error("read", &path))?;
        fs::write(&path, edit(number, bytes)).map_err(file_error("write", &path))?;
        run("touch", &["--date", CHANGED_AT], &[&path])?;
    }
    Ok(())
}

/// Other bytes in the middle, and the same size.
fn flip(_number: usize, mut bytes: Vec<u8>) -> Vec<u8> {
    let middle = bytes.len() / 2;
    for byte in bytes.iter_mut().skip(middle).take(64) {
        *byte = !*byte;
    }
    bytes
}

/// A tenth more in the middle of one file, a tenth less in that of the next, and as it is in the third.
fn resize(number: usize, mut bytes: Vec<u8>) -> Vec<u8> {
    let middle = bytes.len() / 2;
    let tenth = middle..middle + bytes.len() / 10;
    match number % 3 {
        0 => {
            let more = bytes[tenth].to_vec();
            bytes.splice(middle..middle, more);
        }
        1 => drop(bytes.drain(tenth)),
        _ => {}
    }
    bytes
}

/// Files at equal distances in the order of their paths, none of which has several names.
fn chosen(rootfs: &Path) -> Result<Vec<PathBuf>, BenchError> {
    let mut files = Vec::new();
    list(rootfs, Path::new(""), &mut files)?;
    files.sort();
    let every = files.len() / CHANGED_FILES;
    if every == 0 {
        return Err(BenchError::FewFiles {
            folder: rootfs.to_owned(),
        });
    }
    Ok(files
        .into_iter()
        .skip(every / 2)
        .step_by(every)
        .take(CHANGED_FILES)
        .collect())
}

fn list(rootfs: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), BenchError> {
    let path = rootfs.join(folder);
    for entry in fs::read_dir(&path).map_err(file_error("list", &path))? {
        let entry = entry.map_err(file_error("list", &path))?;
        let metadata = entry
            .metadata()
            .map_err(file_error("inspect", &entry.path()))?;
        let name = folder.join(entry.file_name());
        if metadata.is_dir() {
            list(rootfs, &name, files)?;
        } else if metadata.is_file() && metadata.len() > 0 && metadata.nlink() == 1 {
            files.push(name);
        }
    }
    Ok(())
}

/// Number of files and bytes of them below `rootfs`.
pub(super) fn count(rootfs: &Path) -> Result<(usize, u64), BenchError> {
    let mut files = Vec::new();
    list(rootfs, Path::new(""), &mut files)?;
    let mut bytes = 0;
    for file in &files {
        let path = rootfs.join(file);
        bytes += path
            .symlink_metadata()
            .map_err(file_error("inspect", &path))?
            .len();
    }
    Ok((files.len(), bytes))
}

fn create(folder: &Path) -> Result<(), BenchError> {
    Ok(fs::create_dir(folder).map_err(file_error("create", folder))?)
}

fn copy(from: &Path, to: &Path) -> Result<(), BenchError> {
    run("cp", &["--archive"], &[from, to])
}

fn empty(folder: &Path) -> Result<(), BenchError> {
    let mut find = Command::new("find");
    find.arg(folder).args(["-mindepth", "1", "-delete"]);
    command::run(&mut find)?;
    Ok(())
}

fn run(program: &str, words: &[&str], paths: &[&Path]) -> Result<(), BenchError> {
    command::run(Command::new(program).args(words).args(paths))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_chosen_by_path_and_none_with_two_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: String| folder.path().join(name);
        for number in 0..2 * CHANGED_FILES {
            fs::write(path(format!("{number:03}")), "content").unwrap();
        }
        fs::hard_link(path("001".to_owned()), path("other".to_owned())).unwrap();
        let found = chosen(folder.path()).unwrap();
        assert_eq!(found.len(), CHANGED_FILES);
        assert!(!found.contains(&PathBuf::from("001")));
        assert_eq!(
            count(folder.path()).unwrap(),
            (2 * CHANGED_FILES - 1, 7 * 41)
        );
    }

    #[test]
    fn few_files_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let found = chosen(folder.path());
        assert!(matches!(found, Err(BenchError::FewFiles { .. })));
    }

    #[test]
    fn edits_change_content_and_sizes() {
        let edited = |edit: fn(usize, Vec<u8>) -> Vec<u8>, number| edit(number, (0..100).collect());
        assert_eq!(edited(flip, 0).len(), 100);
        assert_ne!(edited(flip, 0), (0..100).collect::<Vec<u8>>());
        let sizes = [0, 1, 2].map(|number| edited(resize, number).len());
        assert_eq!(sizes, [110, 90, 100]);
    }
}
