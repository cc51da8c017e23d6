//! The way along a path, part by part, for those who look at each symbolic link before they follow it.
//!
//! Invariant: it comes to an end, as no more links are followed than the kernel follows.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path};

use nix::errno::Errno;

/// How many symbolic links a path may lead through, as in the kernel (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// The parts of a path that are still ahead; `..` is one.
#[derive(Debug)]
pub struct Way {
    parts: VecDeque<OsString>,
    links: usize,
}

impl Way {
    /// The way along `path`. Where it begins is the caller's matter, be the path absolute or not.
    #[must_use]
    pub fn along(path: &Path) -> Self {
        let mut way = Self {
            parts: VecDeque::new(),
            links: 0,
        };
        way.put_before(path);
        way
    }

    /// The next part; nothing at the end.
    pub fn step(&mut self) -> Option<OsString> {
        self.parts.pop_front()
    }

    /// Whether nothing is ahead.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.parts.is_empty()
    }

    /// Goes on by what the last part, a symbolic link, says.
    ///
    /// # Errors
    /// `ELOOP` if that is one link too many.
    pub fn follow(&mut self, target: &Path) -> io::Result<()> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Errno::ELOOP.into());
        }
        self.put_before(target);
        Ok(())
    }

    fn put_before(&mut self, path: &Path) {
        for part in path.components().rev() {
            match part {
                Component::Normal(name) => self.parts.push_front(name.to_owned()),
                Component::ParentDir => self.parts.push_front("..".into()),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(mut way: Way) -> Vec<OsString> {
        std::iter::from_fn(|| way.step()).collect()
    }

    #[test]
    fn a_link_leads_on_to_what_was_behind_it() {
        let mut way = Way::along(Path::new("/a/./b//c"));
        assert_eq!(way.step().unwrap(), "a");
        way.follow(Path::new("../x/y")).unwrap();
        assert!(!way.is_at_end());
        assert_eq!(rest(way), ["..", "x", "y", "b", "c"]);
        assert!(Way::along(Path::new("/")).is_at_end());
    }

    #[test]
    fn links_in_a_circle_come_to_an_end() {
        let mut way = Way::along(Path::new("a"));
        let mut followed = 0;
        while way.follow(Path::new("a")).is_ok() {
            followed += 1;
        }
        assert_eq!(followed, MAX_LINKS);
    }
}
