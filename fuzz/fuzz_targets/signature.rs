//! Detached OpenPGP signatures: what parses is of one kind, and good for nothing but what it was made over.
#![no_main]

use std::sync::LazyLock;

use kluis::openpgp::{Certificate, Kind, Signature};

const SIGNED: &[u8] = include_bytes!("../../trust/epoch/0001.toml");

static ALICE: LazyLock<Certificate> = LazyLock::new(|| {
    Certificate::parse_stored(include_bytes!("../../pubkeys/alice.asc")).expect("the certificate of the checkout")
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut kinds = 0;
    for kind in [Kind::Epoch, Kind::Record, Kind::Request] {
        let Ok(signature) = Signature::parse(bytes, kind) else { continue };
        kinds += 1;
        assert!(signature.verify(&SIGNED[1..], &ALICE).is_err());
        if signature.verify(SIGNED, &ALICE).is_ok() {
            assert_eq!(kind, Kind::Epoch);
            assert!(ALICE.life(signature.issuer()).is_some_and(|(from, _)| from <= signature.created()));
        }
    }
    assert!(kinds <= 1);
});
