//! PID 1 from the start of the initramfs to the image's init.
//!
//! Invariant: every failure ends in one `fatal` line on the console, a `Fatal` frame if the host is connected, and
//! a guest that is powered off.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use agent::protocol::{Config, Fatal, Frame, Hello, Ready, read_frame, write_frame};
use nix::unistd::sethostname;

use super::error::StartError;
use super::{
    DEFAULT_PATH, SERVER_NAME, console, disk, drives, identity, image_init, init, modules, mounts,
    network, power, vsock,
};

/// Runs the guest until it ends.
pub(super) fn run() -> ! {
    let Err(error) = connect().and_then(|mut control| {
        start(&mut control).inspect_err(|error| report(&mut control, error))
    });
    console::say(&format!("fatal: {}", console::one_line(&error)));
    power::stop(power::Ending::PowerOff)
}

/// Tells the host why the guest ends. If that fails too, the console has it.
pub(super) fn report(control: &mut File, error: &StartError) {
    let message = console::one_line(error);
    drop(write_frame(control, &Frame::Fatal(Fatal { message })));
}

fn connect() -> Result<File, StartError> {
    init::block_signals();
    mounts::mount_devices()?;
    modules::load_listed(Path::new(modules::LIST))?;
    vsock::connect_to_host()
}

fn start(control: &mut File) -> Result<Infallible, StartError> {
    let mut config = configure(control)?;
    let device = disk::wait_for(&config.root.serial)?;
    mounts::mount_root(&device, &config.root)?;
    console::say(&format!("the root is {}", device.display()));
    mounts::switch_root()?;
    mounts::mount_all()?;
    protect_links();
    drives::mount(&config.mounts)?;
    network::configure(&config.identity.interfaces)?;
    if let Some(name) = &config.hostname {
        let failed = StartError::step("set the host name to", name.as_str());
        sethostname(name).map_err(failed)?;
    }
    let complaints = identity::carry_out(&identity::open_root()?, &config)?;
    // The server needs none of it, and lives as long as the guest.
    config.identity = Box::default();
    let image_init = image_init::find(Path::new("/"));
    let ready = Ready {
        init: image_init.clone(),
        complaints,
    };
    let server = start_server(control, config, ready)?;
    match image_init {
        None => init::serve(server),
        Some(path) => become_init(&path),
    }
}

/// Lets users make hard links to their own files alone (proc_sys_fs(5)), and so none to a link of root's in a folder of
/// theirs, where the agent would follow it. Systemd sets the same; an image without it has what its kernel begins with.
fn protect_links() {
    const SETTING: &str = "/proc/sys/fs/protected_hardlinks";
    if let Err(error) = fs::write(SETTING, "1") {
        console::say(&format!("could not set {SETTING}: {error}"));
    }
}

fn configure(control: &mut File) -> Result<Config, StartError> {
    write_frame(control, &Frame::Hello(Hello::ours()))
        .map_err(StartError::step("write to", "the host"))?;
    match read_frame(control)? {
        Some(Frame::Configure(config)) => Ok(config),
        Some(_) => Err(StartError::UnexpectedFrame),
        None => Err(StartError::NoConfiguration),
    }
}

/// Starts the server: its standard input brings its configuration, its standard output is the control connection.
fn start_server(control: &File, config: Config, ready: Ready) -> Result<Child, StartError> {
    let failed = || StartError::step("start", "the command server");
    let control = OwnedFd::from(control.try_clone().map_err(failed())?);
    let mut server = Command::new("/proc/self/exe")
        .arg0(SERVER_NAME)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(control)
        .spawn()
        .map_err(failed())?;
    if let Some(mut pipe) = server.stdin.take() {
        let mut bytes = Vec::new();
        Frame::Configure(config)
            .encode(&mut bytes)
            .map_err(failed())?;
        Frame::Ready(ready).encode(&mut bytes).map_err(failed())?;
        pipe.write_all(&bytes).map_err(failed())?;
    }
    Ok(server)
}

/// Hands PID 1 to the image's init, with the environment that a kernel gives one.
fn become_init(path: &str) -> Result<Infallible, StartError> {
    console::say(&format!("starting {path}"));
    init::unblock_signals();
    let error = Command::new(path)
        .env_clear()
        .env("HOME", "/")
        .env("TERM", "linux")
        .env("PATH", DEFAULT_PATH)
        .exec();
    Err(StartError::Step {
        action: "start the image's init",
        what: path.to_owned(),
        source: error,
    })
}
