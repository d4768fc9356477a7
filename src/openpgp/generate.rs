//! Fresh certificates with their secret keys: for the demo and for fixtures, never for people's real keys.

use sequoia_openpgp as sq;
use sq::cert::{CertBuilder, CipherSuite};
use sq::serialize::Serialize as _;
use sq::types::{Features, KeyFlags};

use super::armor;
use super::certificate::Certificate;
use super::secret_keys::KeyError;
use crate::model::{Span, Time};
use crate::secret::Secret;

/// Makes a v4 certificate, Ed25519 for certifying and signing and Cv25519 for encryption, created at `created`,
/// ending `expires` later or never; and its armored secret key, which has no passphrase.
///
/// # Errors
/// If the OpenPGP library fails.
pub fn generate(user_id: &str, created: Time, expires: Option<Span>) -> Result<(Certificate, Secret), KeyError> {
    let failed = |error: sq::anyhow::Error| KeyError::Failed(error.to_string());
    let validity = expires.map(|span| std::time::Duration::from_secs(span.seconds().unsigned_abs()));
    let builder = CertBuilder::new()
        .set_profile(sq::Profile::RFC4880)
        .and_then(|builder| builder.set_features(Features::empty().set_seipdv1()))
        .map_err(failed)?;
    let (cert, _revocation) = builder
        .set_cipher_suite(CipherSuite::Cv25519)
        .set_creation_time(created.system())
        .set_validity_period(validity)
        .set_primary_key_flags(KeyFlags::empty().set_certification().set_signing())
        .add_subkey(KeyFlags::empty().set_transport_encryption().set_storage_encryption(), None, None)
        .add_userid(user_id)
        .generate()
        .map_err(failed)?;
    let public = Certificate::from_cert(&cert.clone().strip_secret_key_material())
        .map_err(|fault| KeyError::Failed(fault.to_string()))?;
    let mut packets = zeroize::Zeroizing::new(Vec::with_capacity(4096));
    cert.as_tsk().serialize(&mut *packets).map_err(failed)?;
    Ok((public, Secret::new(armor::write(&packets, "PGP PRIVATE KEY BLOCK"))))
}
