//! The contract of `playground`, the life of sessions behind `async_service`, and the smaller examples, end to end on a
//! stock Debian kernel.
//!
//! | variable | names |
//! |---|---|
//! | `VM_TEST_PLAYGROUND` | the program |
//! | `VM_TEST_KERNEL` | the kernel, a `vmlinuz` |
//! | `VM_TEST_MODULES` | its modules, `lib/modules/VERSION` |
//! | `VM_TEST_BUSYBOX_IMAGE` | `oci:DIR:latest`, an image of busybox alone |
//! | `VM_TEST_DEBIAN_IMAGE` | `oci:DIR:latest`, an image of Debian with systemd |
//!
//! Needs `e2fsck`, and root for the tests that hide `/dev/kvm`.

#![expect(clippy::unwrap_used, reason = "a test that can not go on may panic")]

#[path = "../it/async_service.rs"]
mod async_service;
mod crash;
mod first_steps;
mod further;
mod images;
mod model;
mod playground;
mod refusals;
mod runs;
mod service;
