//! The machine's own Debian mirror and proxy, for tools that don't read apt's configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command;

/// The release whose kernel and userland the tests use, whatever the machine itself runs.
pub(crate) const RELEASE: &str = "bookworm";

/// Used only where no source of the machine names a mirror.
const DEFAULT_MIRROR: &str = "http://deb.debian.org/debian";

/// Returns the Debian mirror that this machine's apt uses.
pub(crate) fn mirror() -> String {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir(Path::new("/etc/apt/sources.list.d")) {
        let mut more: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        more.sort();
        files.extend(more);
    }
    files
        .iter()
        .filter(|path| {
            path.extension()
                .is_some_and(|ext| ext == "list" || ext == "sources")
        })
        .filter_map(|path| fs::read_to_string(path).ok())
        .find_map(|text| mirror_of(&text))
        .unwrap_or_else(|| DEFAULT_MIRROR.to_owned())
}

/// Finds the first Debian archive in a `sources.list` or a deb822 `.sources` file.
///
/// Security archives and other vendors' are passed over: they don't hold a whole release.
fn mirror_of(text: &str) -> Option<String> {
    text.lines()
        .filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"))
        .flat_map(str::split_whitespace)
        .filter(|word| word.starts_with("http://") || word.starts_with("https://"))
        .map(|uri| uri.trim_end_matches('/'))
        .find(|uri| uri.ends_with("/debian"))
        .map(str::to_owned)
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
