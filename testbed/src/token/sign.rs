//! JSON web tokens, signed by ECDSA with P-256 and SHA-256.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, KeyPair};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

use super::{ISSUER, SERVICE};
use crate::error::{BedError, file_error};

/// For how long after its end docker-registry still takes a token.
const LEEWAY: Duration = Duration::from_secs(60);
/// How long before now a token begins: long enough for one that ends before now.
const BEFORE: Duration = Duration::from_secs(600);

/// A key that tokens are signed with, and the certificate of it.
pub(super) struct Signer {
    key: EcdsaKeyPair,
    /// In base64.
    certificate: String,
    random: SystemRandom,
}

impl Signer {
    /// Makes a key, and writes its certificate to `path`.
    pub(super) fn new(path: &Path) -> Result<Self, BedError> {
        let pair = KeyPair::generate()?;
        let certificate = CertificateParams::new(Vec::new())?.self_signed(&pair)?;
        fs::write(path, certificate.pem()).map_err(file_error("write", path))?;
        let random = SystemRandom::new();
        // rcgen signs in ASN.1, but tokens have the two numbers side by side.
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = EcdsaKeyPair::from_pkcs8(algorithm, &pair.serialize_der(), &random);
        Ok(Self {
            key: key.map_err(|rejected| BedError::Key {
                reason: rejected.to_string(),
            })?,
            certificate: STANDARD.encode(certificate.der()),
            random,
        })
    }

    /// The token with this `number`, or `None` if there is no randomness for the signature.
    pub(super) fn token(
        &self,
        number: u64,
        lifetime: Duration,
        access: &[Value],
    ) -> Option<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        let begins = now.saturating_sub(BEFORE).as_secs();
        let header = json!({ "typ": "JWT", "alg": "ES256", "x5c": [self.certificate] });
        let claims = json!({
            "iss": ISSUER,
            "sub": "tester",
            "aud": SERVICE,
            "iat": begins,
            "nbf": begins,
            "exp": (now + lifetime).saturating_sub(LEEWAY).as_secs(),
            "jti": number.to_string(),
            "access": access,
        });
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.key.sign(&self.random, signed.as_bytes()).ok()?;
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}
