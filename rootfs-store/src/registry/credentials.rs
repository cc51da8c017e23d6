//! Credentials, from where the user keeps them.

use std::env;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use docker_credential::{CredentialRetrievalError, DockerCredential};

use super::error::RegistryError;
use super::options::{Credential, Credentials};
use super::reference::is_docker_hub;
use super::secret::Secret;

/// Largest `config.json` that is read, in bytes.
const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// What Docker calls its hub in `config.json`.
const DOCKER_HUB_SERVER: &str = "https://index.docker.io/v1/";
/// What helpers say, by their protocol, if they have no credentials.
const NOT_FOUND: &str = "credentials not found";

/// The credentials for a registry, if there are any.
pub(crate) fn look_up(
    credentials: &Credentials,
    host: &str,
) -> Result<Option<Credential>, RegistryError> {
    match credentials {
        Credentials::Anonymous => Ok(None),
        Credentials::Explicit(known) => Ok(known.get(host).cloned()),
        Credentials::DockerConfig { file } => {
            let Some(file) = file.clone().or_else(default_file) else {
                return Ok(None);
            };
            of_docker_config(&file, host).map_err(|problem| RegistryError::Credentials {
                host: host.to_owned(),
                problem,
            })
        }
    }
}

/// The value of `Authorization` for a name and password; nothing for an identity token.
pub(crate) fn basic(credential: &Credential) -> Option<Secret> {
    let Credential::Password { username, password } = credential else {
        return None;
    };
    let plain = format!("{username}:{}", password.reveal());
    Some(Secret::new(format!("Basic {}", STANDARD.encode(plain))))
}

fn default_file() -> Option<PathBuf> {
    let by_home = || env::var_os("HOME").map(|home| Path::new(&home).join(".docker"));
    let dir = env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    Some(dir.or_else(by_home)?.join("config.json"))
}

fn of_docker_config(path: &Path, host: &str) -> Result<Option<Credential>, &'static str> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|_| "Docker's config.json can't be opened")?,
    };
    let server = match is_docker_hub(host) {
        true => DOCKER_HUB_SERVER,
        false => host,
    };
    let reader = BufReader::new(file.take(MAX_CONFIG_BYTES));
    match docker_credential::get_credential_from_reader(reader, server) {
        Ok(DockerCredential::IdentityToken(token)) => {
            Ok(Some(Credential::IdentityToken(Secret::new(token))))
        }
        // `docker logout` may leave an empty entry.
        Ok(DockerCredential::UsernamePassword(username, _)) if username.is_empty() => Ok(None),
        Ok(DockerCredential::UsernamePassword(username, password)) => {
            let password = Secret::new(password);
            Ok(Some(Credential::Password { username, password }))
        }
        Err(error) => problem(&error).map_or(Ok(None), Err),
    }
}

/// What went wrong, in words that can't hold what a helper printed.
fn problem(error: &CredentialRetrievalError) -> Option<&'static str> {
    match error {
        CredentialRetrievalError::NoCredentialConfigured => None,
        CredentialRetrievalError::HelperFailure { stdout, stderr, .. }
            if stdout.contains(NOT_FOUND) || stderr.contains(NOT_FOUND) =>
        {
            None
        }
        CredentialRetrievalError::HelperFailure { .. } => Some("the credential helper failed"),
        CredentialRetrievalError::HelperCommunicationError => {
            Some("the credential helper can't be run")
        }
        CredentialRetrievalError::MalformedHelperResponse => {
            Some("the credential helper's answer makes no sense")
        }
        CredentialRetrievalError::CredentialMismatchError => {
            Some("Docker's config.json holds two different passwords")
        }
        _ => Some("Docker's config.json makes no sense"),
    }
}

#[cfg(test)]
mod tests;
