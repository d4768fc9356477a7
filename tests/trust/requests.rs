//! Requests: who may ask for what, what a grant must fit, approvals of break-glass, and when a request may leave
//! (FORMAT 6 and 7).

use std::collections::BTreeSet;

use kluis::model::{Code, Digest, HexId, Profile, Span};
use kluis::pki;
use kluis::trust::record::{Deny, RevokeKey};
use kluis::trust::{Record, Request};

use crate::repository::{Repository, cluster, errors, has, person, place};

/// A request of erin's that was filed, with its key.
fn asked(repository: &mut Repository) -> (Request, Digest, pki::PrivateKey) {
    let (request, key) = repository.request("erin", Profile::Client, &["dev"]);
    let hash = repository.file_request(&request, "erin");
    (request, hash, key)
}

/// A break-glass request of alice's, an issuer, where two issuers have to stand behind it.
fn break_glass(repository: &mut Repository) -> (Request, Digest, pki::PrivateKey) {
    let (request, key) = repository.request("alice", Profile::BreakGlass, &["system:masters"]);
    let hash = repository.file_request(&request, "alice");
    (request, hash, key)
}

#[track_caller]
fn pending_is(edit: impl FnOnce(&mut Repository, &mut Request), label: &str, expected: &[&str]) {
    let mut repository = Repository::demo();
    let (mut request, _) = repository.request("erin", Profile::Client, &["dev"]);
    edit(&mut repository, &mut request);
    repository.file_request(&request, label);
    repository.refused(expected);
}

/// What a grant of erin's request is, when `edit` has changed the record.
#[track_caller]
fn grant_is(edit: impl FnOnce(&mut Repository, &mut Record), expected: &[&str]) {
    let mut repository = Repository::demo();
    let (request, hash, key) = asked(&mut repository);
    let mut record = repository.blank("alice");
    repository.grant_in(&mut record, &request, hash, &key);
    edit(&mut repository, &mut record);
    repository.put(record);
    repository.refused(expected);
}

fn issue_anew(repository: &mut Repository, record: &mut Record, spki: &[u8], groups: &[&str], life: Span) {
    let request = record.issued[0].request;
    let at = record.issued[0].place.clone();
    let (mut entry, pem) = repository.issue(&at, spki, groups, 1, life);
    entry.request = request;
    repository.put_file(&at, pem);
    record.issued[0] = entry;
}

#[test]
fn a_request_waits_is_granted_once_and_stays_good() {
    let mut repository = Repository::demo();
    let (request, hash, key) = asked(&mut repository);
    repository.fine();
    repository.grant("alice", &request, hash, &key);
    repository.fine();
    let again = repository.grant("bob", &request, hash, &key);
    repository.refused(&["request-used"]);
    repository.drop_record(&again);
    repository.records.remove(&again);
}

#[test]
fn what_nobody_may_ask_is_refused_while_it_waits() {
    pending_is(
        |_, request| request.groups = BTreeSet::from(["kluis:admins".to_owned()]),
        "erin",
        &["group-not-allowed"],
    );
    pending_is(|_, request| request.cluster = HexId([9; 16]), "erin", &["wrong-cluster-id"]);
    pending_is(|_, request| request.repo = HexId([9; 32]), "erin", &["wrong-repo"]);
    pending_is(|_, _| {}, "bob", &["subject-not-signer"]);
    pending_is(
        |repository, request| request.csr = pki::build_csr(&repository.key(), "alice"),
        "erin",
        &["csr-content"],
    );
}

#[test]
fn a_request_that_was_good_once_is_dead_and_not_wrong() {
    let mut repository = Repository::demo();
    let (request, hash, key) = asked(&mut repository);
    let mut epoch = repository.draft();
    epoch.clusters.get_mut(&cluster("prod")).unwrap().groups.remove(&person("erin"));
    repository.publish(epoch, &["alice", "bob"]);
    repository.owed(&["request-dead"]);
    repository.grant("alice", &request, hash, &key);
    repository.refused(&["not-a-requester"]);
}

#[test]
fn a_grant_is_what_was_asked_for_and_no_more() {
    grant_is(
        |repository, record| {
            let key = repository.key().spki();
            issue_anew(repository, record, &key, &["dev"], Span::hours(8));
        },
        &["request-mismatch"],
    );
    let spki = |record: &Record, repository: &Repository| {
        let path = record.issued[0].place.to_string();
        pki::Facts::read(&pki::parse_pem(&repository.bytes(&path), "CERTIFICATE").unwrap()).unwrap().spki
    };
    grant_is(
        |repository, record| {
            let key = spki(record, repository);
            issue_anew(repository, record, &key, &["ops"], Span::hours(8));
        },
        &["request-mismatch"],
    );
    grant_is(
        |repository, record| {
            let key = spki(record, repository);
            issue_anew(repository, record, &key, &["dev"], Span::hours(9));
        },
        &["request-mismatch"],
    );
    grant_is(|_, record| record.issued[0].request = Some(Digest::of(b"another")), &["request-missing"]);
    grant_is(|_, record| record.issued[0].request = None, &["request-missing"]);
    grant_is(|_, record| record.time = record.time.plus(Span::days(8)), &["request-expired"]);
}

#[test]
fn a_request_is_denied_for_good_by_an_issuer_or_by_whoever_asked() {
    for actor in ["bob", "erin"] {
        let mut repository = Repository::demo();
        let (request, hash, key) = asked(&mut repository);
        repository.commit(actor, |record| record.deny.push(Deny { request: hash, reason: "no".to_owned() }));
        repository.fine();
        repository.grant("alice", &request, hash, &key);
        repository.refused(&["request-denied"]);
    }
    let mut repository = Repository::demo();
    let (request, _) = repository.request("alice", Profile::Client, &["kluis:admins"]);
    let hash = repository.file_request(&request, "alice");
    repository.commit("erin", |record| record.deny.push(Deny { request: hash, reason: "no".to_owned() }));
    repository.refused(&["not-allowed"]);
}

#[test]
fn a_denial_that_did_not_see_the_grant_is_a_conflict_until_somebody_decides() {
    let mut repository = Repository::demo();
    let (request, hash, key) = asked(&mut repository);
    let before = repository.heads();
    repository.grant("alice", &request, hash, &key);
    let mut deny = repository.blank("bob");
    deny.parents = before;
    deny.deny.push(Deny { request: hash, reason: "no".to_owned() });
    repository.put(deny);
    repository.refused(&["request-denied"]);
    repository.commit("bob", |record| record.removed.push(place("clusters/prod/certs/person/erin/client.crt")));
    repository.tree.entries.remove("clusters/prod/certs/person/erin/client.crt");
    repository.fine();
}

#[test]
fn what_a_denial_comes_after_stays() {
    let mut repository = Repository::demo();
    let (request, hash, key) = asked(&mut repository);
    repository.grant("alice", &request, hash, &key);
    repository.commit("bob", |record| record.deny.push(Deny { request: hash, reason: "too late".to_owned() }));
    repository.fine();
}

#[test]
fn break_glass_takes_its_issuers_before_it_is_issued() {
    let mut repository = Repository::demo();
    let (request, hash, key) = break_glass(&mut repository);
    let alone = repository.grant("alice", &request, hash, &key);
    repository.refused(&["break-glass-threshold"]);
    repository.drop_record(&alone);
    repository.records.remove(&alone);
    repository.tree.entries.remove("clusters/prod/certs/person/alice/break-glass.crt");
    repository.commit("bob", |record| record.approve.push(hash));
    repository.fine();
    repository.grant("alice", &request, hash, &key);
    repository.fine();
}

#[test]
fn an_approval_that_the_issuing_record_did_not_see_does_not_count() {
    let mut repository = Repository::demo();
    let (request, hash, key) = break_glass(&mut repository);
    let before = repository.heads();
    repository.grant("alice", &request, hash, &key);
    let mut late = repository.blank("bob");
    late.parents = before;
    late.approve.push(hash);
    repository.put(late);
    repository.refused(&["break-glass-threshold"]);
}

#[test]
fn approvals_are_for_break_glass_requests_that_are_there() {
    let mut repository = Repository::demo();
    let (_, hash, _) = asked(&mut repository);
    repository.commit("bob", |record| record.approve.push(hash));
    repository.refused(&["request-mismatch"]);
    let mut repository = Repository::demo();
    repository.commit("bob", |record| record.approve.push(Digest::of(b"nothing")));
    repository.refused(&["request-missing"]);
    let mut repository = Repository::demo();
    let (_, hash, _) = break_glass(&mut repository);
    repository.commit("erin", |record| record.approve.push(hash));
    repository.refused(&["not-allowed"]);
}

#[test]
fn a_request_leaves_once_an_epoch_has_closed_what_used_it() {
    let leave = |repository: &mut Repository, hash: &Digest, who: &str| {
        let paths = [
            format!("clusters/prod/requests/{}.{who}.sig", hash.h16()),
            format!("clusters/prod/requests/{}.toml", hash.h16()),
        ];
        for path in &paths {
            repository.tree.entries.remove(path);
        }
        repository.commit("alice", |record| record.removed.extend(paths.iter().map(|path| place(path))));
    };
    let mut early = Repository::demo();
    let (request, hash, key) = asked(&mut early);
    early.grant("alice", &request, hash, &key);
    leave(&mut early, &hash, "erin");
    assert!(errors(&early.verify()).contains(&"request-missing"));

    let mut repository = Repository::demo();
    let (request, hash, key) = break_glass(&mut repository);
    repository.commit("bob", |record| record.approve.push(hash));
    repository.grant("alice", &request, hash, &key);
    let epoch = repository.draft();
    repository.publish(epoch, &["alice", "bob"]);
    leave(&mut repository, &hash, "alice");
    repository.fine();
}

#[test]
fn a_key_is_certified_once() {
    let mut repository = Repository::demo();
    let (request, hash, key) = asked(&mut repository);
    repository.grant("alice", &request, hash, &key);
    let mut again = request.clone();
    (again.nonce, again.created) = (HexId([7; 16]), repository.tick());
    repository.file_request(&again, "erin");
    repository.refused(&["spki-reuse"]);
}

/// bob revokes erin's signing key.
fn revoke(repository: &mut Repository, parents: Option<Vec<Digest>>) {
    let key = repository.identities["erin"].sign.clone();
    let mut record = repository.blank("bob");
    record.parents = parents.unwrap_or(record.parents);
    let entry = RevokeKey { person: person("erin"), key, reason: "laptop stolen".to_owned() };
    record.revoke_key.push(entry);
    repository.put(record);
}

#[test]
fn a_revoked_key_asks_for_nothing_more() {
    let mut repository = Repository::demo();
    asked(&mut repository);
    revoke(&mut repository, None);
    repository.refused(&["key-revoked"]);
}

#[test]
fn a_revocation_voids_a_grant_that_it_did_not_see_and_keeps_one_that_it_saw() {
    let mut repository = Repository::demo();
    let (request, hash, key) = asked(&mut repository);
    let before = repository.heads();
    repository.grant("alice", &request, hash, &key);
    let seen = repository.heads();
    let mut kept = Repository::demo();
    let (request, hash, key) = asked(&mut kept);
    kept.grant("alice", &request, hash, &key);
    revoke(&mut kept, None);
    kept.fine();
    assert_ne!(before, seen);
    revoke(&mut repository, Some(before));
    let verified = repository.verify();
    let path = seen.iter().map(|head| repository.path(head)).next().unwrap();
    assert!(has(&verified, Code::KeyRevoked, &path), "{:#?}", verified.findings);
}
