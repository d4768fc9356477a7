//! Sealed files: an envelope names its readers, nobody hides among them, and its description never fails.
#![no_main]

use kluis::ops::textconv::{Names, describe};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(envelope) = kluis::openpgp::read_envelope(bytes) {
        assert!(!envelope.recipients.is_empty());
        assert!(envelope.recipients.iter().all(|key| key.0 != 0));
    }
    describe(bytes, &Names::default());
});
