//! Requests: what parses has one form alone, is written back as it was, and asks for a person's certificate.
#![no_main]

use kluis::trust::Request;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(request) = Request::parse(bytes) else { return };
    assert_eq!(request.write().as_bytes(), bytes);
    assert!(request.profile.is_person());
    let _ = kluis::pki::check_csr_pop(&request.csr);
});
