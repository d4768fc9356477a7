//! Requests: what parses has one form alone, and is written back as it was.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = kluis::trust::Request::parse(bytes) {
        assert_eq!(request.write().as_bytes(), bytes);
    }
});
