//! Images and snapshots in a real registry, reached straight and through a front that misbehaves.

mod broken_off;
mod images;
mod lazy_reads;
mod proxies;
mod publish;
mod repair;
mod snapshots;
mod traces;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rootfs_store::{
    Credentials, ImageReference, Registries, RegistryOptions, RegistryReference, Store,
    StoreOptions,
};
use testbed::Registry;

/// A registry and a folder for stores.
struct Bed {
    registry: Registry,
    dir: tempfile::TempDir,
}

impl Bed {
    fn new(options: &testbed::Options) -> Self {
        Self {
            registry: Registry::start(options).unwrap(),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn plain() -> Self {
        Self::new(&testbed::Options::default())
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// Opens a store that knows the registry, and `others` as hosts without TLS.
    fn store(&self, name: &str, others: &[&str]) -> Store {
        let mut options = self.options();
        options
            .plain_http
            .extend(others.iter().map(|host| (*host).to_owned()));
        self.store_with(name, options)
    }

    fn options(&self) -> RegistryOptions {
        let mut options = RegistryOptions::default();
        let config = self.registry.docker_config_dir().join("config.json");
        options.credentials = Credentials::DockerConfig { file: Some(config) };
        match self.registry.ca_file() {
            Some(file) => options.ca_files.push(file),
            None => {
                options.plain_http.insert(self.registry.host().to_owned());
            }
        }
        options.idle_timeout = Duration::from_secs(5);
        options.retry.first_delay = Duration::from_millis(10);
        options.retry.max_delay = Duration::from_millis(50);
        options
    }

    fn store_with(&self, name: &str, options: RegistryOptions) -> Store {
        let with = StoreOptions {
            registries: Some(Registries::new(options).unwrap()),
            ..StoreOptions::default()
        };
        Store::open_with(self.path(name), with).unwrap()
    }

    /// As [`Self::store`], one whose reads wait for packs for so long only.
    fn store_that_waits(&self, name: &str, others: &[&str], patience: Duration) -> Store {
        let mut options = self.options();
        options
            .plain_http
            .extend(others.iter().map(|host| (*host).to_owned()));
        options.retry.attempts = 1;
        let with = StoreOptions {
            registries: Some(Registries::new(options).unwrap()),
            read_patience: patience,
            ..StoreOptions::default()
        };
        Store::open_with(self.path(name), with).unwrap()
    }

    /// Puts an image of a layout into the registry, by another tool.
    fn upload(&self, image: &ImageReference, name: &str) {
        let to = format!("docker://{}/{name}", self.registry.host());
        skopeo(
            &self.registry,
            &[
                "copy",
                "--all",
                "--preserve-digests",
                &image.to_string(),
                &to,
            ],
        );
    }
}

/// Runs skopeo with the registry's credentials and certificate.
fn skopeo(registry: &Registry, args: &[&str]) {
    let mut command = Command::new("skopeo");
    command.arg("--insecure-policy").args(args);
    command.env("DOCKER_CONFIG", registry.docker_config_dir());
    command.env(
        "REGISTRY_AUTH_FILE",
        registry.docker_config_dir().join("config.json"),
    );
    let tls = registry.ca_file().is_some();
    for side in ["--src-tls-verify", "--dest-tls-verify"] {
        command.arg(format!("{side}=false"));
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}, TLS {tls}: {said}");
}

fn docker(host: &str, name: &str) -> ImageReference {
    format!("docker://{host}/{name}").parse().unwrap()
}

fn reference(host: &str, name: &str) -> RegistryReference {
    format!("{host}/{name}").parse().unwrap()
}

/// All of an error and its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Runs a test in a process of its own, with these variables: whether this is that process. They begin without any
/// that names a proxy.
fn run_alone(test: &str, variables: &[(&str, &str)]) -> bool {
    const CHILD: &str = "TEST_THAT_RUNS_ALONE";
    if std::env::var(CHILD).is_ok_and(|running| running == test) {
        return true;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    for known in ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"] {
        child.env_remove(known).env_remove(known.to_lowercase());
    }
    child
        .args([test, "--exact", "--nocapture"])
        .env(CHILD, test);
    child.envs(variables.iter().copied());
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
    false
}

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}
