//! Tests that boot a stock Debian kernel, for a machine whose KVM can run one.
//!
//! `VM_TEST_KERNEL` names the kernel (a `vmlinuz`), `VM_TEST_MODULES` its modules (`lib/modules/VERSION`).
//! `busybox` (static) and `cc` must be installed: the guests' initramfs is made of the first, and the second
//! builds the one program that busybox lacks.

#![expect(clippy::unwrap_used, reason = "a test that can not go on may panic")]

mod boot;
mod disk;
mod initramfs;
mod machine;
mod network;
mod vsock;
