//! OpenPGP certificates, stored and handed in: what is stored reads back as the same.
#![no_main]

use kluis::openpgp::Certificate;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = Certificate::parse_stored(bytes);
    if let Ok(given) = Certificate::parse_given(bytes) {
        if let Ok(stored) = Certificate::parse_stored(&given.to_stored()) {
            assert_eq!(stored.fingerprint(), given.fingerprint());
            assert_eq!(stored.to_stored(), given.to_stored());
        }
        assert!(!given.view().is_empty());
    }
});
