//! Debian's docker-registry, one for each test that wants one.
//!
//! Invariant: it listens on the loopback interface only, and everything it writes is in a temporary folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::error::{BedError, file_error};
use crate::tls;
use crate::token::{TokenRules, TokenServer};

mod config;
mod process;
mod storage;

use process::{PROGRAM, Process};

/// The one user that registries with [`Auth`] know.
pub const USER: &str = "tester";
/// That user's password.
pub const PASSWORD: &str = "staple";

/// The line of that user, by bcrypt with few rounds.
const HTPASSWD: &str = "tester:$2b$05$eImiTXuWVxfM37uY4JANjOmvpnBuoDDCJz2TJGBQcvK3hAbEukutq\n";

/// How long a registry that was stopped may wait for its old port.
const PORT_DEADLINE: Duration = Duration::from_secs(10);

/// How a registry is to be. The default is plain HTTP for anyone.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether it speaks HTTPS, with a certificate of [`Registry::ca_file`], and so does its server of tokens.
    pub tls: bool,
    /// Who may read and write.
    pub auth: Auth,
    /// The address (`http://HOST`) of a registry that this one is a cache of, which can then only be read.
    pub mirror_of: Option<String>,
}

/// Who may use a registry.
#[derive(Debug, Clone, Default)]
pub enum Auth {
    /// Anyone.
    #[default]
    None,
    /// [`USER`] with [`PASSWORD`], by basic authentication at each request.
    Password,
    /// Whoever has a token, which [`USER`] gets for [`PASSWORD`] at a server of this process.
    Token(TokenRules),
}

/// A running docker-registry. Dropping it ends it and removes what it stored.
#[derive(Debug)]
pub struct Registry {
    // The process goes before its folder.
    process: Mutex<Option<Process>>,
    host: String,
    tls: bool,
    tokens: Option<TokenServer>,
    folder: TempDir,
}

impl Registry {
    /// Starts a registry on a free port of this machine, and returns when it listens.
    ///
    /// # Errors
    /// [`BedError`], mostly because the Debian package `docker-registry` is not installed.
    pub fn start(options: &Options) -> Result<Self, BedError> {
        let folder =
            tempfile::tempdir().map_err(file_error("create a folder in", &std::env::temp_dir()))?;
        let tls = match options.tls {
            true => {
                tls::write(folder.path())?;
                Some(tls::server(folder.path())?)
            }
            false => None,
        };
        let tokens = match &options.auth {
            Auth::Token(rules) => Some(TokenServer::start(rules, folder.path(), tls)?),
            Auth::Password => {
                put(&folder.path().join(config::HTPASSWD), HTPASSWD)?;
                None
            }
            Auth::None => None,
        };
        let realm = tokens.as_ref().map(TokenServer::realm);
        let write = |address: &str| {
            let text = config::text(folder.path(), address, options, realm.as_deref());
            put(&folder.path().join(CONFIG), &text)
        };
        // The system chooses the port, so that nobody can be there first.
        write("127.0.0.1:0")?;
        let process = start(folder.path())?;
        let host = process.address().unwrap_or_default();
        write(&host)?;
        let registry = Self {
            process: Mutex::new(Some(process)),
            host,
            tls: options.tls,
            tokens,
            folder,
        };
        registry.log_in(&registry.host)?;
        Ok(registry)
    }

    /// Where it listens, as in references: `127.0.0.1:PORT`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The certificate (PEM) of the authority that signed the registry's own, if it speaks HTTPS. Its folder suits
    /// skopeo's `--src-cert-dir` and `--dest-cert-dir`.
    pub fn ca_file(&self) -> Option<PathBuf> {
        self.tls.then(|| self.folder.path().join(tls::CA))
    }

    /// The folder of a `config.json` with the credentials for [`Registry::host`], as `$DOCKER_CONFIG` names it.
    pub fn docker_config_dir(&self) -> PathBuf {
        self.folder.path().join("docker")
    }

    /// Adds `host`, such as that of a [`Front`](crate::Front) before this registry, to that `config.json`.
    ///
    /// # Errors
    /// [`BedError::File`] if it can't be written.
    pub fn log_in(&self, host: &str) -> Result<(), BedError> {
        let folder = self.docker_config_dir();
        fs::create_dir_all(&folder).map_err(file_error("create", &folder))?;
        let path = folder.join("config.json");
        let old = fs::read(&path).ok();
        let old: Option<Value> = old.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let auths = old.and_then(|config| config["auths"].as_object().cloned());
        let mut auths: Map<_, _> = auths.unwrap_or_default();
        let secret = STANDARD.encode(format!("{USER}:{PASSWORD}"));
        auths.insert(host.to_owned(), json!({ "auth": secret }));
        put(&path, &json!({ "auths": auths }).to_string())
    }

    /// The server that gives out tokens, if the registry wants some.
    pub fn tokens(&self) -> Option<&TokenServer> {
        self.tokens.as_ref()
    }

    /// What the registry printed since it was last started.
    pub fn log(&self) -> String {
        self.process()
            .as_ref()
            .map(Process::log)
            .unwrap_or_default()
    }

    /// Ends the registry's process, as a crash would. What it stored stays.
    pub fn stop(&self) {
        self.process().take();
    }

    /// Starts a registry that was stopped again, at the same port.
    ///
    /// # Errors
    /// [`BedError`] if it can't be started. One that runs is left alone.
    pub fn start_again(&self) -> Result<(), BedError> {
        let mut process = self.process();
        if process.is_none() {
            *process = Some(start_at_old_port(self.folder.path())?);
        }
        Ok(())
    }

    /// Removes what no manifest needs, and starts the registry anew. Returns what the collector printed.
    ///
    /// # Errors
    /// [`BedError`] if the collector fails; the registry is then stopped.
    pub fn garbage_collect(&self) -> Result<String, BedError> {
        self.collect(&[])
    }

    /// As [`Registry::garbage_collect`], but removes manifests without a tag before, and what only they need.
    ///
    /// # Errors
    /// [`BedError`] if the collector fails; the registry is then stopped.
    pub fn garbage_collect_untagged(&self) -> Result<String, BedError> {
        self.collect(&["--delete-untagged"])
    }

    fn collect(&self, options: &[&str]) -> Result<String, BedError> {
        let mut process = self.process();
        process.take();
        let mut command = Command::new(PROGRAM);
        command.arg("garbage-collect").args(options);
        let output = command.arg(self.folder.path().join(CONFIG)).output();
        let output = output.map_err(|source| BedError::Run {
            program: PROGRAM,
            source,
        })?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            return Err(BedError::Failed {
                program: PROGRAM,
                output: text,
            });
        }
        *process = Some(start_at_old_port(self.folder.path())?);
        Ok(text)
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The configuration's file, in the folder of a registry.
const CONFIG: &str = "config.yml";

fn start(folder: &Path) -> Result<Process, BedError> {
    Process::start(&folder.join(CONFIG), &folder.join("log"))
}

/// Somebody's outgoing connection may be at the port for a moment.
fn start_at_old_port(folder: &Path) -> Result<Process, BedError> {
    let begun = Instant::now();
    loop {
        match start(folder) {
            Err(BedError::Failed { output, .. })
                if output.contains("address already in use") && begun.elapsed() < PORT_DEADLINE =>
            {
                thread::sleep(Duration::from_millis(100));
            }
            done => return done,
        }
    }
}

fn put(path: &Path, text: &str) -> Result<(), BedError> {
    fs::write(path, text).map_err(file_error("write", path))
}
