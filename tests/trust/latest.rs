//! The latest epoch alone, as `credential` looks at it: the same as a whole verify finds, from the epochs and the people's
//! certificates, whatever the log is like; and what the pin stands for.

use kluis::model::{Finding, Place};
use kluis::trust::anchor::Anchor;
use kluis::trust::latest::{certificate, latest};
use kluis::trust::{Epoch, Tree};

use crate::repository::{Repository, cluster, person};

/// The files that it looks at, and no others.
fn part(tree: &Tree) -> Tree {
    let mut part = tree.clone();
    part.entries.retain(|path, _| path.starts_with("trust/epoch/") || path.starts_with("pubkeys/"));
    part
}

fn seen(repository: &Repository, anchor: &Anchor) -> Result<Epoch, Vec<&'static str>> {
    let codes = |findings: Vec<Finding>| findings.iter().map(|finding| finding.code.as_str()).collect();
    latest(&part(&repository.tree), Some(anchor), None).map_err(codes)
}

/// demo, and a third epoch that two have signed.
fn three() -> Repository {
    let mut repository = Repository::demo();
    let draft = repository.draft();
    repository.publish(draft, &["alice", "bob"]);
    repository
}

fn number(seen: Result<Epoch, Vec<&'static str>>) -> u32 {
    seen.unwrap().number
}

#[test]
fn it_is_what_a_whole_verify_finds_by_any_pin() {
    let mut repository = three();
    let (genesis, pin) = (repository.genesis(), repository.pin());
    assert_eq!(number(seen(&repository, &genesis)), 3);
    assert_eq!(number(seen(&repository, &pin)), 3);
    assert_eq!(repository.verify().chain.latest().unwrap().epoch.number, 3);
    for signers in [&[][..], &["alice"]] {
        let draft = repository.draft();
        repository.publish(draft, signers);
        assert_eq!((number(seen(&repository, &genesis)), number(seen(&repository, &pin))), (3, 3));
        repository.epochs.pop();
        repository.tree.entries.remove(&Place::Epoch(4).to_string());
        repository.tree.entries.remove("trust/epoch/0004.alice.sig");
    }
    let draft = repository.draft();
    repository.publish(draft, &["alice", "bob"]);
    assert_eq!((number(seen(&repository, &genesis)), number(seen(&repository, &pin))), (4, 4));
}

#[test]
fn a_pinned_epoch_is_held_by_its_hash_and_one_that_is_not_by_signatures() {
    let mut repository = three();
    let (genesis, pin) = (repository.genesis(), repository.pin());
    // Below the pinned one nothing can have been otherwise; without that pin all of it is judged.
    repository.tree.entries.remove("trust/epoch/0002.bob.sig");
    assert_eq!(number(seen(&repository, &pin)), 3);
    assert_eq!(seen(&repository, &genesis).unwrap_err(), ["new-threshold"]);
    // A later one is judged as soon as it could have its signatures.
    let draft = repository.draft();
    repository.publish(draft, &["alice", "bob"]);
    assert_eq!(seen(&repository, &pin).unwrap_err(), ["new-threshold"]);
}

#[test]
fn forged_epochs_signatures_and_certificates_are_refused() {
    let pin = three().pin();
    let mut repository = three();
    assert_eq!(seen(&repository, &pin).unwrap_err(), ["genesis-mismatch"], "another repository");
    let pin = repository.pin();
    // Signed by a stranger, twice.
    let draft = repository.draft();
    repository.publish(draft, &[]);
    repository.identity("mallory");
    for name in ["alice", "bob"] {
        repository.sign_epoch(4, name, "mallory", false);
    }
    let codes = seen(&repository, &pin).unwrap_err();
    assert!(codes.contains(&"unlisted-signer"), "{codes:?}");
    for path in ["trust/epoch/0004.toml", "trust/epoch/0004.alice.sig", "trust/epoch/0004.bob.sig"] {
        repository.tree.entries.remove(path);
    }
    repository.epochs.pop();
    assert_eq!(number(seen(&repository, &pin)), 3);
    // What has no place there sends it to look at everything.
    repository.put_file("trust/epoch/x", "x");
    assert_eq!(seen(&repository, &pin).unwrap_err(), ["unexpected-path"]);
    repository.tree.entries.remove("trust/epoch/x");
    let epoch = repository.bytes("trust/epoch/0003.toml");
    repository.tree.entries.remove("trust/epoch/0003.toml");
    assert!(seen(&repository, &pin).unwrap_err().contains(&"rollback"));
    repository.put_file("trust/epoch/0003.toml", [&epoch[..], b"\n"].concat());
    assert!(seen(&repository, &pin).unwrap_err().contains(&"not-canonical"));
    repository.put_file("trust/epoch/0003.toml", epoch);
    assert_eq!(latest(&part(&repository.tree), None, None).unwrap_err()[0].code.as_str(), "unpinned");

    let listed = repository.latest().persons[&person("alice")].clone();
    let found = |repository: &Repository| certificate(&repository.tree, &person("alice"), &listed);
    assert!(found(&repository).is_ok());
    let stranger = repository.identity("mallory").stored.clone();
    let own = repository.bytes("pubkeys/alice.asc");
    repository.put_file("pubkeys/alice.asc", stranger);
    assert_eq!(found(&repository).err().unwrap()[0].code.as_str(), "cert-hash");
    // A draft may pin another one; the one that rules then lies aside.
    repository.put_file(Place::OldPublicKey(listed.cert_sha256.h16()), own);
    assert!(found(&repository).is_ok());
}

#[test]
fn of_a_pinned_epoch_one_cluster_is_enough_and_says_the_same() {
    let mut repository = three();
    let names = ["a", "prod.eu", "prod2", "z"];
    let mut draft = repository.draft();
    for name in names {
        repository.add_cluster(&mut draft, name, &["alice", "bob"], &["bob"]);
    }
    repository.publish(draft, &["alice", "bob"]);
    let (tree, pin) = (part(&repository.tree), repository.pin());
    let whole = latest(&tree, Some(&pin), None).unwrap();
    assert_eq!(whole, *repository.latest());
    for name in names.iter().chain(&["prod"]) {
        let one = latest(&tree, Some(&pin), Some(&cluster(name))).unwrap();
        assert_eq!(one.clusters, [(cluster(name), whole.clusters[&cluster(name)].clone())].into());
        assert_eq!(Epoch { clusters: whole.clusters.clone(), ..one }, whole);
        assert_eq!(latest(&tree, Some(&repository.genesis()), Some(&cluster(name))).unwrap(), whole);
    }
    assert!(latest(&tree, Some(&pin), Some(&cluster("other"))).unwrap().clusters.is_empty());
}
