//! Name servers in `/etc/resolv.conf`.

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use super::root::{Attributes, Root};
use crate::guest::error::StartError;

const PATH: &str = "/etc/resolv.conf";
const MAX_BYTES: u64 = 1 << 20;

/// Names these servers, unless the file does so already. A link to what a service of the image would write is replaced.
pub(super) fn settle(root: &Root, servers: &[IpAddr]) -> Result<(), StartError> {
    if servers.is_empty() {
        return Ok(());
    }
    // What a link leads to may be nothing, or nobody's to read.
    let old = root
        .read(PATH, MAX_BYTES)
        .ok()
        .flatten()
        .unwrap_or_default();
    if servers_in(&String::from_utf8_lossy(&old)) == servers {
        return Ok(());
    }
    let lines = servers
        .iter()
        .map(|server| format!("nameserver {server}\n"));
    let text: String = lines.collect();
    let written = root.write_over(PATH, text.as_bytes(), Attributes::of_root(0o644));
    written.map(drop).map_err(StartError::step("write", PATH))
}

fn servers_in(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| line.strip_prefix("nameserver")?.trim().parse().ok();
    text.lines().filter_map(server).collect()
}
