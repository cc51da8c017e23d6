//! What can be said on the command line.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use session::{RegistryOptions, RepairSource};

use crate::description::DescriptionArgs;
use crate::duration;
use crate::failure::Failure;
use crate::size;

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
    Du,
    /// Snapshots as plain disks
    #[command(subcommand)]
    Disk(DiskCommand),
}

/// How registries are reached. Credentials are those of `docker login`, or of `$DOCKER_CONFIG`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registries")]
pub(crate) struct RegistryArgs {
    /// Speak to this registry without TLS; may be given several times
    #[arg(long, global = true, value_name = "HOST[:PORT]")]
    pub(crate) plain_http: Vec<String>,
    /// Trust the certificates in this PEM file, too; may be given several times
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) registry_ca: Vec<PathBuf>,
    /// Ask this mirror of a registry first; may be given several times
    #[arg(long, global = true, value_name = "HOST=MIRROR", value_parser = mirror)]
    pub(crate) mirror: Vec<(String, String)>,
}

impl RegistryArgs {
    pub(crate) fn options(self) -> RegistryOptions {
        let mut options = RegistryOptions::default();
        options.plain_http.extend(self.plain_http);
        options.ca_files = self.registry_ca;
        for (host, mirror) in self.mirror {
            options.mirrors.entry(host).or_default().push(mirror);
        }
        options
    }
}

fn mirror(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((host, mirror)) if !host.is_empty() && !mirror.is_empty() => {
            Ok((host.to_owned(), mirror.to_owned()))
        }
        _ => Err("write it as HOST=MIRROR"),
    }
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

#[derive(Debug, Args)]
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
    /// Give the command a terminal: this one, if it is one
    #[arg(long)]
    pub(crate) tty: bool,
    /// The command, and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The session's id
    pub(crate) session: String,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    /// Give the command a terminal: this one, if it is one
    #[arg(long, requires = "command")]
    pub(crate) tty: bool,
    /// The command, and its arguments
    #[arg(last = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
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
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_guest_command_keeps_its_own_options() {
        let line = [
            "playground",
            "run",
            "web",
            "--rm",
            "--",
            "ls",
            "--json",
            "-l",
        ];
        let cli = Cli::try_parse_from(line).unwrap();
        let Command::Run(args) = cli.command else {
            panic!("{cli:?}")
        };
        assert!(args.rm && !cli.json);
        assert_eq!(args.command, ["ls", "--json", "-l"]);
    }

    #[test]
    fn fill_takes_a_rate_or_none() {
        for (option, expected) in [
            ("--fill", Some(None)),
            ("--fill=4MiB", Some(NonZeroU64::new(4 << 20))),
            ("--rm", None),
        ] {
            let line = ["playground", "run", "web", option, "--", "true"];
            let Command::Run(args) = Cli::try_parse_from(line).unwrap().command else {
                panic!("{option}")
            };
            assert_eq!(args.machine.fill, expected, "{option}");
        }
    }

    #[test]
    fn wrong_usage_is_refused() {
        for line in [
            &["playground"][..],
            &["playground", "run", "web"],
            &["playground", "run", "web", "--vcpus", "many", "--", "true"],
            &["playground", "run", "web", "--fill=0", "--", "true"],
            &[
                "playground",
                "image",
                "import",
                "oci:x",
                "--size",
                "8 parsecs",
            ],
            &["playground", "fork"],
            &["playground", "resume", "web", "--forward", "127.0.0.1:0:80"],
            &[
                "playground",
                "resume",
                "web",
                "--max-uptime",
                "1h",
                "--no-max-uptime",
            ],
        ] {
            assert!(Cli::try_parse_from(line).is_err(), "{line:?}");
        }
    }
}
