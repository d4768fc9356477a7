//! `kluis audit`: the log for people and programs, and certificates that are denied.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod audited;
mod repository;

use std::collections::BTreeSet;

use audited::{audit, audit_in, event, join, last_issued, lines, story, with_void};
use kluis::model::{Digest, Place, Profile, Span};
use kluis::trust::record::RevokeKey;
use kluis::trust::{Former, FormerReason, Thresholds, TrustRole};
use repository::{Repository, cluster, person, place};
use serde_json::{Value, json};

#[test]
fn the_log_says_who_did_what_why_and_who_stood_behind_it() {
    let (made, ids) = story();
    let answered = audit(&made, &[]).ends(0);
    for text in [
        "alice  test\n",
        "issued   prod: apiserver of cp-1\n",
        "sealed   prod: ca.kubernetes.g1, encryption.g1, node.cp-1, sa.g1 to alice, bob\n",
        "config   prod: cluster.toml\n",
        "phase    prod: kubernetes g1 issuing, service-account g1 issuing, encryption g1 issuing\n",
        "issued   prod: erin/client (dev) until ",
        "by       alice; asked by erin\n",
        "issued   prod: BREAK-GLASS alice/break-glass (system:masters) until ",
        "by       alice, bob; asked by alice\n",
        "asked    API down, INC-4711\n",
        "why      an outage\n",
        "approve  prod: alice/break-glass, request ",
        "deny     prod: erin/client, request ",
        ": not this week\n",
        "confirm  prod: sealed/ca.kubernetes.g1.asc\n",
    ] {
        assert!(answered.out.contains(text), "no {text:?} in\n{}", answered.out);
    }
    assert!(answered.out.lines().all(|line| line.chars().count() <= 100), "{}", answered.out);
    let times: Vec<&str> =
        answered.out.lines().filter(|line| line.starts_with("2026")).map(|line| &line[..20]).collect();
    assert!(times.len() == 6 && times.is_sorted(), "the newest last: {times:?}");

    let json = audit(&made, &["-o", "json"]).ends(0).json();
    let records = json["data"]["records"].as_array().unwrap();
    let issued: Vec<&Value> = records.iter().flat_map(|record| record["issued"].as_array().unwrap()).collect();
    let of = |id: &str| *issued.iter().find(|entry| entry["credential_id"] == id).unwrap();
    assert_eq!(of(&ids.node)["kind"], "node");
    let glass = of(&ids.glass);
    assert_eq!((&glass["approved_by"], &glass["break_glass"]), (&json!(["alice", "bob"]), &json!(true)));
    assert_eq!((&glass["request"]["person"], glass["lifetime"].as_i64()), (&json!("alice"), Some(8 * 3600 + 300)));
    assert_eq!(of(&ids.erin)["serial"].as_str().unwrap().len(), 32);
}

#[test]
fn the_log_is_narrowed_by_person_cluster_time_kind_and_break_glass() {
    let (made, _) = story();
    let count = |words: &[&str]| {
        let mut words = words.to_vec();
        words.extend(["-o", "json"]);
        audit(&made, &words).ends(0).json()["data"]["records"].as_array().unwrap().len()
    };
    assert_eq!(count(&[]), 6);
    assert_eq!(count(&["--person", "erin"]), 2, "what she asked for, and was denied");
    assert_eq!(count(&["--person", "bob"]), 3);
    assert_eq!(count(&["-c", "prod"]), 6);
    assert_eq!(count(&["--kind", "issued"]), 3);
    assert_eq!(count(&["--kind", "issued", "--kind", "deny"]), 4);
    assert_eq!(count(&["--kind", "revoke-key"]), 0);
    assert_eq!(count(&["--break-glass"]), 2);
    let third = made.records.values().map(|record| record.time).collect::<BTreeSet<_>>().into_iter().nth(2).unwrap();
    assert_eq!(count(&["--since", &third.to_string()]), 4);
    assert_eq!(count(&["--until", &third.to_string()]), 3);
    assert_eq!(count(&["--since", "1d", "--until", "1m"]), 6);
    audit(&made, &["-c", "nowhere"]).ends(2).says("no epoch ever listed a cluster nowhere");
    audit(&made, &["--since", "yesterday"]).ends(2).says("30d");
    audit(&made, &["--kind", "party"]).ends(2).says("revoke-key");
    audit(&made, &["--deny-list", "--person", "erin"]).ends(2);
    audit(&made, &["--ids-only"]).ends(2);
    audit(&made, &["--person", "nobody"]).ends(0).says("no records");
}

#[test]
fn a_void_record_is_shown_with_its_reason_and_does_not_keep_an_auditor_out() {
    let (mut made, _) = with_void();
    let answered = audit(&made, &[]).ends(3).says("VOID     unclosed-old-epoch: ").says("error[unclosed-old-epoch]");
    assert!(answered.out.contains("issued   prod: bob/client (kluis:admins)"), "{}", answered.out);
    let void = made.heads().into_iter().find(|head| made.records[head].actor == person("bob")).unwrap();
    let json = audit(&made, &["--person", "bob", "--kind", "issued", "-o", "json"]).ends(3).json();
    let record = &json["data"]["records"][0];
    assert_eq!((&record["standing"]["state"], &record["record"]), (&json!("void"), &json!(void.to_string())));

    made.commit("alice", |record| {
        record.adopt.push(void);
        record.reason = "he told us".to_owned();
    });
    // What bob may not have any more can't be adopted either: it stays void, and the adoption is there to see.
    audit(&made, &["--kind", "adopt"]).ends(3).says(&format!("adopt    {} of bob", void.h16())).says("he told us");
}

#[test]
fn an_adopted_record_is_marked_and_accepted_staleness_is_shown() {
    let mut made = Repository::demo();
    let mut epoch = made.draft();
    epoch.threshold = Thresholds { trust: 1, break_glass: 1 };
    made.publish(epoch, &["alice", "bob"]);
    let old = made.epochs[1].1;
    let mut late = made.blank("alice");
    (late.epoch, late.epoch_sha256) = (2, old);
    late.accepted = vec!["epoch-expired".to_owned()];
    let late = made.put(late);
    // alice signs it with a key that bob revokes, which did not see it; so it is void, and alice's colleague adopts it.
    let key = made.identities["alice"].sign.clone();
    let mut revocation = made.blank("bob");
    revocation.parents = made.records[&late].parents.clone();
    revocation.revoke_key.push(RevokeKey { person: person("alice"), key, reason: "laptop stolen".to_owned() });
    made.put(revocation);
    audit(&made, &[]).ends(3).says("VOID     revoked-signer").says("revoke   alice's key ").says("laptop stolen");
    made.commit("bob", |record| {
        record.adopt.push(late);
        record.reason = "it was her".to_owned();
    });
    let answered = audit(&made, &[]).ends(0).says("adopted  by bob; it was void (revoked-signer)");
    answered.says("stale    went on past epoch-expired").says(&format!("adopt    {} of alice", late.h16()));
}

#[test]
fn the_log_is_read_beside_a_draft_and_where_the_epochs_are_at_fault() {
    let (mut made, ids) = story();
    let epoch = made.draft();
    made.publish(epoch, &["alice"]);
    let answered =
        audit(&made, &[]).ends(3).says("error[threshold]").says("the draft of the next epoch does not count yet");
    assert!(!answered.out.contains("VOID"), "{}", answered.out);
    let log = lines(&[event(Some(&ids.erin), "erin", 1)]);
    assert!(!join(&made, &log, &[]).out.contains("UNKNOWN"), "what counts without the draft is known");

    let (mut made, _) = story();
    made.put_file("trust/epoch/0003.toml", "format = \"kluis/epoch/1\"\n");
    audit(&made, &[]).ends(3).says("not judged: the epochs are at fault");
    join(&made, &log, &[]).ends(3).says("nobody can say which records count");
    audit(&made, &["--deny-list"]).ends(3).says("nobody can say which records count");
}

#[test]
fn a_tree_that_is_not_the_pinned_one_ends_four() {
    let (made, _) = story();
    let dir = tempfile::tempdir().unwrap();
    let pin = format!("kluis-pin:{}:1:{}", made.id, Digest::of(b"another"));
    audit_in(&made, dir.path(), &["--pin", &pin]).ends(4).says("error[genesis-mismatch]").says("BREAK-GLASS");
}

// -- denied certificates

#[test]
fn certificates_of_leavers_of_groups_taken_back_of_void_records_and_gone_nodes_are_denied() {
    let (mut made, ids) = story();
    audit(&made, &["--deny-list"]).ends(0).says("no live certificate is denied");
    // A node that goes.
    let key = made.key().spki();
    let at = place("clusters/prod/certs/node/w-1/kubelet-client.crt");
    let gone = {
        let mut record = made.blank("alice");
        let (entry, pem) = made.issue(&at, &key, &["system:nodes"], 1, Span::days(30));
        made.put_file(&at, pem);
        record.issued.push(entry);
        made.put(record)
    };
    made.tree.entries.remove(&at.to_string());
    made.commit("alice", |record| record.removed.push(at));
    // erin loses a group.
    let mut epoch = made.draft();
    epoch.clusters.get_mut(&cluster("prod")).unwrap().groups.insert(person("erin"), BTreeSet::from(["ops".to_owned()]));
    let since = epoch.created;
    made.publish(epoch, &["alice", "bob"]);
    made.commit("alice", |_| {});
    let json = audit(&made, &["--deny-list", "-o", "json"]).ends(0).json();
    let denied = json["data"]["denied"].as_array().unwrap();
    let of = |id: &str| denied.iter().find(|one| one["credential_id"] == id).unwrap();
    assert_eq!(denied.len(), 2);
    assert_eq!(of(&last_issued(&made, &gone))["reasons"][0]["code"], "removed");
    let erin = of(&ids.erin);
    assert_eq!(
        (&erin["reasons"][0]["code"], &erin["reasons"][0]["since"]),
        (&json!("group"), &json!(since.to_string()))
    );
    audit(&made, &["--deny-list"]).ends(0).says("epoch 3 took dev back from erin").says("no revocation list");
    let ids_only = audit(&made, &["--deny-list", "--ids-only"]).ends(0);
    let mut expected = vec![last_issued(&made, &gone), ids.erin.clone()];
    let mut found: Vec<&str> = ids_only.out.lines().collect();
    expected.sort();
    found.sort_unstable();
    assert_eq!(found, expected, "and nothing else on stdout");
    let later = made.now().plus(Span::hours(9)).to_string();
    let left = audit(&made, &["--deny-list", "--ids-only", "--at", &later]).ends(0);
    assert_eq!(left.out.trim_end(), last_issued(&made, &gone), "what has ended needs no denying");
}

#[test]
fn a_leaver_and_a_void_record_are_denied_and_system_masters_says_what_alone_helps() {
    let (made, ids) = with_void();
    let answered = audit(&made, &["--deny-list", "--ids-only"]).ends(3);
    assert_eq!(answered.out.trim_end(), ids.void, "errors are on stderr");
    assert!(answered.err.contains("error[unclosed-old-epoch]"), "{}", answered.err);
    let json = audit(&made, &["--deny-list", "-o", "json"]).ends(3).json();
    assert_eq!(json["data"]["denied"][0]["reasons"][0]["code"], "void");

    let (mut made, ids) = story();
    let mut epoch = made.draft();
    epoch.threshold = Thresholds { trust: 1, break_glass: 1 };
    made.leave(&mut epoch, "alice", FormerReason::Compromised);
    made.publish(epoch, &["alice", "bob"]);
    let answered = audit(&made, &["--deny-list"]).says("alice is no person of epoch 3 (compromised)").says("ROTATE");
    assert!(answered.out.contains(&ids.glass), "{}", answered.out);
}

#[test]
fn what_was_issued_before_a_key_was_revoked_is_denied_and_what_came_after_is_not() {
    let (mut made, ids) = story();
    let key = made.identities["erin"].sign.clone();
    made.commit("alice", |record| {
        record.revoke_key.push(RevokeKey { person: person("erin"), key, reason: "laptop stolen".to_owned() });
    });
    let answered = audit(&made, &["--deny-list"]).says("a key of erin was revoked by alice in ");
    assert!(answered.out.contains(&ids.erin), "{}", answered.out);
    let mut epoch = made.draft();
    let new = made.identity("erin-new").as_person(TrustRole::Member);
    epoch.former.push(Former {
        person: person("erin"),
        cert: made.identities["erin"].certificate.fingerprint(),
        epoch: 3,
        reason: FormerReason::Lost,
    });
    epoch.persons.insert(person("erin"), new);
    made.publish(epoch, &["alice", "bob"]);
    made.sign_epoch(3, "erin", "erin-new", false);
    let (request, key) = made.request("erin", Profile::Client, &["dev"]);
    let hash = {
        let text = request.write();
        let hash = Digest::of(text.as_bytes());
        let time = made.clock;
        let signature = made.identity("erin-new").signature(text.as_bytes(), kluis::openpgp::Kind::Request, time);
        made.put_file(Place::Request(cluster("prod"), hash.h16()), text);
        made.put_file(Place::RequestSignature(cluster("prod"), hash.h16(), person("erin")), signature);
        hash
    };
    made.grant("alice", &request, hash, &key);
    let denied = audit(&made, &["--deny-list", "--ids-only"]);
    assert_eq!(denied.out.lines().collect::<Vec<_>>(), [ids.erin.as_str()], "{}", denied.err);
}
