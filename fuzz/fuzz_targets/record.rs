//! Records: what parses has one form alone, is written back as it was, and stands in its order.
#![no_main]

use kluis::trust::Record;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(mut record) = Record::parse(bytes) else { return };
    assert_eq!(record.write().as_bytes(), bytes);
    record.sort();
    assert_eq!(record.write().as_bytes(), bytes);
    assert!(record.issued.iter().all(|entry| entry.organizations().len() <= entry.subject.len()));
});
