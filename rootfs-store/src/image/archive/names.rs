//! Names of images in an archive, in full or as people shorten them.

const DEFAULT_TAG: &str = "latest";
const DEFAULT_HOST: &str = "docker.io";

/// Writes a name out: `busybox` is `docker.io/library/busybox:latest`.
pub(super) fn full(name: &str) -> String {
    let (host, path) = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
        _ => (DEFAULT_HOST, name),
    };
    let library = if host == DEFAULT_HOST && !path.contains('/') {
        "library/"
    } else {
        ""
    };
    let tag = match tag(path) {
        Some(_) => String::new(),
        None => format!(":{DEFAULT_TAG}"),
    };
    format!("{host}/{library}{path}{tag}")
}

/// The tag at the end of a name.
pub(super) fn tag(name: &str) -> Option<&str> {
    let (_, tag) = name.rsplit_once(':')?;
    (!tag.contains('/')).then_some(tag)
}

#[cfg(test)]
mod tests;
