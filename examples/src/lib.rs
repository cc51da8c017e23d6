//! Runnable programs over the session crate.
