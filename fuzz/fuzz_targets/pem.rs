//! PEM: what is accepted has one form alone, and is written back as it was; a private key is seen whatever is around it.
#![no_main]

use std::sync::LazyLock;

use kluis::env::Rng;
use kluis::model::Algorithm;
use kluis::pki::{PrivateKey, certificate_pem, parse_pem, public_pem, service_account_public};
use kluis::secret::Secret;
use kluis::trust::{holds_secret, holds_whole_secret};

/// Private keys in both their forms.
static KEYS: LazyLock<[Secret; 2]> = LazyLock::new(|| {
    let key = PrivateKey::generate(Algorithm::EcdsaP256, &mut Rng::system());
    [key.to_pkcs8_pem(), key.to_traditional_pem()]
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let secret = holds_secret(bytes);
    assert!(secret || !holds_whole_secret(bytes));
    for label in ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"] {
        assert!(secret || parse_pem(bytes, label).is_err());
    }
    for key in KEYS.iter() {
        assert!(holds_whole_secret(&[bytes, key.expose(), bytes].concat()));
    }
    if let Ok(der) = parse_pem(bytes, "CERTIFICATE") {
        assert_eq!(certificate_pem(&der), bytes);
    }
    if let Ok(der) = parse_pem(bytes, "PUBLIC KEY") {
        assert_eq!(public_pem(&der), bytes);
    }
    if let Ok(der) = service_account_public(bytes) {
        assert_eq!(public_pem(&der), bytes);
    }
});
