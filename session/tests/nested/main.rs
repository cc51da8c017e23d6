//! Whole sessions on a stock Debian kernel, for a machine whose KVM can run one.
//!
//! | variable | names |
//! |---|---|
//! | `VM_TEST_KERNEL` | the kernel, a `vmlinuz` |
//! | `VM_TEST_MODULES` | its modules, `lib/modules/VERSION` |
//! | `VM_TEST_BUSYBOX_IMAGE` | `oci:DIR:latest`, an image of busybox alone |
//! | `VM_TEST_DEBIAN_IMAGE` | `oci:DIR:latest`, an image of Debian with systemd |
//!
//! Needs `e2fsck`, and root for the test that fills a disk.

#![expect(clippy::unwrap_used, reason = "a test that can not go on may panic")]

mod bed;
mod commands;
mod drives;
mod endings;
mod full_disk;
mod identity;
mod lifecycle;
mod networks;
mod reaching;
mod registries;
mod round_trip;
mod siblings;
mod ssh;
