//! The stock kernels that the tests boot: Debian's cloud kernels, unpacked from their packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;

use crate::apt::{self, MirrorError};
use crate::cache::{self, CacheError};
use crate::command::{self, CommandError};
use crate::file_error::{FileError, file_error};
use crate::packages::{self, PackageError};

/// The package that depends on the newest kernel of the release.
const META_PACKAGE: &str = "linux-image-cloud-amd64";
/// The version of how the package is chosen and unpacked: one more with every change that gives another folder.
const RECIPE: u32 = 1;
/// The keys that sign the releases; part of every Debian.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A series of kernels, and where Debian has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Series {
    /// The oldest that guests may have.
    #[value(name = "5.10")]
    V5_10,
    /// The one that nearly all tests are written for, and that emulated machines run.
    #[value(name = "6.1")]
    V6_1,
    /// A newer one.
    #[value(name = "6.12")]
    V6_12,
}

impl Series {
    /// What the series' versions begin with.
    fn prefix(self) -> &'static str {
        match self {
            Self::V5_10 => "5.10.",
            Self::V6_1 => "6.1.",
            Self::V6_12 => "6.12.",
        }
    }

    /// The suite of the archive whose newest kernel is of the series.
    fn suite(self) -> &'static str {
        match self {
            Self::V5_10 => "bullseye",
            Self::V6_1 => apt::RELEASE,
            Self::V6_12 => "bookworm-backports",
        }
    }

    /// The folder's name in the cache.
    fn entry(self) -> String {
        format!("kernel-{}x-v{RECIPE}", self.prefix())
    }
}

/// Which kernel to print.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The series of the kernel.
    #[arg(long, value_enum, default_value_t = Series::V6_1)]
    series: Series,
}

/// A kernel and the folder of its modules.
#[derive(Debug, Clone)]
pub(crate) struct KernelPaths {
    /// The compressed kernel, a bzImage.
    pub(crate) vmlinuz: PathBuf,
    /// The folder `lib/modules/VERSION` that belongs to it.
    pub(crate) modules_dir: PathBuf,
}

/// A kernel that could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum KernelError {
    #[error("could not download or unpack {META_PACKAGE}; is the mirror {mirror} reachable?")]
    Download {
        mirror: String,
        source: CommandError,
    },
    #[error(
        "{mirror} offers no {META_PACKAGE} of series {}x in {}: apt answered {answer:?}",
        series.prefix(), series.suite()
    )]
    NotOffered {
        mirror: String,
        series: Series,
        answer: String,
    },
    #[error("{path} holds no kernel or no modules; remove the folder and run again")]
    Incomplete { path: PathBuf },
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    #[error(transparent)]
    Package(#[from] PackageError),
}

/// Prints a kernel and the folder of its modules.
pub(crate) fn main(args: &Args) -> Result<(), KernelError> {
    let kernel = ensure_series(args.series)?;
    println!(
        "{}\n{}",
        kernel.vmlinuz.display(),
        kernel.modules_dir.display()
    );
    Ok(())
}

/// Returns the kernel that nearly everything here boots, as [`ensure_series`] does.
pub(crate) fn ensure_kernel() -> Result<KernelPaths, KernelError> {
    ensure_series(Series::V6_1)
}

/// Returns a kernel of the series in the cache, which is downloaded first if it is not there.
///
/// # Errors
/// [`KernelError`]; the cache is then as it was.
pub(crate) fn ensure_series(series: Series) -> Result<KernelPaths, KernelError> {
    let root = cache::ensure(&series.entry(), |target| download(series, target))?;
    find(series, &root)
}

/// The file of a module, wherever in the folder of modules it is.
pub(crate) fn module(folder: &Path, name: &str) -> Option<PathBuf> {
    for entry in fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if let Some(found) = module(&path, name) {
                return Some(found);
            }
        } else if entry
            .file_name()
            .to_str()
            .and_then(|file| file.strip_suffix(".ko"))
            == Some(name)
        {
            return Some(path);
        }
    }
    None
}

fn find(series: Series, root: &Path) -> Result<KernelPaths, KernelError> {
    let first = |dir: PathBuf, prefix: &str| {
        fs::read_dir(dir).ok().and_then(|entries| {
            entries
                .flatten()
                .find(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
                .map(|entry| entry.path())
        })
    };
    let modules = ["lib/modules", "usr/lib/modules"]
        .into_iter()
        .find_map(|dir| first(root.join(dir), series.prefix()));
    let vmlinuz = first(root.join("boot"), "vmlinuz-");
    match (vmlinuz, modules) {
        (Some(vmlinuz), Some(modules_dir)) => Ok(KernelPaths {
            vmlinuz,
            modules_dir,
        }),
        _ => Err(KernelError::Incomplete {
            path: root.to_owned(),
        }),
    }
}

/// Fetches the package with package lists of its own, so neither the release nor the age of the machine's lists matters.
fn download(series: Series, target: &Path) -> Result<(), KernelError> {
    packages::ensure(&["debian-archive-keyring"])?;
    let mirror = apt::mirror()?;
    let suite = series.suite();
    eprintln!("xtask: downloading {META_PACKAGE} of {suite} from {mirror}");
    let failed = |source| KernelError::Download {
        mirror: mirror.clone(),
        source,
    };
    let lists = tempfile::tempdir().map_err(file_error("create a temporary folder for", target))?;
    let state = lists.path();
    for dir in ["state/lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(state.join(dir)).map_err(file_error("create", state))?;
    }
    let installed = state.join("status");
    fs::write(&installed, "").map_err(file_error("write", &installed))?;
    let sources = state.join("sources.list");
    let line = format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n");
    fs::write(&sources, line).map_err(file_error("write", &sources))?;
    command::run(private_apt("apt-get", state).args(["-q", "update"])).map_err(failed)?;
    let answer = command::run(private_apt("apt-cache", state).args(["depends", META_PACKAGE]))
        .map_err(failed)?;
    let answer = String::from_utf8_lossy(&answer);
    let package = dependency(series, &answer).ok_or_else(|| KernelError::NotOffered {
        mirror: mirror.clone(),
        series,
        answer: answer.trim().to_owned(),
    })?;
    command::run(
        private_apt("apt-get", state)
            .args(["-q", "download", package])
            .current_dir(state),
    )
    .map_err(failed)?;
    let archive = archive_in(state)?;
    command::run(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(target)).map_err(failed)?;
    find(series, target).map(drop)
}

/// An apt tool whose lists, cache and sources are below `state`, and which knows nothing of what is
/// installed: that may be newer than what is asked for.
fn private_apt(tool: &str, state: &Path) -> Command {
    let mut command = Command::new(tool);
    for (setting, place) in [
        ("Dir::State", "state"),
        ("Dir::State::status", "status"),
        ("Dir::Cache", "cache"),
        ("Dir::Etc::SourceList", "sources.list"),
    ] {
        let path = state.join(place);
        command
            .arg("-o")
            .arg(format!("{setting}={}", path.display()));
    }
    // apt's own user can't enter the temporary folder, so downloads run as the caller.
    command.args([
        "-o",
        "Dir::Etc::SourceParts=/dev/null",
        "-o",
        "APT::Sandbox::User=root",
    ]);
    command.args([
        "-o",
        "Acquire::Languages=none",
        "-o",
        "APT::Architecture=amd64",
    ]);
    command
}

/// The versioned kernel package that `apt-cache depends` names.
fn dependency(series: Series, answer: &str) -> Option<&str> {
    answer
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| {
            name.strip_prefix("linux-image-")
                .is_some_and(|version| version.starts_with(series.prefix()))
        })
}

fn archive_in(dir: &Path) -> Result<PathBuf, KernelError> {
    fs::read_dir(dir)
        .map_err(file_error("list", dir))?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|ext| ext == "deb"))
        .ok_or_else(|| KernelError::Incomplete {
            path: dir.to_owned(),
        })
}

#[cfg(test)]
mod tests;
