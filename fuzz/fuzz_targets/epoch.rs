//! Epochs: what parses has one form alone, and is written back as it was.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(epoch) = kluis::trust::Epoch::parse(bytes) {
        assert_eq!(epoch.write().as_bytes(), bytes);
    }
});
