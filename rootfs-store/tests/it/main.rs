//! Tests of the store through its public face, with tools of others as oracles.

#![expect(clippy::unwrap_used, reason = "a test that can not go on may panic")]

mod crash;
mod disk;
mod ext4;
mod housekeeping;
mod import;
mod import_ahead;
mod import_archive;
mod import_hostile;
mod import_index;
mod import_memory;
mod import_umoci;
mod import_versions;
mod layer;
mod mount;
mod oci_layout;
mod publish;
mod registry;
mod remote;
mod sample_image;
mod tree;
