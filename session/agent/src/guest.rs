//! What the agent does, in the order in which it happens.
//!
//! ```text
//! PID 1, initramfs   boot      /dev /proc /sys -> modules -> control connection -> Configure -> root disk
//! PID 1, root disk   boot      switch_root -> /dev /proc /sys /run … -> other drives -> network -> identity -> server
//!                    init      the image has no init: reap zombies, obey shutdown signals
//!                    (exec)    the image has one: it takes PID 1 over, and the agent is gone from there
//! @vm-agent          server    Ready -> commands and other jobs; Freeze, Thaw, Notice, PowerOff
//! ```
//!
//! The server is this same executable, started again through `/proc/self/exe`: it lives in the memory of the
//! initramfs, so it keeps no file of the root disk open.
//!
//! What the initramfs holds: this executable as `/init`; the character devices `/dev/console` (5:1) and `/dev/null`
//! (1:3); and, for kernels that need modules, the uncompressed modules and [`modules::LIST`], which names their
//! paths, one a line, in the order in which they load.

mod boot;
mod console;
mod disk;
mod drives;
mod error;
mod grow;
mod identity;
mod image_init;
mod init;
mod modules;
mod mounts;
mod netlink;
mod network;
mod power;
mod server;
mod signal;
mod vsock;

use std::process::ExitCode;

/// The server's `argv[0]`. The leading `@` asks systemd to spare it at shutdown (systemd's ROOT_STORAGE_DAEMONS).
const SERVER_NAME: &str = "@vm-agent";

/// Where commands and the image's own init look for programs unless they are told otherwise.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Plays the part that the process was started for; returns only if it was started by mistake.
pub(crate) fn run() -> ExitCode {
    if std::env::args_os()
        .next()
        .is_some_and(|name| name == SERVER_NAME)
    {
        server::run();
    }
    if std::process::id() == 1 {
        boot::run();
    }
    console::say("this program is the first process of a guest; it does nothing elsewhere");
    ExitCode::from(2)
}
