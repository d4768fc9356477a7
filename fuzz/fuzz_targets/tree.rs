//! A whole tree: files cut out of the bytes, at places that the bytes choose, verified and reviewed as what it would be.
#![no_main]

use kluis::model::Time;
use kluis::trust::{Entry, Tree};

const PLACES: [&str; 12] = [
    "trust/epoch/0001.toml",
    "trust/epoch/0001.alice.sig",
    "trust/epoch/0002.toml",
    "trust/log/2026-11/0123456789abcdef.toml",
    "trust/log/2026-11/0123456789abcdef.alice.sig",
    "pubkeys/alice.asc",
    "clusters/prod/cluster.toml",
    "clusters/prod/ca/kubernetes.g1.crt",
    "clusters/prod/sealed/ca.kubernetes.g1.asc",
    "clusters/prod/certs/node/cp-1/apiserver.crt",
    "clusters/prod/requests/0123456789abcdef.toml",
    "clusters/Prod/../x",
];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut tree = Tree::default();
    // One byte says where, then everything up to the next zero byte.
    for part in bytes.split(|byte| *byte == 0) {
        let Some((first, rest)) = part.split_first() else { continue };
        let path = PLACES[usize::from(*first) % PLACES.len()].to_owned();
        tree.entries.insert(path, Entry::File { bytes: rest.to_vec(), executable: false });
    }
    let now = Time::from_unix(1_800_000_000);
    let verified = kluis::trust::verify(tree.clone(), None, now, true);
    assert!(verified.exit() == 3 || verified.exit() == 4);
    kluis::trust::verify_as_if_signed(tree, None, now);
});
