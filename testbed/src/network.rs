//! What guests' networks are connected to on the host.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::error::{BedError, file_error};

/// How long `passt` may take until it listens, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);
/// What `passt` says once it listens.
const LISTENS: &str = "You can now start qemu";
const ISLAND: &str = "a passt in a network of its own";

/// A TAP interface of the host's, which takes root; it goes when this is dropped.
#[derive(Debug)]
pub struct Tap(&'static str);

impl Tap {
    /// Makes one with this name, and this address and prefix.
    ///
    /// # Errors
    /// [`BedError::Run`] and [`BedError::Failed`] of `ip`.
    pub fn new(name: &'static str, address: &str) -> Result<Self, BedError> {
        ip(&["tuntap", "add", "dev", name, "mode", "tap"])?;
        let tap = Self(name);
        ip(&["addr", "add", address, "dev", name])?;
        ip(&["link", "set", name, "up"])?;
        Ok(tap)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        // Whoever has it open keeps it until then.
        drop(ip(&["tuntap", "del", "dev", self.0, "mode", "tap"]));
    }
}

fn ip(arguments: &[&str]) -> Result<(), BedError> {
    let program = "ip";
    let ran = Command::new(program).args(arguments).output();
    let output = ran.map_err(|source| BedError::Run { program, source })?;
    match output.status.success() {
        true => Ok(()),
        false => Err(BedError::Failed {
            program,
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
        }),
    }
}

/// A `passt` in a network of its own, with a web server on that network's loopback, which a guest finds behind its gateway:
/// `http://10.8.0.254:8080/page`. The guest's own address is 10.8.0.1/24, by DHCP if it asks. It takes root, and ends when
/// this is dropped.
#[derive(Debug)]
pub struct Island {
    child: Child,
    folder: TempDir,
}

impl Island {
    /// Starts one that serves `page`, and waits until it listens.
    ///
    /// # Errors
    /// [`BedError::File`] and [`BedError::Run`]; [`BedError::Failed`] if `passt` does not listen.
    pub fn start(page: &[u8]) -> Result<Self, BedError> {
        let folder =
            tempfile::tempdir().map_err(file_error("make a folder in", &std::env::temp_dir()))?;
        // Started by root, passt becomes nobody before it makes its socket.
        let for_all = Permissions::from_mode(0o777);
        fs::set_permissions(folder.path(), for_all)
            .map_err(file_error("open up", folder.path()))?;
        let file = folder.path().join("page");
        fs::write(&file, page).map_err(file_error("write", &file))?;
        let log = folder.path().join("log");
        let said = File::create(&log).map_err(file_error("make", &log))?;
        let script = "ip link set lo up; ip tuntap add dev up0 mode tap\n\
             ip addr add 10.8.0.1/24 dev up0; ip link set up0 up\n\
             ip route add default via 10.8.0.254 dev up0\n\
             busybox httpd -p 127.0.0.1:8080 -h \"$1\"\n\
             exec passt --foreground --socket \"$1/socket\"";
        let program = "unshare";
        let mut command = Command::new(program);
        command.args(["--net", "sh", "-c", script, "island"]);
        command.arg(folder.path()).process_group(0).stderr(said);
        let child = command
            .spawn()
            .map_err(|source| BedError::Run { program, source })?;
        let island = Self { child, folder };
        island.wait()?;
        Ok(island)
    }

    fn wait(&self) -> Result<(), BedError> {
        let log = self.folder.path().join("log");
        let begun = Instant::now();
        loop {
            let said = fs::read_to_string(&log).map_err(file_error("read", &log))?;
            if said.contains(LISTENS) {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(BedError::Failed {
                    program: ISLAND,
                    output: said,
                });
            }
            thread::sleep(PAUSE);
        }
    }

    /// The socket that `passt` listens at, for one guest at a time.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }
}

impl Drop for Island {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        drop(Command::new("kill").args(["--", &group]).status());
        drop(self.child.wait());
    }
}
