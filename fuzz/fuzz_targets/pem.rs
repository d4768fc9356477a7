//! PEM: one strict block, public keys, and the search for private keys, in whatever bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let secret = kluis::trust::holds_secret(bytes);
    if bytes.windows(11).any(|window| window == b"PRIVATE KEY") && bytes.starts_with(b"-----BEGIN PRIVATE KEY-----\n") {
        assert!(secret);
    }
    for label in ["CERTIFICATE", "PUBLIC KEY"] {
        if let Ok(der) = kluis::pki::parse_pem(bytes, label) {
            assert!(!der.is_empty());
        }
    }
    let _ = kluis::pki::service_account_public(bytes);
});
