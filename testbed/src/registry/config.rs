//! The configuration of a docker-registry.

use std::path::Path;

use serde_json::{Value, json};

use super::{Auth, Options};
use crate::tls;
use crate::token;

/// Signs what the registry keeps in the addresses of uploads. The same after a restart, so that they can go on.
const SECRET: &str = "test bed";
/// Everything that the configuration names lies in this folder.
pub(super) const STORAGE: &str = "storage";
/// The user and the hash of the password.
pub(super) const HTPASSWD: &str = "htpasswd";

/// The configuration for a registry in `folder` that listens at `address`. JSON is YAML, too.
pub(super) fn text(folder: &Path, address: &str, options: &Options, realm: Option<&str>) -> String {
    let mut http = json!({ "addr": address, "secret": SECRET });
    if options.tls {
        http["tls"] = json!({
            "certificate": folder.join(tls::CERTIFICATE),
            "key": folder.join(tls::KEY),
        });
    }
    let mut config = json!({
        "version": 0.1,
        "log": { "accesslog": { "disabled": true }, "level": "info" },
        "storage": {
            "filesystem": { "rootdirectory": folder.join(STORAGE) },
            "delete": { "enabled": true },
        },
        "http": http,
    });
    if let Some(auth) = auth(folder, &options.auth, realm) {
        config["auth"] = auth;
    }
    if let Some(origin) = &options.mirror_of {
        config["proxy"] = json!({ "remoteurl": origin });
    }
    config.to_string()
}

fn auth(folder: &Path, auth: &Auth, realm: Option<&str>) -> Option<Value> {
    match auth {
        Auth::None => None,
        Auth::Password => Some(json!({
            "htpasswd": { "realm": "test bed", "path": folder.join(HTPASSWD) },
        })),
        Auth::Token(_) => Some(json!({
            "token": {
                "realm": realm,
                "service": token::SERVICE,
                "issuer": token::ISSUER,
                "rootcertbundle": folder.join(token::CERTIFICATE),
            },
        })),
    }
}
