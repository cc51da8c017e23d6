//! Certificates that nobody trusts but those who are told to.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::{BedError, file_error};

/// The certificate of the authority, in the folder that [`write`] fills.
pub(crate) const CA: &str = "ca.crt";
/// The server's certificate.
pub(crate) const CERTIFICATE: &str = "server.pem";
/// The server's key.
pub(crate) const KEY: &str = "server-key.pem";

/// The names that a server of this machine goes by.
const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

/// Makes an authority and a server's certificate signed by it, and writes them to `folder`.
pub(crate) fn write(folder: &Path) -> Result<(), BedError> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let name = &mut authority.distinguished_name;
    name.push(DnType::CommonName, "test authority");
    let authority_key = KeyPair::generate()?;
    let authority_certificate = authority.self_signed(&authority_key)?;
    let issuer = Issuer::new(authority, authority_key);

    let server = CertificateParams::new(NAMES.map(str::to_owned))?;
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &issuer)?;

    put(folder, CA, &authority_certificate.pem())?;
    put(folder, CERTIFICATE, &certificate.pem())?;
    put(folder, KEY, &key.serialize_pem())
}

/// How a server speaks TLS with the certificate that [`write`] put into `folder`.
pub(crate) fn server(folder: &Path) -> Result<Arc<ServerConfig>, BedError> {
    let (certificate, key) = (folder.join(CERTIFICATE), folder.join(KEY));
    let unusable = |reason: String| BedError::Key { reason };
    let chain = CertificateDer::from_pem_file(certificate);
    let chain = chain.map_err(|error| unusable(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(error.to_string()))?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|config| {
            config
                .with_no_client_auth()
                .with_single_cert(vec![chain], key)
        });
    config
        .map(Arc::new)
        .map_err(|error| unusable(error.to_string()))
}

fn put(folder: &Path, name: &str, text: &str) -> Result<(), BedError> {
    let path = folder.join(name);
    fs::write(&path, text).map_err(file_error("write", &path))
}
