//! Records: what parses has one form alone, and is written back as it was.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(record) = kluis::trust::Record::parse(bytes) {
        assert_eq!(record.write().as_bytes(), bytes);
    }
});
