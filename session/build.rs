//! Builds the guest agent as a static binary, so that `session` can carry it inside itself.
//!
//! The agent runs before the guest has any file system of its own, so it must not need a dynamic linker.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// Explicit, so that the static flag reaches the agent alone and not the build scripts and macros it builds with.
const TARGET: &str = "x86_64-unknown-linux-gnu";

fn main() -> ExitCode {
    for path in ["agent/src", "agent/Cargo.toml", "build.rs", "../Cargo.toml", "../Cargo.lock"] {
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

fn build_agent() -> Result<PathBuf, String> {
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("agent/Cargo.toml");
    let target_dir = PathBuf::from(variable("OUT_DIR")?).join("agent");
    let status = Command::new(variable("CARGO")?)
        .args(["build", "--quiet", "--release", "--bin", "agent", "--target", TARGET])
        .arg("--manifest-path")
        .arg(&manifest)
        .arg("--target-dir")
        .arg(&target_dir)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s")
        .env("CARGO_PROFILE_RELEASE_LTO", "fat")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        // What the outer build wraps its compiler with (clippy, a sanitizer) is not meant for the guest.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .status()
        .map_err(|error| format!("could not run cargo for the guest agent: {error}"))?;
    if !status.success() {
        return Err(format!("the guest agent did not build ({status}); its messages are above"));
    }
    Ok(target_dir.join(TARGET).join("release/agent"))
}

fn variable(name: &str) -> Result<OsString, String> {
    env::var_os(name).ok_or_else(|| format!("cargo did not set {name}"))
}
