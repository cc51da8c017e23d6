//! What can be said on the command line.

mod machine;
mod registries;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use session::RepairSource;

use crate::description::{NoteArgs, pair};
use crate::duration;
use crate::failure::Failure;
use crate::size;

pub(crate) use machine::{AtEnd, LimitArgs, MachineArgs, ResumeArgs, RunArgs, WorkArgs};
pub(crate) use registries::RegistryArgs;

/// VM sessions that survive their shutdown.
#[derive(Debug, Parser)]
#[command(name = "playground", version)]
pub(crate) struct Cli {
    /// The folder of images, snapshots and sessions [default: ~/.local/share/playgrounds]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) registries: RegistryArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Container images as disks
    #[command(subcommand)]
    Image(ImageCommand),
    /// Start a session, run a command in it, and shut it down
    Run(RunArgs),
    /// Start a session again, from where its disk is; run a command if there is one, and shut it down
    Resume(ResumeArgs),
    /// Make another session of one that was shut down, with the same disk and machine; `resume` starts it
    Fork {
        /// The session's id
        session: String,
        /// The new session's id
        #[arg(long, value_name = "ID")]
        name: Option<String>,
    },
    /// Make a snapshot of the disk of a session that was cut off, without starting it
    Settle {
        /// The session's id
        session: String,
    },
    /// End sessions whose time passed while no process ran them
    Enforce,
    /// Change what is noted of a session that does not run
    Describe {
        /// The session's id
        session: String,
        #[command(flatten)]
        notes: NoteArgs,
        /// Take a label away; may be given several times
        #[arg(long, value_name = "KEY")]
        unlabel: Vec<String>,
        /// Let it expire again
        #[arg(long, conflicts_with = "pin")]
        unpin: bool,
    },
    /// Keep the store in order: `enforce`, then remove the sessions that have expired, then `gc`
    Clean {
        /// How long sessions are kept that were shut down and say nothing themselves; for ever if it is not given
        #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
        keep_stopped: Option<Duration>,
        /// Spare blobs that are younger
        #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration::parse)]
        grace: Duration,
    },
    /// Connect standard input and output to the SSH server of a session that runs: a ProxyCommand for ssh
    #[command(after_help = "ssh -o ProxyCommand='playground ssh-proxy %h' root@SESSION")]
    SshProxy {
        /// The session's id
        session: String,
    },
    /// List the sessions
    Ls,
    /// Describe a session
    Inspect {
        /// The session's id
        session: String,
    },
    /// Print what a session's guest has printed on its console since its last start, whether or not it runs
    Console {
        /// The session's id
        session: String,
    },
    /// Throw a session away that does not run
    Rm {
        /// The session's id
        session: String,
    },
    /// Push a snapshot to a registry: only what is missing there
    Push {
        /// A digest, a unique prefix of one, a name, or the id of a session that is shut down
        snapshot: String,
        /// Where to, as `HOST/REPOSITORY[:TAG]`
        #[arg(value_name = "REF")]
        reference: String,
        /// First put what the last start read into one pack, so that a start elsewhere takes few requests
        #[arg(long)]
        boot_pack: bool,
    },
    /// Pull a snapshot from a registry
    Pull(PullArgs),
    /// Publish a snapshot's files as an ordinary image, as one more layer on the image that it came from
    Publish {
        /// A digest, a unique prefix of one, a name, or the id of a session that is shut down
        snapshot: String,
        /// Where to, as `HOST/REPOSITORY[:TAG]` or `oci:DIR[:TAG]`
        #[arg(value_name = "REF")]
        reference: String,
        /// Where the image is that it came from, if it was not imported from a registry: `docker://NAME` or `oci:DIR:TAG`
        #[arg(long, value_name = "IMAGE")]
        base: Option<String>,
        /// Make one layer of all files
        #[arg(long, conflicts_with = "base")]
        squash: bool,
    },
    /// Remove what no name, no session and no operation under way needs
    Gc {
        /// Spare what is younger, as 90s, 10min, 1h or 2d
        #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration::parse)]
        grace: Duration,
        /// First write what is live of sparse packs anew, for images that no session needs
        #[arg(long)]
        compact: bool,
    },
    /// Read and hash all that names and sessions need; status 1 if something is wrong
    Verify {
        /// Put back what is damaged or missing
        #[arg(long, requires = "from")]
        repair: bool,
        /// The store, OCI image layout or repository to take it from
        #[arg(long, value_name = "DIR|docker://HOST/REPOSITORY", requires = "repair")]
        from: Option<RepairSource>,
    },
    /// Say what each snapshot takes alone and shared
    Du {
        /// Say what each session takes instead: what its removal frees
        #[arg(long)]
        sessions: bool,
        /// Say what the sessions with this label take together
        #[arg(long, value_name = "KEY=VALUE", value_parser = pair, conflicts_with = "sessions")]
        label: Option<(String, String)>,
    },
    /// Snapshots as plain disks
    #[command(subcommand)]
    Disk(DiskCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Make a snapshot of a container image
    Import(ImportArgs),
    /// List the names
    Ls,
    /// Take a name away
    Rm {
        /// The name
        name: String,
    },
    /// Describe a snapshot
    Inspect {
        /// A digest, a unique prefix of one, a name, or the id of a session that is shut down
        snapshot: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// `docker://NAME[:TAG|@DIGEST]`, `oci:DIR[:TAG]` or `docker-archive:FILE[:NAME:TAG]`
    #[arg(value_name = "REF")]
    pub(crate) reference: String,
    /// Name the snapshot
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// An earlier version, whose chunks are not stored again: a digest, a prefix of one, or a name
    #[arg(long, value_name = "SNAPSHOT")]
    pub(crate) parent: Option<String>,
    /// Read the image and write it even if it was imported before: puts back what is damaged of it
    #[arg(long)]
    pub(crate) again: bool,
    /// The size of the disk, as 8GiB
    #[arg(long, value_parser = size::parse)]
    pub(crate) size: Option<u64>,
    /// The machine that the image is for
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// Where from, as `HOST/REPOSITORY[:TAG][@DIGEST]`
    #[arg(value_name = "REF")]
    pub(crate) reference: String,
    /// Leave what is on the disk in the registry until it is read; a pull without this fetches the rest
    #[arg(long)]
    pub(crate) lazy: bool,
    /// Name the snapshot
    #[arg(long)]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DiskCommand {
    /// Write a snapshot's disk to a sparse file
    Export {
        /// A digest, a unique prefix of one, a name, or the id of a session that is shut down
        snapshot: String,
        /// The file, which must not exist
        file: PathBuf,
    },
    /// Make a snapshot of a raw disk
    Import {
        /// A file, whose holes are passed over, or a block device
        file: PathBuf,
        /// Name the snapshot
        #[arg(long)]
        name: Option<String>,
    },
    /// List the bytes in which two snapshots differ
    Diff {
        /// A digest, a unique prefix of one, a name, or the id of a session that is shut down
        from: String,
        /// What to compare it with
        to: String,
    },
}

/// Where the store is unless it is said otherwise.
pub(crate) fn default_store() -> Result<PathBuf, Failure> {
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    Ok(home
        .ok_or(Failure::NoHome)?
        .join(".local/share/playgrounds"))
}

#[cfg(test)]
mod tests;
