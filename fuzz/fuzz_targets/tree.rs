//! Whole trees: statements and files cut out of the bytes are laid over a small cluster, named by their hashes and signed.
//! So what fuzzing changes is judged, and not only refused for its signature.
//!
//! Parts end with a zero byte. Their first byte says what they are: `e` the next epoch, signed by alice and bob, `d` by
//! alice alone; `a` and `b` a record of theirs; `q` a request of alice's; `f` a file, its path in the first line. `@3`
//! stands for the hash of the fourth part.
#![no_main]

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;

use kluis::model::{Digest, Fingerprint, Time};
use kluis::openpgp::{Certificate, Kind, Purpose, SecretKeys};
use kluis::secret::Secret;
use kluis::trust::anchor::Anchor;
use kluis::trust::{Entry, Record, Tree, verify, verify_as_if_signed, verify_change};

/// What is there before: everything that the statements of the corpus vouch for.
const BASE: [&str; 13] = [
    "pubkeys/alice.asc",
    "pubkeys/bob.asc",
    "clusters/demo/ca/",
    "clusters/demo/sa/",
    "clusters/demo/certs/node/w-1/",
    "clusters/demo/certs/person/",
    "clusters/demo/sealed/ca.etcd.g1.asc",
    "clusters/demo/sealed/ca.front-proxy.g1.asc",
    "clusters/demo/sealed/ca.kubernetes.g1.asc",
    "clusters/demo/sealed/encryption.g1.asc",
    "clusters/demo/sealed/node.w-1.asc",
    "clusters/demo/sealed/sa.g1.asc",
    "clusters/demo/cluster.toml",
];

/// Signatures that are kept at most.
const MOST_MADE: usize = 4096;

/// The month of a record that says none.
const MONTH: &str = "2026-11";

struct Person {
    cert: Certificate,
    key: Fingerprint,
    keys: SecretKeys,
    /// Most parts of an input are those of the one before.
    made: HashMap<Digest, Vec<u8>>,
}

impl Person {
    fn load(root: &Path, name: &str) -> Self {
        let read = |path: String| std::fs::read(root.join(path)).expect("the checkout has its demonstration keys");
        let cert = Certificate::parse_stored(&read(format!("pubkeys/{name}.asc"))).expect("a certificate");
        let secret = Secret::new(read(format!("tests/fixtures/{name}.DEMO-ONLY.key")));
        let keys = SecretKeys::file(secret, &mut |_| None).expect("a secret key");
        let mut listed = cert.keys().into_iter().map(|key| key.fingerprint);
        let key = listed.find(|key| cert.check_listed(key, Purpose::Sign).is_ok()).expect("a key that signs");
        Self { cert, key, keys, made: HashMap::new() }
    }

    fn sign(&mut self, text: &[u8], kind: Kind) -> Vec<u8> {
        let name = Digest::of_parts(&[kind.as_str().as_bytes(), b":", text]);
        if let Some(signature) = self.made.get(&name) {
            return signature.clone();
        }
        let signature = self.keys.sign(text, kind, &self.cert, &self.key, signed()).expect("a key file signs");
        if self.made.len() >= MOST_MADE {
            self.made.clear();
        }
        self.made.insert(name, signature.clone());
        signature
    }
}

struct Ground {
    base: Tree,
    alice: Person,
    bob: Person,
}

thread_local! {
    static GROUND: RefCell<Ground> = RefCell::new(Ground::load());
}

/// The time of every signature, after the statements of the corpus.
fn signed() -> Time {
    Time::parse("2026-11-27T15:00:00Z").expect("a time")
}

impl Ground {
    fn load() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("fuzz lies in the checkout");
        let mut base = kluis::repo::read_tree(root).expect("the checkout can be read");
        base.entries.retain(|path, _| BASE.iter().any(|start| path.starts_with(start)));
        Self { base, alice: Person::load(root, "alice"), bob: Person::load(root, "bob") }
    }

    fn tree(&mut self, bytes: &[u8]) -> Tree {
        let mut tree = self.base.clone();
        let mut hashes: Vec<Digest> = Vec::new();
        let mut epochs = 0;
        for part in bytes.split(|byte| *byte == 0) {
            let Some((kind, text)) = part.split_first() else { continue };
            let text = resolve(text, &hashes);
            let hash = Digest::of(&text);
            hashes.push(hash);
            let h16 = hash.h16();
            let (stem, kind, signers) = match kind {
                b'e' | b'd' => {
                    epochs += 1;
                    let signers = if *kind == b'e' { &["alice", "bob"][..] } else { &["alice"] };
                    (format!("trust/epoch/{epochs:04}"), Kind::Epoch, signers)
                }
                b'a' => (format!("trust/log/{}/{h16}", month(&text)), Kind::Record, &["alice"][..]),
                b'b' => (format!("trust/log/{}/{h16}", month(&text)), Kind::Record, &["bob"][..]),
                b'q' => (format!("clusters/demo/requests/{h16}"), Kind::Request, &["alice"][..]),
                b'f' => {
                    let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
                    let path = String::from_utf8_lossy(&text[..end]).into_owned();
                    put(&mut tree, path, text.get(end + 1..).unwrap_or_default().to_vec());
                    continue;
                }
                _ => continue,
            };
            for name in signers {
                let person = if *name == "alice" { &mut self.alice } else { &mut self.bob };
                put(&mut tree, format!("{stem}.{name}.sig"), person.sign(&text, kind));
            }
            put(&mut tree, format!("{stem}.toml"), text);
        }
        tree
    }
}

fn put(tree: &mut Tree, path: String, bytes: Vec<u8>) {
    tree.entries.insert(path, Entry::File { bytes, executable: false });
}

fn month(record: &[u8]) -> String {
    Record::parse(record).map_or_else(|_| MONTH.to_owned(), |record| record.time.month())
}

/// The text with hashes for `@` and a digit.
fn resolve(text: &[u8], hashes: &[Digest]) -> Vec<u8> {
    let mut resolved = Vec::with_capacity(text.len());
    let mut rest = text.iter().peekable();
    while let Some(byte) = rest.next() {
        let number = rest.peek().filter(|next| next.is_ascii_digit()).map(|next| usize::from(**next - b'0'));
        match number.and_then(|number| hashes.get(number)) {
            Some(hash) if *byte == b'@' => {
                resolved.extend_from_slice(hash.to_string().as_bytes());
                rest.next();
            }
            _ => resolved.push(*byte),
        }
    }
    resolved
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let tree = GROUND.with_borrow_mut(|ground| ground.tree(bytes));
    let now = Time::parse("2026-12-01T00:00:00Z").expect("a time");
    let verified = verify(tree.clone(), None, now, true);
    // Nothing is pinned.
    assert!(matches!(verified.exit(), 3 | 4));
    // What a change is judged by is what the result would be judged by.
    let again = verify_change(&verified, tree.clone(), None, now, true);
    assert_eq!(again.findings, verified.findings);
    if !verified.is_invalid() {
        // A valid tree is the one that it was.
        let epochs = verified.chain.all().iter().map(|epoch| (epoch.epoch.number, epoch.sha256)).collect();
        let repo = verified.chain.all()[0].epoch.repo;
        let anchor = Anchor { repo, epochs, heads: verified.log.heads() };
        let pinned = verify_change(&verified, tree.clone(), Some(&anchor), now, true);
        assert!(matches!(pinned.exit(), 0 | 5));
    }
    if verified.chain.draft().is_some() {
        verify_as_if_signed(tree, None, now);
    }
});
