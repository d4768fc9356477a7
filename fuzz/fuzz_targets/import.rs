//! Every importer: the first octet says which distribution, the second whether the rest is one file or several, each behind
//! its name. Nothing panics, and what is taken has every item listed.
#![no_main]

use kluis::import::{File, Files, read};
use kluis::model::{Distribution, Time};
use kluis::secret::Secret;
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 8] = [
    "ca.crt",
    "ca.key",
    "sa.key",
    "admin.conf",
    "server-ca.crt",
    "service.key",
    "pki/private/kubernetes-ca/keyset.yaml",
    "secrets.yaml",
];

fuzz_target!(|data: &[u8]| {
    let [distribution, shape, rest @ ..] = data else { return };
    let distribution = Distribution::ALL[usize::from(*distribution) % Distribution::ALL.len()];
    let file = |path: &str, bytes: &[u8]| File { path: path.to_owned(), bytes: Secret::new(bytes.to_vec()) };
    let files = match shape % 2 {
        0 => vec![file("stdin", rest)],
        _ => rest
            .split(|octet| *octet == 0)
            .filter_map(|part| part.split_first())
            .map(|(name, bytes)| file(NAMES[usize::from(*name) % NAMES.len()], bytes))
            .collect(),
    };
    let Some(now) = Time::parse("2026-11-24T12:00:00Z") else { return };
    if let Ok(found) = read(Files { files, others: Vec::new() }, distribution, now) {
        assert!(!found.authorities.is_empty() && !found.items.is_empty());
    }
});
