//! OpenPGP certificates, stored and handed in: what is taken is stored in one form, which reads back as the same.
#![no_main]

use kluis::model::Time;
use kluis::openpgp::{Certificate, Purpose, holds_secret_key};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let stored = Certificate::parse_stored(bytes);
    let given = Certificate::parse_given(bytes);
    assert!(!holds_secret_key(bytes) || (stored.is_err() && given.is_err()));
    if let Ok(stored) = &stored {
        judge(stored);
    }
    if let Ok(given) = &given {
        judge(given);
        let text = given.to_stored();
        let again = Certificate::parse_stored(&text).expect("what is stored can be read");
        assert_eq!(again.to_stored(), text);
        assert_eq!(again.view(), given.view());
    }
});

fn judge(cert: &Certificate) {
    for key in cert.view() {
        for purpose in [Purpose::Sign, Purpose::Encrypt] {
            if cert.check_listed(&key.fingerprint, purpose).is_ok() {
                assert!(key.bound && !key.revoked);
                assert!(cert.life(&key.fingerprint).is_some());
            }
        }
    }
    if let Ok(usable) = cert.usable(Time::from_unix(1_800_000_000)) {
        for (keys, purpose) in [(&usable.sign, Purpose::Sign), (&usable.encrypt, Purpose::Encrypt)] {
            assert!(!keys.is_empty());
            assert!(keys.iter().all(|key| cert.check_listed(key, purpose).is_ok()));
        }
    }
}
