//! Builds the guest agent as a static binary, so that `session` can carry it inside itself.
//!
//! The agent runs before the guest has any file system of its own, so it must not need a dynamic linker.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Explicit, so that the static flag reaches the agent alone and not the build scripts and macros it builds with.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The agent's profile in the workspace's manifest.
const PROFILE: &str = "agent";

fn main() -> ExitCode {
    for path in [
        "agent/src",
        "agent/Cargo.toml",
        "build.rs",
        "../Cargo.toml",
        "../Cargo.lock",
    ] {
        println!("cargo::rerun-if-changed={path}");
    }
    match build_agent() {
        Ok(agent) => {
            println!("cargo::rustc-env=SESSION_AGENT={}", agent.display());
            ExitCode::SUCCESS
        }
        Err(message) => {
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

/// Builds the agent and returns where it is: in the output folder, so that no later build changes it.
fn build_agent() -> Result<PathBuf, String> {
    let manifest_dir = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let out_dir = PathBuf::from(variable("OUT_DIR")?);
    if env::var_os("CARGO_FEATURE_FUZZING").is_some() {
        // Fuzz targets boot no guest, and what they are built with is not meant for one.
        let none = out_dir.join("no-agent");
        fs::write(&none, [])
            .map_err(|error| format!("could not write {}: {error}", none.display()))?;
        return Ok(none);
    }
    let target_dir = target_dir(&out_dir)?;
    let status = Command::new(variable("CARGO")?)
        // What it needs is what the outer build has fetched for `agent`, by the same lock file.
        .args(["build", "--quiet", "--frozen", "--bin", "agent"])
        .args(["--profile", PROFILE, "--target", TARGET])
        .arg("--manifest-path")
        .arg(manifest_dir.join("agent/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", rustc_flags(&manifest_dir))
        // What the outer build wraps its compiler with (clippy, a sanitizer) is not meant for the guest.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .status()
        .map_err(|error| format!("could not run cargo for the guest agent: {error}"))?;
    if !status.success() {
        return Err(format!(
            "the guest agent did not build ({status}); its messages are above"
        ));
    }
    let built = target_dir.join(TARGET).join(PROFILE).join("agent");
    copy_if_changed(&built, &out_dir.join("agent"))
}

/// A folder that all builds of the workspace share: clippy, tests and releases then build the agent once between
/// them, as cargo's own lock on the folder lets one work at a time.
fn target_dir(out_dir: &Path) -> Result<PathBuf, String> {
    // target/PROFILE/build/session-HASH/out
    let target = out_dir.ancestors().nth(4);
    let shared = target.map(|target| target.join("guest-agent"));
    shared.ok_or_else(|| format!("{} is no output folder of cargo", out_dir.display()))
}

/// Cargo separates encoded flags with the unit separator.
fn rustc_flags(manifest_dir: &Path) -> OsString {
    let mut flags = OsString::from("-Ctarget-feature=+crt-static\u{1f}--remap-path-prefix=");
    flags.push(manifest_dir);
    flags.push("=session");
    flags
}

/// A file that stays as it is doesn't make cargo build `session` again.
fn copy_if_changed(from: &Path, to: &Path) -> Result<PathBuf, String> {
    let bytes = fs::read(from)
        .map_err(|error| format!("could not read the guest agent {}: {error}", from.display()))?;
    if !fs::read(to).is_ok_and(|old| old == bytes) {
        fs::write(to, bytes)
            .map_err(|error| format!("could not write {}: {error}", to.display()))?;
    }
    Ok(to.to_owned())
}

fn variable(name: &str) -> Result<OsString, String> {
    env::var_os(name).ok_or_else(|| format!("cargo did not set {name}"))
}
