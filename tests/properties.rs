//! Properties of `verify` on a repository that kluis made (the root of this checkout): nothing can be taken out of it, and no
//! bit of it changed, without being seen. And of the two pairs that must agree for ever: names and paths, sealing and opening.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use kluis::env::Rng;
use kluis::model::{Algorithm, Generation, HexId, Place, Span, Time};
use kluis::openpgp::{self, Certificate, SecretKeys};
use kluis::pki::PrivateKey;
use kluis::seal::{self, Header, KeyBody, SealedKey};
use kluis::secret::Secret;
use kluis::trust::anchor::{Anchor, PinLine};
use kluis::trust::{self, Entry, Tree};
use proptest::prelude::*;

struct Genuine {
    tree: Tree,
    pin: Anchor,
    now: Time,
}

static GENUINE: LazyLock<Genuine> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pin = std::fs::read_to_string(root.join("tests/fixtures/pin")).unwrap();
    Genuine {
        tree: kluis::repo::read_tree(root).unwrap(),
        pin: PinLine::parse(pin.trim()).unwrap().anchor(),
        now: Time::parse("2026-12-01T00:00:00Z").unwrap(),
    }
});

fn exit(tree: Tree) -> u8 {
    trust::verify(tree, Some(&GENUINE.pin), GENUINE.now, false).exit()
}

fn paths() -> Vec<String> {
    GENUINE.tree.entries.keys().cloned().collect()
}

fn without(gone: &BTreeSet<String>) -> Tree {
    let mut tree = GENUINE.tree.clone();
    tree.entries.retain(|path, _| !gone.contains(path));
    tree
}

fn flipped(path: &str, at: usize, bit: u8) -> Tree {
    let mut tree = GENUINE.tree.clone();
    let Some(Entry::File { bytes, .. }) = tree.entries.get_mut(path) else { panic!("{path} is a file") };
    bytes[at] ^= 1 << bit;
    tree
}

#[test]
fn the_repository_itself_is_valid() {
    assert_eq!(exit(GENUINE.tree.clone()), 0);
    assert!(paths().len() > 45, "{:?}", paths());
}

/// No signature of an epoch is a surplus one here (FORMAT 4: that one may go unseen), so every file counts.
#[test]
fn no_file_can_be_taken_out_unseen() {
    for path in paths() {
        assert_ne!(exit(without(&BTreeSet::from([path.clone()]))), 0, "{path}");
    }
}

/// All of one person's statements, all of one kind, a whole folder: what somebody who hides something would take out.
#[test]
fn no_kind_of_file_can_be_taken_out_unseen() {
    for part in
        [".alice.", ".bob.", ".carol.", ".sig", ".toml", ".asc", ".crt", "trust/", "trust/log/", "clusters/", "w-2"]
    {
        let gone: BTreeSet<String> = paths().into_iter().filter(|path| path.contains(part)).collect();
        assert!(!gone.is_empty(), "{part}");
        assert_ne!(exit(without(&gone)), 0, "{part}");
    }
    assert_ne!(exit(Tree::default()), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_set_of_files_can_be_taken_out_unseen(keep in prop::collection::vec(prop::bool::weighted(0.8), 80)) {
        let gone: BTreeSet<String> = paths().into_iter().zip(&keep).filter(|(_, keep)| !**keep).map(|(path, _)| path).collect();
        prop_assume!(!gone.is_empty());
        prop_assert_ne!(exit(without(&gone)), 0, "{:?}", gone);
    }

    #[test]
    fn no_bit_of_any_file_can_be_changed_unseen(file in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let paths = paths();
        let path = &paths[file.index(paths.len())];
        let at = at.index(GENUINE.tree.bytes(path).unwrap().len());
        prop_assert_ne!(exit(flipped(path, at, bit)), 0, "{} at {}", path, at);
    }
}

/// Small files byte by byte: the signatures, where most octets are in nobody's hash.
#[test]
fn no_byte_of_a_signature_can_be_changed_unseen() {
    let path = paths().into_iter().find(|path| path.ends_with("0004.bob.sig")).unwrap();
    for at in 0..GENUINE.tree.bytes(&path).unwrap().len() {
        assert_ne!(exit(flipped(&path, at, (at % 7) as u8)), 0, "{path} at {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_path_that_is_a_place_is_written_as_it_was_read(path in place_like()) {
        if let Ok(place) = Place::parse(&path) {
            prop_assert_eq!(place.to_string(), path);
        }
    }
}

/// Paths that are places or nearly so.
fn place_like() -> impl Strategy<Value = String> {
    let name = "[a-z0-9][a-z0-9.-]{0,8}|con|nul.x|a..b|A|[0-9]{1,5}";
    let name = || name.prop_map(|name: String| name);
    prop_oneof![
        (0u32..12_000, name()).prop_map(|(n, who)| format!("trust/epoch/{n:04}.{who}.sig")),
        (0u32..12_000, name()).prop_map(|(n, who)| format!("trust/epoch/{n:04}.{who}+old.sig")),
        (0u32..12_000).prop_map(|n| format!("trust/epoch/{n:04}.toml")),
        "trust/log/20[0-9]{2}-[01][0-9]/[0-9a-f]{15,17}\\.(toml|alice\\.sig)",
        name().prop_map(|who| format!("pubkeys/{who}.asc")),
        "pubkeys/old/[0-9a-f]{16}\\.asc",
        (name(), "(kubernetes|etcd|front-proxy|tokens)", 0u32..10_001)
            .prop_map(|(cluster, keyset, g)| format!("clusters/{cluster}/ca/{keyset}.g{g}.crt")),
        (name(), name(), "(apiserver|kubelet-client|client|break-glass|x)")
            .prop_map(|(cluster, node, profile)| format!("clusters/{cluster}/certs/node/{node}/{profile}.crt")),
        (name(), name(), "(client|break-glass|apiserver)")
            .prop_map(|(cluster, who, profile)| format!("clusters/{cluster}/certs/person/{who}/{profile}.crt")),
        (name(), "(ca\\.etcd\\.g1|sa\\.g2|encryption\\.g10|tokens\\.g1|node\\.[a-z0-9.-]{1,6}|ca\\.sa\\.g1)")
            .prop_map(|(cluster, sealed)| format!("clusters/{cluster}/sealed/{sealed}.asc")),
        "[a-z./+-]{0,30}",
    ]
}

struct Person {
    certificate: Certificate,
    keys: std::sync::Mutex<SecretKeys>,
}

static PERSON: LazyLock<Person> = LazyLock::new(|| {
    let made = Time::parse("2026-01-01T00:00:00Z").unwrap();
    let (certificate, secret) = openpgp::generate("alice", made, Some(Span::days(900))).unwrap();
    Person { certificate, keys: std::sync::Mutex::new(SecretKeys::file(secret, &mut |_| None).unwrap()) }
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sealed_opens_as_what_it_was_and_as_nothing_else(
        count in 1usize..6,
        symmetric in any::<bool>(),
        seed in any::<[u8; 32]>(),
        wrong in 0usize..4,
    ) {
        let header = Header {
            repo: HexId([1; 32]),
            cluster: HexId([2; 16]),
            name: "node.cp-1".to_owned(),
            generation: Generation::new(1).unwrap(),
        };
        let mut rng = Rng::system();
        let names = ["apiserver", "etcd-peer", "etcd-server", "kubelet-client", "scheduler"];
        let keys: Vec<SealedKey> = names[..count.min(5)].iter().map(|name| {
            let body = if symmetric {
                KeyBody::Symmetric { salt: seed, bytes: Secret::new([seed.as_slice(), name.as_bytes()].concat()) }
            } else {
                KeyBody::Pkcs8(PrivateKey::generate(Algorithm::EcdsaP256, &mut rng).to_pkcs8())
            };
            SealedKey::new(*name, body)
        }).collect();
        let usable = PERSON.certificate.usable(Time::parse("2026-06-01T00:00:00Z").unwrap()).unwrap();
        let recipients = [(&PERSON.certificate, &usable.encrypt[0])];
        let sealed = seal::seal(&header, &keys, &recipients).unwrap();
        let public: Vec<_> = keys.iter().map(|key| (key.name.clone(), key.id().unwrap())).collect();
        let mut holder = PERSON.keys.lock().unwrap();
        let opened = seal::open(&mut holder, &sealed, &recipients, &header, &public).unwrap();
        prop_assert_eq!(opened.len(), keys.len());
        for (one, other) in opened.iter().zip(&keys) {
            prop_assert_eq!(&one.name, &other.name);
            prop_assert!(one.to_pem().expose() == other.to_pem().expose());
        }
        let mut other = header.clone();
        match wrong {
            0 => other.repo = HexId([9; 32]),
            1 => other.cluster = HexId([9; 16]),
            2 => other.name = "node.cp-2".to_owned(),
            _ => other.generation = Generation::new(2).unwrap(),
        }
        prop_assert!(seal::open(&mut holder, &sealed, &recipients, &other, &public).is_err());
        let mut swapped = public.clone();
        swapped[0].1 = kluis::model::Digest::of(b"another key");
        prop_assert!(seal::open(&mut holder, &sealed, &recipients, &header, &swapped).is_err());
    }
}
