//! Detached OpenPGP signatures: read strictly, whatever the bytes.
#![no_main]

use kluis::openpgp::{Kind, Signature};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for kind in [Kind::Epoch, Kind::Record, Kind::Request] {
        if let Ok(signature) = Signature::parse(bytes, kind) {
            assert!(!signature.issuer().to_string().is_empty());
        }
    }
});
