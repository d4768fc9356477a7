//! When a record counts: every scenario of the closing model, on real epochs and signed records. The model's
//! powers `a` and `b` are the clusters of that name: a record uses one by removing a node's certificate there,
//! which takes an issuer.

use std::collections::{BTreeMap, BTreeSet};

use kluis::model::{Digest, HexId, Level};
use kluis::trust::record::RevokeKey;
use kluis::trust::{Cluster, Epoch, FormerReason, Record, TrustRole};

use crate::repository::{Repository, cluster, person, place};

const ABC: &[(&str, &str)] = &[("alice", "ab"), ("bob", "ab"), ("carol", "ab")];
const AB: &[(&str, &str)] = &[("alice", "ab"), ("bob", "ab")];

/// The model, on top of a repository: records by name.
struct Model {
    repository: Repository,
    records: BTreeMap<&'static str, Digest>,
}

/// What a record does beside using the power `a`.
#[derive(Default)]
struct Extra<'a> {
    power: Option<&'a str>,
    epoch: Option<u32>,
    parents: Option<&'a [&'a str]>,
    adopt: &'a [&'a str],
    revoke: Option<&'a str>,
}

fn with_powers(repository: &mut Repository, epoch: &mut Epoch, powers: &[(&str, &str)]) {
    let listed: BTreeSet<&str> = powers.iter().map(|(name, _)| *name).collect();
    let gone: Vec<String> =
        epoch.persons.keys().map(ToString::to_string).filter(|name| !listed.contains(name.as_str())).collect();
    for name in gone {
        repository.leave(epoch, &name, FormerReason::Left);
    }
    for name in listed {
        epoch.persons.insert(person(name), repository.identity(name).as_person(TrustRole::Root));
    }
    for power in ["a", "b"] {
        let issuers = powers.iter().filter(|(_, has)| has.contains(power)).map(|(name, _)| person(name)).collect();
        let empty = || Cluster {
            id: HexId([power.as_bytes()[0]; 16]),
            api: format!("https://{power}.example.org:6443"),
            keyholders: BTreeSet::new(),
            issuers: BTreeSet::new(),
            retired: false,
            groups: BTreeMap::new(),
            keysets: BTreeMap::new(),
        };
        epoch.clusters.entry(cluster(power)).or_insert_with(empty).issuers = issuers;
    }
}

impl Model {
    fn new(powers: &[(&str, &str)]) -> Self {
        let people: Vec<&str> = powers.iter().map(|(name, _)| *name).collect();
        let mut repository = Repository::of(&people);
        let mut epoch = repository.latest().clone();
        with_powers(&mut repository, &mut epoch, powers);
        repository.publish(epoch, &people);
        Self { repository, records: BTreeMap::new() }
    }

    fn heads(&self) -> Vec<Digest> {
        self.repository.heads()
    }

    fn epoch(&mut self, powers: &[(&str, &str)]) {
        let heads = self.heads();
        self.epoch_closing(&heads, powers);
    }

    fn epoch_closing(&mut self, heads: &[Digest], powers: &[(&str, &str)]) {
        let mut epoch = self.repository.draft();
        epoch.closes = Some(self.repository.closes(heads));
        with_powers(&mut self.repository, &mut epoch, powers);
        let people: Vec<&str> = powers.iter().map(|(name, _)| *name).collect();
        self.repository.publish(epoch, &people);
    }

    fn record(&mut self, name: &'static str, actor: &str) {
        self.record_with(name, actor, &Extra::default());
    }

    fn record_with(&mut self, name: &'static str, actor: &str, extra: &Extra<'_>) {
        let mut record: Record = self.repository.blank(actor);
        record.command = name.to_owned();
        if let Some(number) = extra.epoch {
            record.epoch = number;
            record.epoch_sha256 =
                self.repository.epochs.get(number as usize - 1).map_or(Digest::of(b"none"), |(_, sha256)| *sha256);
        }
        if let Some(parents) = extra.parents {
            record.parents = parents.iter().map(|parent| self.records[parent]).collect();
        }
        if let Some(target) = extra.revoke {
            let key = self.repository.identity(target).sign.clone();
            record.revoke_key = vec![RevokeKey { person: person(target), key, reason: "lost".to_owned() }];
        } else {
            let power = extra.power.unwrap_or("a");
            record.removed = vec![place(&format!("clusters/{power}/certs/node/gone/apiserver.crt"))];
        }
        if !extra.adopt.is_empty() {
            record.reason = "vouched for".to_owned();
            record.adopt = extra.adopt.iter().map(|target| self.records[target]).collect();
        }
        self.records.insert(name, self.repository.put(record));
    }

    fn drop(&mut self, name: &str) {
        let digest = self.records.remove(name).unwrap();
        self.repository.drop_record(&digest);
    }

    #[track_caller]
    fn check(&self, expected: &[(&str, &str)]) {
        let verified = self.repository.verify();
        let errors = verified.findings.iter().filter(|finding| finding.level == Level::Error);
        let named = errors.map(|finding| {
            let path = finding.path.clone().unwrap_or_default();
            let of = self.records.iter().find(|(_, digest)| path.contains(&digest.h16()));
            (finding.code.as_str(), of.map_or("", |(name, _)| *name))
        });
        let found: BTreeSet<_> = named.collect();
        assert_eq!(found, expected.iter().copied().collect(), "{:#?}", verified.findings);
        assert_eq!(verified.exit(), if expected.is_empty() { 0 } else { 3 });
    }
}

fn parents<'a>(parents: &'a [&'a str]) -> Extra<'a> {
    Extra { parents: Some(parents), ..Extra::default() }
}

fn revoke(target: &str) -> Extra<'_> {
    Extra { revoke: Some(target), ..Extra::default() }
}

fn old<'a>(epoch: u32, seen: Option<&'a [&'a str]>) -> Extra<'a> {
    Extra { epoch: Some(epoch), parents: seen, ..Extra::default() }
}

fn adopt<'a>(targets: &'a [&'a str]) -> Extra<'a> {
    Extra { adopt: targets, ..Extra::default() }
}

// -- a leaver and old epochs

#[test]
fn normal_work_counts_after_carol_left() {
    let mut r = Model::new(ABC);
    r.record("r1", "alice");
    r.record("r2", "carol");
    r.epoch(AB);
    r.record("r3", "bob");
    r.check(&[]);
}

#[test]
fn a_leavers_forgery_of_an_old_epoch_is_void_and_neither_building_nor_closing_launders_it() {
    let mut r = Model::new(ABC);
    r.record("r1", "alice");
    r.record("r2", "carol");
    r.epoch(AB);
    r.record("r3", "bob");
    r.record_with("f", "carol", &old(1, Some(&["r2"])));
    r.check(&[("unclosed-old-epoch", "f")]);
    r.record("l", "bob");
    r.check(&[("unclosed-old-epoch", "f")]);
    r.epoch(AB);
    r.check(&[("unclosed-old-epoch", "f")]);
    // carol comes back: what she then may, she may
    r.epoch(ABC);
    r.check(&[]);
}

// -- pull requests that were open while an epoch passed

#[test]
fn work_that_missed_the_closing_stays_good_while_it_is_allowed_and_for_ever_once_closed() {
    let mut r = Model::new(ABC);
    r.record("r1", "alice");
    let seen = r.heads();
    r.record_with("p", "alice", &parents(&["r1"]));
    r.epoch_closing(&seen, AB);
    r.check(&[]);
    r.epoch(&[("alice", "a"), ("bob", "ab")]);
    r.check(&[]);
}

#[test]
fn work_that_missed_the_closing_is_void_when_its_author_lost_the_power_and_only_others_adopt_it() {
    let mut r = Model::new(ABC);
    r.record("r1", "alice");
    let seen = r.heads();
    r.record_with("p", "alice", &Extra { power: Some("b"), ..parents(&["r1"]) });
    r.epoch_closing(&seen, &[("alice", "a"), ("bob", "ab")]);
    r.check(&[("unclosed-old-epoch", "p")]);
    r.record_with("a", "alice", &adopt(&["p"]));
    // the model knows one reason; here the signer is listed and may not do it
    r.check(&[("unclosed-old-epoch", "p"), ("not-allowed", "a")]);
    r.drop("a");
    r.record_with("a", "bob", &adopt(&["p"]));
    r.check(&[]);
}

#[test]
fn work_of_a_leaver_that_missed_the_closing_is_void_until_adopted_and_adoption_survives_epochs() {
    let mut r = Model::new(ABC);
    r.record("r1", "alice");
    let seen = r.heads();
    r.record_with("p", "carol", &parents(&["r1"]));
    r.epoch_closing(&seen, AB);
    r.check(&[("unclosed-old-epoch", "p")]);
    r.record_with("a", "bob", &adopt(&["p"]));
    r.check(&[]);
    r.epoch(AB);
    r.check(&[]);
}

// -- deletions

#[test]
fn a_record_gone_from_the_middle_leaves_a_dangling_parent() {
    let mut r = Model::new(ABC);
    r.record("r1", "alice");
    r.record("r2", "bob");
    r.record("r3", "carol");
    r.drop("r2");
    r.check(&[("dangling-parent", "r3")]);
}

#[test]
fn a_closed_head_that_is_gone_is_missed() {
    let mut r = Model::new(ABC);
    r.record("r1", "alice");
    r.epoch(AB);
    r.drop("r1");
    r.check(&[("closed-missing", "")]);
}

// -- self-help by a leaver

#[test]
fn a_leaver_cannot_adopt_her_own_forgery() {
    let mut r = Model::new(ABC);
    r.record("r1", "alice");
    r.epoch(AB);
    r.record_with("f", "carol", &old(1, Some(&["r1"])));
    r.record_with("g", "carol", &Extra { adopt: &["f"], ..old(1, Some(&["f"])) });
    r.check(&[("unclosed-old-epoch", "f"), ("unclosed-old-epoch", "g")]);
}

#[test]
fn a_signer_whom_nobody_listed_is_refused() {
    let mut r = Model::new(AB);
    r.record("r1", "alice");
    r.record("x", "mallory");
    r.check(&[("unlisted-signer", "x")]);
}

#[test]
fn an_epoch_that_does_not_exist_is_refused() {
    let mut r = Model::new(AB);
    r.record_with("r1", "alice", &old(9, None));
    r.check(&[("unknown-epoch", "r1")]);
    let mut r = Model::new(AB);
    let mut record = r.repository.blank("alice");
    record.epoch = 0;
    r.records.insert("r0", r.repository.put(record));
    r.check(&[("unknown-epoch", "r0")]);
}

// -- revocation

#[test]
fn a_revocation_keeps_the_past_and_voids_what_it_did_not_see() {
    let mut r = Model::new(ABC);
    r.record("r1", "alice");
    r.record("c1", "carol");
    r.record_with("x", "bob", &revoke("carol"));
    r.check(&[]);
    r.record_with("c2", "carol", &parents(&["c1"]));
    r.check(&[("revoked-signer", "c2")]);
}

#[test]
fn a_suspension_holds_for_its_epoch_and_the_next_may_list_the_key_again() {
    let mut r = Model::new(ABC);
    r.record("b1", "bob");
    r.record_with("x", "carol", &revoke("bob"));
    r.record("b2", "bob");
    r.check(&[("revoked-signer", "b2")]);
    r.epoch(AB);
    r.check(&[("revoked-signer", "b2")]);
    r.record("b3", "bob");
    r.check(&[("revoked-signer", "b2")]);
    r.record_with("b4", "bob", &old(1, None));
    r.check(&[("revoked-signer", "b2"), ("revoked-signer", "b4")]);
}

#[test]
fn concurrent_revocations_of_one_another_suspend_both() {
    let mut r = Model::new(AB);
    r.record("r", "alice");
    r.record_with("xa", "alice", &Extra { parents: Some(&["r"]), ..revoke("bob") });
    r.record_with("xb", "bob", &Extra { parents: Some(&["r"]), ..revoke("alice") });
    r.check(&[]);
    r.record("n", "alice");
    r.check(&[("revoked-signer", "n")]);
}

#[test]
fn revenge_after_ones_own_revocation_is_void() {
    let mut r = Model::new(ABC);
    r.record("r", "alice");
    r.record_with("x", "alice", &revoke("carol"));
    r.record_with("y", "carol", &revoke("alice"));
    r.check(&[("revoked-signer", "y")]);
    r.drop("y");
    r.record("z", "alice");
    r.check(&[]);
}

#[test]
fn a_revocation_leaves_an_older_record_that_it_saw_and_voids_an_older_claim_that_it_did_not() {
    let mut r = Model::new(ABC);
    r.record("o", "carol");
    r.epoch(ABC);
    r.record_with("x", "bob", &revoke("carol"));
    r.check(&[]);
    r.record_with("c", "carol", &old(1, Some(&["o"])));
    r.check(&[("revoked-signer", "c")]);
}

#[test]
fn a_revocation_that_claims_to_have_seen_nothing_cannot_reach_what_its_epoch_closed() {
    let mut r = Model::new(ABC);
    r.record("o", "carol");
    r.epoch(ABC);
    r.record_with("x", "bob", &Extra { parents: Some(&[]), ..revoke("carol") });
    // the model has no rule about parents; here the revocation itself is refused for having seen too little
    r.check(&[("bad-parents", "x")]);
}

#[test]
fn listed_again_by_a_later_epoch_carol_can_revoke() {
    let mut r = Model::new(ABC);
    r.record("o", "carol");
    r.record_with("x", "bob", &revoke("carol"));
    r.epoch(ABC);
    r.record_with("y", "carol", &revoke("bob"));
    r.check(&[]);
    r.record("b", "bob");
    r.check(&[("revoked-signer", "b")]);
}

#[test]
fn a_void_revocation_disarms_nobody_even_when_adopted() {
    let mut r = Model::new(ABC);
    r.record("o", "bob");
    r.record_with("x", "alice", &revoke("bob"));
    r.record_with("y", "bob", &revoke("carol"));
    r.record_with("z", "carol", &revoke("alice"));
    r.record_with("a", "carol", &adopt(&["y"]));
    r.check(&[]);
    r.record("n", "alice");
    r.check(&[("revoked-signer", "n")]);
}
