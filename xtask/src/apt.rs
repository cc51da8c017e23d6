//! The machine's own Debian mirror and proxy, for tools that don't read apt's configuration.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command;
use crate::file_error::{FileError, file_error};

/// The release whose kernel and userland the tests use, whatever the machine itself runs.
pub(crate) const RELEASE: &str = "bookworm";

/// The variable that names the mirror, whatever apt's sources are.
const MIRROR_VARIABLE: &str = "VM_SESSIONS_MIRROR";

/// A mirror that could not be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum MirrorError {
    #[error("{files} name no Debian archive; set {MIRROR_VARIABLE} to the address of one")]
    NoDebian { files: String },
    #[error(transparent)]
    File(#[from] FileError),
}

/// A file of apt's that says where packages are.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    text: String,
}

/// Returns the Debian mirror that this machine's apt uses, or the one that `$VM_SESSIONS_MIRROR` names.
///
/// # Errors
/// [`MirrorError::NoDebian`] if apt has no sources, or all of them are something else.
pub(crate) fn mirror() -> Result<String, MirrorError> {
    match std::env::var(MIRROR_VARIABLE) {
        Ok(mirror) if !mirror.is_empty() => Ok(mirror),
        _ => chosen(&sources(Path::new("/etc/apt"))?),
    }
}

fn chosen(sources: &[Source]) -> Result<String, MirrorError> {
    if let Some(mirror) = sources.iter().find_map(|it| mirror_of(&it.text)) {
        return Ok(mirror);
    }
    let others = sources.iter().filter(|it| uris(&it.text).next().is_some());
    let others: Vec<_> = others.map(|it| it.path.to_string_lossy()).collect();
    let files = match others.as_slice() {
        [] => "apt's sources".to_owned(),
        others => others.join(" and "),
    };
    Err(MirrorError::NoDebian { files })
}

/// Reads what `sources.list` and `sources.list.d` in `folder` hold. Either may be missing.
fn sources(folder: &Path) -> Result<Vec<Source>, MirrorError> {
    let more = folder.join("sources.list.d");
    let more = if_there(fs::read_dir(&more), "list", &more)?;
    let mut paths: Vec<_> = more.into_iter().flatten().flatten().collect();
    paths.sort_by_key(fs::DirEntry::path);
    let is_source = |path: &PathBuf| {
        let extension = path.extension();
        extension.is_some_and(|it| it == "list" || it == "sources")
    };
    std::iter::once(folder.join("sources.list"))
        .chain(
            paths
                .into_iter()
                .map(|entry| entry.path())
                .filter(is_source),
        )
        .filter_map(|path| {
            let text = if_there(fs::read_to_string(&path), "read", &path).transpose()?;
            Some(text.map(|text| Source { path, text }))
        })
        .collect()
}

fn if_there<T>(
    result: io::Result<T>,
    action: &'static str,
    path: &Path,
) -> Result<Option<T>, MirrorError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(file_error(action, path)(source).into()),
    }
}

/// Finds the first Debian archive in a `sources.list` or a deb822 `.sources` file.
///
/// Security archives and other vendors' are passed over: they don't hold a whole release.
fn mirror_of(text: &str) -> Option<String> {
    uris(text)
        .filter(|uri| uri.starts_with("http://") || uri.starts_with("https://"))
        .map(|uri| uri.trim_end_matches('/'))
        .find(|uri| uri.ends_with("/debian"))
        .map(str::to_owned)
}

/// Everything that looks like an address in the lines that hold some.
fn uris(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"))
        .flat_map(str::split_whitespace)
        .filter(|word| word.contains(":/"))
}

/// Hands apt's proxy settings to a command that reads the usual variables, unless the caller has set them.
pub(crate) fn pass_proxy(command: &mut Command) {
    for (setting, variable) in [
        ("Acquire::http::Proxy", "http_proxy"),
        ("Acquire::https::Proxy", "https_proxy"),
    ] {
        if std::env::var_os(variable).is_some() {
            continue;
        }
        let asked =
            command::run(Command::new("apt-config").args(["dump", "--format", "%v%n", setting]));
        if let Some(proxy) = asked.ok().and_then(|text| proxy_of(&text)) {
            command.env(variable, proxy);
        }
    }
}

fn proxy_of(text: &[u8]) -> Option<String> {
    let value = std::str::from_utf8(text).ok()?.lines().next()?.trim();
    (!value.is_empty() && value != "DIRECT").then(|| value.to_owned())
}

#[cfg(test)]
mod tests;
