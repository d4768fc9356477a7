//! What is owed though the tree is valid (FORMAT 10): each debt arises, is 5 and not 3, and ends as it should.

use std::collections::BTreeSet;

use kluis::model::{Keyset, Level, Span, Time};
use kluis::trust::record::RevokeKey;
use kluis::trust::{self, FormerReason, Verified, Waived};

use crate::repository::{Repository, cluster, codes, names, person, place};

fn at(repository: &Repository, now: Time, strict: bool) -> Verified {
    trust::verify(repository.tree.clone(), Some(&repository.pin()), now, strict)
}

#[track_caller]
fn owed_at(repository: &Repository, now: Time, strict: bool, expected: &[&str]) {
    let verified = at(repository, now, strict);
    let found = codes(&verified, Level::Attention);
    assert_eq!((found.as_slice(), verified.exit()), (expected, if expected.is_empty() { 0 } else { 5 }));
}

/// bob leaves; alice stays alone.
fn bob_leaves(repository: &mut Repository) {
    let mut epoch = repository.draft();
    epoch.threshold.trust = 1;
    epoch.threshold.break_glass = 1;
    repository.leave(&mut epoch, "bob", FormerReason::Left);
    repository.publish(epoch, &["alice", "bob"]);
    let number = epoch_number(repository);
    repository.sign_epoch(number, "bob", "bob", false);
}

fn epoch_number(repository: &Repository) -> u32 {
    repository.latest().number
}

fn reseal_everything(repository: &mut Repository) {
    let mut record = repository.blank("alice");
    let verified = repository.verify();
    for (place, vouched) in &verified.current.paths {
        let trust::current::Vouch::Sealed(old) = &vouched.vouch else { continue };
        let public: Vec<(&str, _)> = old.public.iter().map(|key| (key.name.as_str(), key.id)).collect();
        let (entry, bytes) = repository.seal("prod", old.name.clone(), old.revision + 1, &public);
        repository.put_file(place, bytes);
        record.sealed.push(entry);
    }
    repository.put(record);
}

#[test]
fn silence_and_an_expired_epoch_are_owed_and_end_with_news() {
    let mut repository = Repository::demo();
    let later = repository.clock.plus(Span::days(91));
    owed_at(&repository, later, false, &["stale"]);
    let expired = repository.latest().expires.plus(Span::minutes(1));
    let found = codes(&at(&repository, expired, false), Level::Attention).into_iter().collect::<BTreeSet<_>>();
    assert!(found.is_superset(&BTreeSet::from(["cert-expiring", "epoch-expired", "stale"])), "{found:?}");
    repository.clock = later;
    repository.commit("alice", |_| {});
    owed_at(&repository, repository.now(), false, &[]);
}

#[test]
fn a_statement_from_the_future_is_seen_and_is_no_news() {
    let mut repository = Repository::demo();
    let mut record = repository.blank("alice");
    record.time = record.time.plus(Span::days(200));
    repository.put(record);
    owed_at(&repository, repository.now(), false, &["future-time"]);
    owed_at(&repository, repository.now().plus(Span::days(91)), false, &["future-time", "stale"]);
}

#[test]
fn certificates_of_nodes_and_authorities_are_owed_thirty_days_before_their_end() {
    let mut repository = Repository::demo();
    repository.clock = repository.clock.plus(Span::days(336));
    let mut epoch = repository.draft();
    epoch.expires = repository.clock.plus(Span::days(365));
    repository.publish(epoch, &["alice", "bob"]);
    owed_at(&repository, repository.now(), false, &["cert-expiring"]);
    assert_eq!(at(&repository, repository.now(), false).findings.len(), 1, "the leaf alone");
}

#[test]
fn a_new_keyholder_is_owed_their_secrets_and_a_former_one_is_shut_out() {
    let mut repository = Repository::demo();
    let mut epoch = repository.draft();
    epoch.clusters.get_mut(&cluster("prod")).unwrap().keyholders = names(&["alice", "bob", "erin"]);
    repository.publish(epoch, &["alice", "bob"]);
    repository.owed(&["missing-recipient"]);
    reseal_everything(&mut repository);
    repository.fine();
    let mut epoch = repository.draft();
    epoch.clusters.get_mut(&cluster("prod")).unwrap().keyholders = names(&["alice", "bob"]);
    repository.publish(epoch, &["alice", "bob"]);
    repository.owed(&["exposure-open", "extra-recipient"]);
}

#[test]
fn sealing_again_does_not_end_an_exposure_and_a_waiver_does_for_its_time() {
    let mut repository = Repository::demo();
    bob_leaves(&mut repository);
    reseal_everything(&mut repository);
    repository.owed(&["exposure-open"]);
    let mut epoch = repository.draft();
    let until = repository.clock.plus(Span::days(10));
    let (what, reason) = ("exposure:bob".to_owned(), "decommissioned next week".to_owned());
    epoch.waived.push(Waived { cluster: cluster("prod"), what, until, reason });
    repository.publish(epoch, &["alice"]);
    owed_at(&repository, repository.now(), false, &[]);
    owed_at(&repository, until.plus(Span::minutes(1)), false, &["exposure-open"]);
}

#[test]
fn a_lost_encryption_key_opens_its_exposure() {
    let mut repository = Repository::demo();
    let key = repository.identities["bob"].encrypt.clone();
    let entry = RevokeKey { person: person("bob"), key, reason: "lost".to_owned() };
    repository.commit("alice", |record| record.revoke_key.push(entry));
    repository.owed(&["exposure-open"]);
}

#[test]
fn a_live_certificate_with_a_group_that_was_taken_back_is_owed_until_it_ends() {
    let mut repository = Repository::demo();
    let mut record = repository.blank("alice");
    let own = place("clusters/prod/certs/person/alice/client.crt");
    let key = repository.key().spki();
    repository.issue_in(&mut record, &own, &key, &["kluis:admins"], 1);
    repository.put(record);
    repository.fine();
    let mut epoch = repository.draft();
    let groups = &mut epoch.clusters.get_mut(&cluster("prod")).unwrap().groups;
    groups.insert(person("alice"), BTreeSet::from(["dev".to_owned()]));
    repository.publish(epoch, &["alice", "bob"]);
    repository.owed(&["excess-cert"]);
    owed_at(&repository, repository.now().plus(Span::hours(9)), false, &[]);
}

#[test]
fn what_no_other_keyholder_has_opened_is_owed_when_strict() {
    let repository = Repository::demo();
    let later = repository.clock.plus(Span::days(31));
    owed_at(&repository, later, false, &[]);
    let verified = at(&repository, later, true);
    assert_eq!(codes(&verified, Level::Attention), ["unconfirmed"]);
    assert!(verified.current.states.contains_key(&(cluster("prod"), Keyset::Kubernetes)));
}
