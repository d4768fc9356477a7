//! X.509 certificates and certificate requests in DER, read and judged.
#![no_main]

use kluis::model::{Digest, Profile};
use kluis::pki::{Facts, check_csr_pop, check_issued_by, check_leaf, read_csr, spki_strength};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(facts) = Facts::read(bytes) {
        assert_eq!(facts.sha256, Digest::of(bytes));
        assert_eq!(facts.spki_id, Digest::of(&facts.spki));
        for profile in Profile::ALL {
            // A key that is too weak is no key of a leaf.
            let leaf = check_leaf(&facts, *profile, "w-1");
            assert!(leaf.is_err() || spki_strength(&facts.spki).is_ok());
        }
        let _ = check_issued_by(&facts, &facts);
    }
    match read_csr(bytes) {
        Ok(facts) => assert_eq!(facts.spki_id, Digest::of(&facts.spki)),
        Err(_) => assert!(check_csr_pop(bytes).is_err()),
    }
});
