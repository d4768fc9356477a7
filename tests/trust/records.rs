//! What an epoch allows a record, one refusal a rule (FORMAT 5 and 6), and what is current where records part ways.

use std::collections::BTreeSet;

use kluis::model::{Digest, Fingerprint, HexId, Keyset, SealedName, Span, State};
use kluis::trust::record::{Confirm, RevokeKey};
use kluis::trust::{FormerReason, Record, TrustRole};

use crate::repository::{Repository, cluster, errors, file, generation, names, person, place};

const LEAF: &str = "clusters/prod/certs/node/cp-1/apiserver.crt";
const SEALED: &str = "clusters/prod/sealed/ca.kubernetes.g1.asc";

/// Puts a record of `actor` that `edit` fills, and expects these errors.
#[track_caller]
fn refused(actor: &str, edit: impl FnOnce(&mut Repository, &mut Record), expected: &[&str]) {
    let mut repository = Repository::demo();
    let mut record = repository.blank(actor);
    edit(&mut repository, &mut record);
    repository.put(record);
    repository.refused(expected);
}

fn digest(repository: &Repository, path: &str) -> Digest {
    Digest::of(&repository.bytes(path))
}

fn confirm(repository: &Repository, record: &mut Record) {
    let name = SealedName::Keyset(Keyset::Kubernetes, generation(1));
    record.confirm.push(Confirm { cluster: cluster("prod"), name, sha256: digest(repository, SEALED) });
}

fn reseal(repository: &mut Repository, record: &mut Record, revision: u32) {
    repository.seal_authority(record, "prod", Keyset::Kubernetes, 1, revision);
}

fn step(repository: &Repository, record: &mut Record, keyset: Keyset, number: u32, state: State) {
    record.phase.push(repository.phase("prod", keyset, number, state));
}

/// A repository whose main CA has a second generation, staged.
fn with_next_generation() -> Repository {
    let mut repository = Repository::demo();
    let mut epoch = repository.draft();
    repository.add_generation(&mut epoch, "prod", Keyset::Kubernetes, 2);
    repository.publish(epoch, &["alice", "bob"]);
    let mut record = repository.blank("alice");
    repository.seal_authority(&mut record, "prod", Keyset::Kubernetes, 2, 1);
    step(&repository, &mut record, Keyset::Kubernetes, 2, State::Staged);
    repository.put(record);
    repository
}

#[test]
fn heartbeats_confirmations_and_sealing_again_are_fine() {
    let mut repository = Repository::demo();
    repository.commit("bob", |_| {});
    let mut record = repository.blank("bob");
    confirm(&repository, &mut record);
    repository.put(record);
    let mut record = repository.blank("bob");
    reseal(&mut repository, &mut record, 2);
    repository.put(record);
    repository.fine();
}

#[test]
fn only_those_whom_the_epoch_names_may() {
    refused("erin", |_, _| {}, &["not-allowed"]);
    refused("erin", |repository, record| reseal(repository, record, 2), &["not-allowed"]);
    refused("erin", |repository, record| confirm(repository, record), &["not-allowed"]);
    let node = |repository: &mut Repository, record: &mut Record| {
        let key = repository.key().spki();
        repository.issue_in(record, &place(LEAF), &key, &[], 1);
    };
    refused("erin", node, &["not-allowed"]);
    let revoke = |repository: &mut Repository, record: &mut Record| {
        let key = repository.identities["bob"].sign.clone();
        record.revoke_key.push(RevokeKey { person: person("bob"), key, reason: "spite".to_owned() });
    };
    refused("erin", revoke, &["not-allowed"]);
}

#[test]
fn a_key_is_revoked_that_somebody_had_and_nothing_beside_it() {
    let entry = |key: Fingerprint| RevokeKey { person: person("bob"), key, reason: "lost".to_owned() };
    refused(
        "alice",
        |repository, record| record.revoke_key.push(entry(repository.identities["erin"].sign.clone())),
        &["bad-revocation"],
    );
    refused(
        "alice",
        |repository, record| {
            record.revoke_key.push(entry(repository.identities["bob"].sign.clone()));
            record.removed.push(place(LEAF));
            repository.tree.entries.remove(LEAF);
        },
        &["mixed-record"],
    );
}

#[test]
fn sealed_files_go_to_keyholders_grow_by_one_revision_and_keep_their_key() {
    refused("alice", |repository, record| reseal(repository, record, 3), &["bad-revision"]);
    refused("alice", |repository, record| reseal(repository, record, 1), &["bad-revision"]);
    let to_erin = |repository: &mut Repository, record: &mut Record| {
        let id = repository.authority_id("prod", Keyset::Kubernetes, 1);
        let name = SealedName::Keyset(Keyset::Kubernetes, generation(1));
        let (entry, bytes) = repository.seal_to("prod", name, 2, &[("ca.kubernetes", id)], &["alice", "erin"]);
        repository.put_file(SEALED, bytes);
        record.sealed.push(entry);
    };
    refused("alice", to_erin, &["recipient-not-allowed"]);
    let other_key = |repository: &mut Repository, record: &mut Record| {
        let id = repository.key().spki_id();
        let name = SealedName::Keyset(Keyset::Kubernetes, generation(1));
        repository.seal_in(record, "prod", name, 2, &[("ca.kubernetes", id)]);
    };
    refused("alice", other_key, &["spki-mismatch"]);
    let unlisted = |repository: &mut Repository, record: &mut Record| {
        let id = repository.key().spki_id();
        let name = SealedName::Keyset(Keyset::Kubernetes, generation(2));
        repository.seal_in(record, "prod", name, 1, &[("ca.kubernetes", id)]);
    };
    refused("alice", unlisted, &["unknown-generation"]);
}

#[test]
fn what_is_in_use_is_not_removed() {
    for path in [SEALED, "clusters/prod/sealed/encryption.g1.asc"] {
        refused(
            "alice",
            |repository, record| {
                record.removed.push(place(path));
                repository.tree.entries.remove(path);
            },
            &["still-listed"],
        );
    }
    refused(
        "alice",
        |repository, record| {
            record.removed.push(place("clusters/prod/cluster.toml"));
            repository.tree.entries.remove("clusters/prod/cluster.toml");
        },
        &["bad-path"],
    );
}

#[test]
fn certificates_keep_to_their_profile_their_ca_and_their_bounds() {
    let issue = |path: &'static str, groups: &'static [&'static str], life: Span| {
        move |repository: &mut Repository, record: &mut Record| {
            let key = repository.key().spki();
            let (entry, pem) = repository.issue(&place(path), &key, groups, 1, life);
            repository.put_file(path, pem);
            record.issued.push(entry);
            record.reason = "drill".to_owned();
        }
    };
    let own = "clusters/prod/certs/person/alice/client.crt";
    refused("alice", issue(own, &["dev"], Span::hours(1)), &["group-not-allowed"]);
    refused("alice", issue(own, &["kluis:admins"], Span::days(91)), &["lifetime"]);
    refused("alice", issue(own, &["system:masters"], Span::hours(1)), &["group-not-allowed"]);
    refused("bob", issue(own, &["kluis:admins"], Span::hours(1)), &["request-missing"]);
    refused(
        "alice",
        issue("clusters/prod/certs/person/alice/break-glass.crt", &["system:masters"], Span::hours(1)),
        &["break-glass-threshold"],
    );
    refused("alice", issue("clusters/prod/certs/node/cp-1/apiserver.crt", &["dev"], Span::days(1)), &["bad-subject"]);
    refused(
        "alice",
        |repository, record| {
            issue(own, &["kluis:admins"], Span::hours(1))(repository, record);
            record.time = record.time.minus(Span::minutes(30));
        },
        &["lifetime"],
    );
    refused(
        "alice",
        |repository, record| {
            issue(own, &["kluis:admins"], Span::hours(1))(repository, record);
            record.issued[0].issuer = Digest::of(b"another CA");
        },
        &["unknown-issuer"],
    );
}

#[test]
fn what_lies_there_is_what_the_record_says() {
    let mut repository = Repository::demo();
    let key = repository.key().spki();
    let (entry, pem) = repository.issue(&place(LEAF), &key, &[], 1, Span::days(10));
    repository.put_file(LEAF, pem);
    repository.refused(&["leaf-hash"]);
    let mut record = repository.blank("alice");
    record.issued.push(entry);
    record.issued[0].serial = "0a".to_owned();
    repository.put(record);
    let verified = repository.verify();
    assert!(errors(&verified).contains(&"leaf-facts"), "{:#?}", verified.findings);
    assert!(errors(&verified).contains(&"spki-mismatch"), "its key is not the one in the node's bundle");
}

#[test]
fn an_older_version_put_back_is_superseded() {
    let mut repository = Repository::demo();
    let old = repository.bytes(SEALED);
    let mut record = repository.blank("alice");
    reseal(&mut repository, &mut record, 2);
    repository.put(record);
    repository.put_file(SEALED, old);
    repository.refused(&["superseded"]);
    repository.put_file(SEALED, b"-----BEGIN PGP MESSAGE-----\n".to_vec());
    repository.refused(&["ciphertext-hash"]);
    repository.tree.entries.remove(SEALED);
    repository.refused(&["missing-file"]);
}

#[test]
fn two_versions_made_apart_are_a_conflict_until_one_record_decides() {
    let mut repository = Repository::demo();
    let before = repository.heads();
    let mut one = repository.blank("alice");
    reseal(&mut repository, &mut one, 2);
    repository.put(one);
    let mut other = repository.blank("bob");
    other.parents = before;
    reseal(&mut repository, &mut other, 2);
    repository.put(other);
    repository.refused(&["conflicting-generations"]);
    let mut decided = repository.blank("bob");
    reseal(&mut repository, &mut decided, 3);
    repository.put(decided);
    repository.fine();
}

#[test]
fn phases_go_step_by_step_and_one_generation_issues() {
    let next = |states: &'static [(u32, State)]| {
        move |repository: &mut Repository, record: &mut Record| {
            for (number, state) in states {
                step(repository, record, Keyset::Kubernetes, *number, *state);
            }
        }
    };
    refused("alice", next(&[(1, State::Issuing)]), &["bad-phase"]);
    refused("alice", next(&[(1, State::Retiring)]), &["bad-phase"]);
    refused("alice", next(&[(1, State::Distrusted)]), &["bad-phase"]);
    refused("alice", next(&[(2, State::Staged)]), &["unknown-generation"]);

    let mut repository = with_next_generation();
    repository.fine();
    for states in [
        vec![(2, State::Trusted)],
        vec![(2, State::Issuing), (1, State::Retiring)],
        vec![(1, State::Issuing), (2, State::Trusted)],
    ] {
        let mut record = repository.blank("alice");
        for (number, state) in states {
            step(&repository, &mut record, Keyset::Kubernetes, number, state);
        }
        repository.put(record);
        repository.fine();
    }
    let mut record = repository.blank("alice");
    step(&repository, &mut record, Keyset::Kubernetes, 2, State::Issuing);
    repository.put(record);
    repository.refused(&["bad-phase"]);
}

#[test]
fn the_issuing_generation_signs_and_no_other() {
    let mut repository = with_next_generation();
    let mut record = repository.blank("alice");
    let key = repository.key().spki();
    let own = place("clusters/prod/certs/person/alice/client.crt");
    repository.issue_in(&mut record, &own, &key, &["kluis:admins"], 2);
    repository.put(record);
    repository.refused(&["bad-phase"]);
}

#[test]
fn nothing_happens_in_a_retired_cluster_and_nothing_is_owed_for_it() {
    let mut repository = Repository::demo();
    let mut epoch = repository.draft();
    epoch.clusters.get_mut(&cluster("prod")).unwrap().retired = true;
    repository.leave(&mut epoch, "erin", FormerReason::Left);
    repository.publish(epoch, &["alice", "bob"]);
    repository.fine();
    let mut record = repository.blank("alice");
    reseal(&mut repository, &mut record, 2);
    repository.put(record);
    repository.refused(&["retired"]);
}

#[test]
fn records_know_their_repository_their_epoch_and_their_parents() {
    refused("alice", |_, record| record.repo = HexId([1; 32]), &["wrong-repo"]);
    refused("alice", |_, record| record.epoch_sha256 = Digest::of(b"x"), &["unknown-epoch"]);
    refused("alice", |_, record| record.epoch = 9, &["unknown-epoch"]);
    refused("alice", |_, record| record.parents.push(Digest::of(b"gone")), &["dangling-parent"]);
    let mut repository = Repository::demo();
    let first = repository.heads();
    repository.commit("alice", |_| {});
    let mut record = repository.blank("bob");
    record.parents.extend(first);
    repository.put(record);
    repository.refused(&["bad-parents"]);
}

#[test]
fn adopting_names_an_ancestor_and_says_why() {
    let mut repository = Repository::demo();
    let record = repository.commit("alice", |_| {});
    repository.commit("bob", |record| record.adopt.push(Digest::of(b"nothing")));
    let verified = repository.verify();
    assert_eq!(errors(&verified), ["bad-adopt", "reason-missing"], "{record:?}");
}

#[test]
fn epochs_name_people_who_are_there_and_give_recovery_persons_nothing() {
    let mut repository = Repository::demo();
    let mut epoch = repository.draft();
    epoch.clusters.get_mut(&cluster("prod")).unwrap().keyholders = names(&["alice", "zoe"]);
    repository.publish(epoch, &["alice", "bob"]);
    repository.refused(&["unknown-person"]);
    let mut repository = Repository::demo();
    let mut epoch = repository.draft();
    epoch.persons.get_mut(&person("bob")).unwrap().role = TrustRole::Recovery;
    repository.publish(epoch, &["alice", "bob"]);
    repository.refused(&["recovery-power"]);
    let mut repository = Repository::demo();
    let mut epoch = repository.draft();
    let groups = &mut epoch.clusters.get_mut(&cluster("prod")).unwrap().groups;
    groups.insert(person("erin"), BTreeSet::from(["system:masters".to_owned()]));
    repository.publish(epoch, &["alice", "bob"]);
    repository.refused(&["bad-group"]);
}

#[test]
fn a_leaver_is_named_as_such() {
    let mut repository = Repository::demo();
    let mut epoch = repository.draft();
    repository.leave(&mut epoch, "erin", FormerReason::Left);
    epoch.former.clear();
    repository.publish(epoch, &["alice", "bob"]);
    repository.refused(&["former-missing"]);
}

#[test]
fn files_that_nobody_vouches_for_are_named_by_what_they_are() {
    for (path, code) in [
        ("clusters/prod/certs/node/cp-9/apiserver.crt", "unlogged-cert"),
        ("clusters/prod/sealed/node.cp-9.asc", "unexpected-path"),
        ("clusters/other/cluster.toml", "unexpected-path"),
    ] {
        let mut repository = Repository::demo();
        let bytes = repository.bytes(if code == "unlogged-cert" { LEAF } else { SEALED });
        repository.tree.entries.insert(path.to_owned(), file(bytes));
        let verified = repository.verify();
        assert!(errors(&verified).contains(&code), "{path}: {:#?}", verified.findings);
    }
}
