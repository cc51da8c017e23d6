//! What makes a guest a machine of its own.

use agent::protocol::identity::{Machine, Secret};
use ssh_key::LineEnding;
use ssh_key::private::{Ed25519Keypair, PrivateKey};

use crate::error::{Error, Repr};
use crate::id;

/// The length of `/etc/machine-id` (machine-id(5)), in bytes.
const ID_BYTES: usize = 16;
const SEED_BYTES: usize = 32;
const REVISION_BYTES: usize = 8;

/// A machine that no other is like.
pub(super) fn create() -> Result<Machine, Error> {
    let id = id::hex(&id::random_bytes::<ID_BYTES>()?);
    let pair = Ed25519Keypair::from_seed(&id::random_bytes::<SEED_BYTES>()?);
    let failed = |source| Repr::HostKey { source };
    let key = PrivateKey::from(pair);
    let private = key.to_openssh(LineEnding::LF).map_err(failed)?;
    Ok(Machine {
        id,
        revision: revision()?,
        continues: false,
        host_key: Secret(private.to_string()),
        host_key_public: key.public_key().to_openssh().map_err(failed)?,
    })
}

/// A name for a description that no other one of the machine has.
pub(super) fn revision() -> Result<String, Error> {
    Ok(id::hex(&id::random_bytes::<REVISION_BYTES>()?))
}
