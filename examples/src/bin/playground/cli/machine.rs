//! Options of commands that start a session.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};

use crate::copies::CopyArgs;
use crate::description::DescriptionArgs;
use crate::duration;
use crate::size;

#[derive(Debug, Args)]
pub(crate) struct MachineArgs {
    /// The kernel: a vmlinuz or vmlinux, or the folder of an unpacked kernel package
    #[arg(long, value_name = "PATH")]
    pub(crate) kernel: Option<PathBuf>,
    /// The folder of the kernel's modules: lib/modules/VERSION
    #[arg(long, value_name = "DIR", requires = "kernel")]
    pub(crate) modules: Option<PathBuf>,
    /// Processors
    #[arg(long, value_name = "N")]
    pub(crate) vcpus: Option<u8>,
    /// Memory
    #[arg(long, value_name = "MIB")]
    pub(crate) memory: Option<u32>,
    /// The size that the disk shall grow to, as in 16GiB
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub(crate) size: Option<u64>,
    /// Fetch the rest of a disk that is in a registry while the session runs, at so many bytes a second at most
    #[arg(long, value_name = "RATE", num_args = 0..=1, require_equals = true, value_parser = size::rate)]
    pub(crate) fill: Option<Option<NonZeroU64>>,
    /// The guest's hostname
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
    #[command(flatten)]
    pub(crate) description: DescriptionArgs,
    #[command(flatten)]
    pub(crate) copies: CopyArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    /// How long the guest may take to boot
    #[arg(long, value_name = "SECONDS")]
    pub(crate) boot_timeout: Option<u64>,
    /// How long the guest may take to shut down
    #[arg(long, value_name = "SECONDS")]
    pub(crate) shutdown_timeout: Option<u64>,
}

/// When the session ends by itself. What is not given is 8 hours, or as it was.
#[derive(Debug, Default, Args)]
pub(crate) struct LimitArgs {
    /// How long it may run, as 90s, 10min, 1h or 2d
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) max_uptime: Option<Duration>,
    /// Let it run for as long as it likes
    #[arg(long, conflicts_with = "max_uptime")]
    pub(crate) no_max_uptime: bool,
    /// After how long without use it ends
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) idle: Option<Duration>,
    /// What then becomes of its disk
    #[arg(long, value_name = "WHAT")]
    pub(crate) at_end: Option<AtEnd>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AtEnd {
    /// It is kept
    Shutdown,
    /// It is thrown away
    Terminate,
}

/// What is done with a session before it is ended.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct WorkArgs {
    /// Give the command a terminal: this one, if it is one
    #[arg(long, requires = "command")]
    pub(crate) tty: bool,
    /// The command, and its arguments
    #[arg(last = true, group = "work", value_name = "CMD")]
    pub(crate) command: Vec<String>,
    /// Run no command, but keep the session until Ctrl-C, or until it ends by its limits or by itself
    #[arg(long, group = "work", conflicts_with_all = ["command", "tty", "outward"])]
    pub(crate) hold: bool,
}

#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("to do").args(["command", "hold"]).required(true)),
    override_usage = "playground run [OPTIONS] <SNAPSHOT|NAME|REF> {--hold | -- <CMD>...}"
)]
pub(crate) struct RunArgs {
    /// A snapshot (its digest, a unique prefix, a name, a session's id), an image (`docker://NAME:TAG`, `oci:DIR:TAG`), or
    /// a snapshot in a registry (`docker://HOST/NAME:TAG`)
    #[arg(value_name = "SNAPSHOT|NAME|REF")]
    pub(crate) from: String,
    /// The session's id
    #[arg(long, value_name = "ID")]
    pub(crate) session: Option<String>,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    /// Throw the session away at the end
    #[arg(long)]
    pub(crate) rm: bool,
    #[command(flatten)]
    pub(crate) work: WorkArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The session's id
    pub(crate) session: String,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    #[command(flatten)]
    pub(crate) work: WorkArgs,
}
