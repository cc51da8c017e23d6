//! Further drives.

use session::{Error, ExtraDrive, Store};

use super::pair;
use crate::size;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DriveArg {
    name: String,
    content: Content,
    mount: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Empty(u64),
    Snapshot(String),
}

pub(super) fn drive(text: &str) -> Result<DriveArg, String> {
    let (name, rest) = pair(text)?;
    let (content, mount) = match rest.split_once(":/") {
        Some((content, path)) => (content, Some(format!("/{path}"))),
        None => (&*rest, None),
    };
    if content.is_empty() {
        return Err("it has neither a size nor a snapshot".to_owned());
    }
    let content = match size::parse(content) {
        Ok(bytes) => Content::Empty(bytes),
        Err(_) => Content::Snapshot(content.to_owned()),
    };
    Ok(DriveArg {
        name,
        content,
        mount,
    })
}

impl DriveArg {
    pub(super) fn resolve(&self, store: &Store) -> Result<ExtraDrive, Error> {
        let drive = match &self.content {
            Content::Empty(bytes) => ExtraDrive::empty(&self.name, *bytes),
            Content::Snapshot(text) => ExtraDrive::from_snapshot(&self.name, store.resolve(text)?),
        };
        Ok(match &self.mount {
            Some(path) => drive.mount(path),
            None => drive,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drives_are_empty_or_come_from_snapshots_and_may_be_mounted() {
        let expected = |content, mount: Option<&str>| DriveArg {
            name: "data".to_owned(),
            content,
            mount: mount.map(str::to_owned),
        };
        let snapshot = |text: &str| Content::Snapshot(text.to_owned());
        for (text, content, mount) in [
            ("data=1GiB", Content::Empty(1 << 30), None),
            (
                "data=1GiB:/srv/data",
                Content::Empty(1 << 30),
                Some("/srv/data"),
            ),
            (
                "data=sha256:12ab:/mnt",
                snapshot("sha256:12ab"),
                Some("/mnt"),
            ),
            ("data=sha256:12ab", snapshot("sha256:12ab"), None),
        ] {
            assert_eq!(drive(text), Ok(expected(content, mount)), "{text}");
        }
        for bad in ["data", "data=", "data=:/mnt"] {
            assert!(drive(bad).is_err(), "{bad}");
        }
    }
}
