//! Options of all commands that reach registries.

use std::path::PathBuf;

use clap::Args;
use session::RegistryOptions;

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
