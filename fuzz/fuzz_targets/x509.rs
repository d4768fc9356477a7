//! X.509 certificates and certificate requests in DER.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(facts) = kluis::pki::Facts::read(bytes) {
        assert_eq!(facts.sha256, kluis::model::Digest::of(bytes));
        let _ = kluis::pki::check_issued_by(&facts, &facts);
    }
    if kluis::pki::read_csr(bytes).is_ok() {
        let _ = kluis::pki::check_csr_pop(bytes);
    }
});
