//! Taking trust back and showing that one is there: `person remove`, `person revoke-key`, `doctor --confirm`, and
//! `reseal --choose` where two branches did the same apart.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod ground;
mod seat;

use ground::Ground;
use kluis::model::{ClusterName, PersonName, Span};
use seat::*;

const NEW: &str = "cluster new prod --endpoint https://api.prod.example.org:6443 --kubernetes 1.36 \
    --node cp-1=10.0.0.11:control-plane,etcd --node w-1=10.0.0.21:worker --yes";
const CA: &str = "clusters/prod/sealed/ca.kubernetes.g1.asc";

fn person(name: &str) -> PersonName {
    PersonName::parse(name).unwrap()
}

fn prod() -> ClusterName {
    ClusterName::parse("prod").unwrap()
}

/// A cluster of alice's whose keys bob holds too.
fn shared() -> Ground {
    let ground = Ground::new(&["alice", "bob"], 1, 1);
    ground.run("alice", NEW).ends(0);
    ground.run("alice", "person update bob --keyholder prod --issuer prod").ends(0);
    ground.run("alice", "reseal").ends(0);
    assert_eq!(ground.errors(), [""; 0]);
    ground
}

fn key_of(ground: &Ground, name: &str) -> String {
    ground.person(name).certificate.usable(ground.now).unwrap().sign[0].to_string()
}

// --- person remove --------------------------------------------------------------------------------------------------

#[test]
fn removing_a_person_takes_every_part_and_lists_what_they_can_open() {
    let ground = shared();
    let removed = data(&ground.run("alice", "person remove bob --reason left --yes -o json").ends(0), "person remove");
    let secrets = removed["exposed"]["secrets"].as_array().unwrap();
    assert_eq!(secrets.len(), 7, "{removed:#}");
    assert!(secrets.iter().all(|secret| secret["live"] == true && secret["unrecorded"].is_null()), "{removed:#}");
    assert!(removed["exposed"]["commits"].as_u64().unwrap() >= 3);
    let verified = ground.verified();
    let latest = &verified.chain.latest().unwrap().epoch;
    assert!(!latest.persons.contains_key(&person("bob")));
    assert_eq!(latest.former.len(), 1);
    let cluster = &latest.clusters[&prod()];
    assert!(!cluster.keyholders.contains(&person("bob")) && !cluster.issuers.contains(&person("bob")));
    assert!(!cluster.groups.contains_key(&person("bob")));
    // Sealing again takes nothing back: the debt stays.
    ground.run("alice", "reseal").ends(0);
    assert_eq!(ground.owed(), ["exposure-open"; 7]);
}

#[test]
fn a_file_that_nobody_recorded_is_found_in_history() {
    let ground = shared();
    let armored = ground.read(CA);
    let other = armored.replacen("-----\n", "-----\nComment: x\n", 1);
    ground.edit(CA, |_| other);
    ground.git("-c user.name=t -c user.email=t@t commit -qam quietly");
    ground.git("-c user.name=t -c user.email=t@t revert --no-edit HEAD");
    assert_eq!(ground.errors(), [""; 0]);
    let removed = ground.run("alice", "person remove bob --reason left --yes -o json").ends(0);
    let removed = data(&removed, "person remove");
    let secrets = removed["exposed"]["secrets"].as_array().unwrap();
    let unrecorded: Vec<_> = secrets.iter().filter(|secret| secret["unrecorded"].is_string()).collect();
    assert_eq!(unrecorded.len(), 1, "{removed:#}");
    assert_eq!(unrecorded[0]["path"], CA);
}

#[test]
fn a_shallow_clone_says_that_it_does_not_know_all() {
    let ground = shared();
    let clone = ground.dir.path().join("clone");
    git(ground.dir.path(), &["clone", "-q", "--depth", "1", &format!("file://{}", ground.repo().display()), "clone"]);
    git(&clone, &["config", "user.name", "t"]);
    git(&clone, &["config", "user.email", "t@t"]);
    let alice = seat(&ground, "alice").in_dir(&clone).pinned();
    let answered = alice.run("person remove bob --reason left --yes -o json").ends(0);
    assert!(codes(&answered.json()).contains(&"history-incomplete"), "{}", answered.out);
    assert_eq!(answered.json()["data"]["exposed"]["secrets"].as_array().unwrap().len(), 7);
}

#[test]
fn nobody_is_removed_who_is_needed_and_nothing_changes() {
    let ground = shared();
    let before = ground.tree();
    ground.run("alice", "person remove carol --reason left --yes").ends(2).says("there is no person carol");
    ground.run("alice", "person remove bob --reason left").ends(2).says("--yes");
    ground.run("alice", "person remove bob --reason left --dry-run").ends(0).says("would be drafted");
    let alone = Ground::new(&["alice"], 1, 1);
    alone.run("alice", "person remove alice --reason left --yes").ends(3).says("threshold.trust");
    let held = Ground::new(&["alice", "bob"], 1, 1);
    held.run("alice", NEW).ends(0);
    held.run("bob", "person remove alice --reason left --yes").ends(3).says("no keyholder");
    assert!(ground.tree() == before);
}

#[test]
fn whose_key_was_compromised_never_comes_back() {
    let mut ground = shared();
    ground.run("alice", "person remove bob --reason compromised --yes").ends(0).says("look at who signs it");
    let again = certificate_file(&ground, "bob");
    ground.run("alice", &format!("person add bob --pgp {again}")).ends(3).says("never comes back");
    let other = newcomer(&mut ground, "robert");
    ground.run("alice", &format!("person add robert --pgp {other}")).ends(0);
}

// --- person revoke-key ----------------------------------------------------------------------------------------------

#[test]
fn a_revoked_key_signs_no_record_that_counts_in_any_cluster() {
    let ground = shared();
    ground.run("alice", "person revoke-key bob --reason laptop_stolen --yes").ends(0).says("in all clusters");
    assert_eq!(ground.errors(), [""; 0]);
    ground.run("bob", "cert issue -c prod --node w-1 --yes").ends(3).says("was revoked");
    ground.run("bob", "doctor --confirm").ends(3).says("was revoked");
    ground.run("alice", "person revoke-key bob --reason again --yes").ends(2).says("revoked already");
    // The next epoch that lists the key says that it is good again.
    ground.epoch(&["alice"], |_| {});
    ground.run("bob", "cert issue -c prod --node w-1 --yes").ends(0);
    assert_eq!(ground.errors(), [""; 0]);
}

#[test]
fn an_encryption_key_that_is_lost_opens_its_exposure() {
    let ground = shared();
    let encrypt = ground.person("bob").certificate.usable(ground.now).unwrap().encrypt[0].to_string();
    let short = &encrypt[encrypt.len() - 16..];
    let answered = ground.run("alice", &format!("person revoke-key bob {short} --reason token_lost --yes -o json"));
    let revoked = data(&answered.ends(0), "person revoke-key");
    assert_eq!((&revoked["key"], &revoked["signs"]), (&encrypt.into(), &false.into()));
    assert_eq!(revoked["exposed"]["secrets"].as_array().unwrap().len(), 7);
    assert_eq!(ground.owed(), ["exposure-open"; 7]);
    // What she signs still counts.
    ground.run("bob", "cert issue -c prod --node w-1 --yes").ends(0);
}

#[test]
fn revoking_is_for_roots_issuers_and_oneself_and_asks() {
    let mut ground = shared();
    let erin = newcomer(&mut ground, "erin");
    ground.run("alice", &format!("person add erin --pgp {erin}")).ends(0);
    ground.sign_draft("erin");
    assert_eq!(ground.errors(), [""; 0]);
    let before = ground.tree();
    ground.run("erin", "person revoke-key bob --reason x --yes").ends(3).says("neither root nor issuer");
    ground.run("alice", "person revoke-key bob --reason x").ends(2).says("--yes");
    ground.run("alice", "person revoke-key bob 12345678 --reason x --yes").ends(2).says("no epoch lists");
    ground.run("alice", "person revoke-key carol --reason x --yes").ends(2).says("no epoch ever listed");
    assert!(ground.tree() == before);
    ground.run("erin", "person revoke-key erin --reason lost --yes").ends(0);
    assert_eq!(ground.errors(), [""; 0]);
}

#[test]
fn who_was_revoked_answers_with_an_epoch_and_not_with_a_record() {
    let ground = shared();
    ground.run("alice", "person revoke-key bob --reason x --yes").ends(0);
    let alice = key_of(&ground, "alice");
    let answered = ground.run("bob", &format!("person revoke-key alice {alice} --reason revenge --yes"));
    // Alice would have no signing key left: that is a removal, and the quorum's business.
    answered.ends(3).says("would have no key left");
    assert_eq!(ground.errors(), [""; 0]);
}

// --- doctor --confirm -----------------------------------------------------------------------------------------------

#[test]
fn confirming_opens_what_is_ones_own_and_ends_the_debt() {
    let mut ground = shared();
    ground.now = ground.now.plus(Span::days(40));
    let strict = |ground: &Ground| {
        let answered = ground.run("alice", "verify --strict -o json");
        codes(&answered.json()).iter().filter(|code| **code == "unconfirmed").count()
    };
    // Alice sealed everything last, so bob has to confirm.
    assert_eq!(strict(&ground), 7);
    let confirmed = data(&ground.run("bob", "doctor --confirm -o json").ends(0), "doctor");
    assert_eq!((&confirmed["confirmed"]["prod"], &confirmed["failed"]), (&7.into(), &serde_json::json!([])));
    assert_eq!(ground.errors(), [""; 0]);
    assert_eq!(strict(&ground), 0);
}

#[test]
fn a_file_that_names_a_key_and_is_not_for_it_is_not_confirmed() {
    let ground = shared();
    // Bob's packet is relabelled: another's ciphertext under his key id, in a file that is recorded as it should be.
    let verified = ground.verified();
    let place = kluis::model::Place::parse(CA).unwrap();
    let kluis::trust::current::Vouch::Sealed(entry) = &verified.current.paths[&place].vouch else { panic!() };
    let mut entry = entry.clone();
    let (stranger, _) = kluis::openpgp::generate("mallory", ground.now.minus(Span::hours(1)), None).unwrap();
    let theirs = stranger.usable(ground.now).unwrap().encrypt[0].clone();
    let alice = &ground.person("alice").certificate;
    let own = alice.usable(ground.now).unwrap().encrypt[0].clone();
    let sealed = kluis::openpgp::encrypt(
        &kluis::secret::Secret::new(b"not a secret".to_vec()),
        &[(alice, &own), (&stranger, &theirs)],
    )
    .unwrap();
    let bobs = entry.recipients.iter().find(|r| r.person == person("bob")).unwrap().key.key_id();
    let relabelled = relabel(&sealed, theirs.key_id().0, bobs.0);
    entry.revision += 1;
    entry.sha256 = kluis::model::Digest::of(&relabelled);
    write_by_hand(&ground, &entry, relabelled);
    assert_eq!(ground.errors(), [""; 0], "no list of recipients shows it");
    let answered = ground.run("bob", "doctor --confirm -o json").ends(3);
    let report = answered.json();
    assert_eq!(codes(&report), ["recipient-set"], "{report:#}");
    assert_eq!(report["findings"][0]["path"], CA);
    assert_eq!((&report["data"]["confirmed"]["prod"], &report["data"]["failed"][0]), (&6.into(), &CA.into()));
    assert_eq!(ground.errors(), [""; 0]);
}

/// Puts another key id on the packet that has `from`.
fn relabel(armored: &[u8], from: u64, to: u64) -> Vec<u8> {
    use std::io::{Read as _, Write as _};
    let mut packets = Vec::new();
    let mut reader = sequoia_openpgp::armor::Reader::from_bytes(armored, None);
    reader.read_to_end(&mut packets).unwrap();
    let at = packets.windows(8).position(|window| window == from.to_be_bytes()).unwrap();
    packets[at..at + 8].copy_from_slice(&to.to_be_bytes());
    let mut writer = sequoia_openpgp::armor::Writer::new(Vec::new(), sequoia_openpgp::armor::Kind::Message).unwrap();
    writer.write_all(&packets).unwrap();
    writer.finalize().unwrap()
}

/// What a rogue administrator signs and pushes.
fn write_by_hand(ground: &Ground, entry: &kluis::trust::record::Sealed, bytes: Vec<u8>) {
    use kluis::openpgp::Kind;
    use kluis::repo::{ChangeSet, Commit, WorkTree};
    let verified = ground.verified();
    let mut record = kluis::ops::new_record(&verified, &person("alice"), ground.now, "reseal").unwrap();
    record.sealed.push(entry.clone());
    let text = record.write().into_bytes();
    let (month, h16) = (record.time.month(), kluis::model::Digest::of(&text).h16());
    let alice = ground.person("alice");
    let key = alice.certificate.usable(ground.now).unwrap().sign[0].clone();
    let signature = alice.keys().sign(&text, Kind::Record, &alice.certificate, &key, ground.now).unwrap();
    let mut changes = ChangeSet::default();
    changes.writes.insert(format!("trust/log/{month}/{h16}.toml"), text);
    changes.writes.insert(format!("trust/log/{month}/{h16}.alice.sig"), signature);
    changes.writes.insert(entry.place().to_string(), bytes);
    let work = WorkTree::open(&ground.repo()).unwrap();
    work.apply(&changes, &Commit::Message("by hand".to_owned()), ground.now).unwrap();
}

#[test]
fn a_root_who_holds_no_keys_leaves_a_heartbeat_and_a_member_does_not() {
    let mut ground = Ground::new(&["alice", "bob"], 1, 1);
    ground.run("alice", NEW).ends(0);
    ground.run("bob", "doctor --confirm").ends(0).says("heartbeat");
    assert!(ground.verified().log.records.iter().any(|logged| logged.record.is_heartbeat()));
    let erin = newcomer(&mut ground, "erin");
    ground.run("alice", &format!("person add erin --pgp {erin}")).ends(0);
    ground.sign_draft("erin");
    ground.run("erin", "doctor --confirm").ends(3).says("nothing to confirm");
}

// --- reseal --choose ------------------------------------------------------------------------------------------------

#[test]
fn a_node_that_was_issued_anew_on_two_branches_is_settled_by_one_choice() {
    let ground = shared();
    ground.git("branch other");
    ground.run("alice", "cert issue -c prod --node w-1 --yes").ends(0);
    ground.git("checkout -q other");
    ground.run("bob", "cert issue -c prod --node w-1 --yes").ends(0);
    ground.git("-c user.name=t -c user.email=t@t merge -q -X ours main");
    let errors = ground.errors();
    assert!(errors.iter().all(|error| error.starts_with("conflicting-generations")), "{errors:?}");
    assert!(errors.iter().any(|error| error.contains("certs/node/w-1")), "{errors:?}");
    ground.run("alice", "reseal -c prod").ends(3).says("kluis reseal --choose -c prod");
    ground.run("alice", "reseal --choose -c prod").ends(0).says("Kept, of two");
    assert_eq!((ground.errors(), ground.owed()), (Vec::new(), Vec::new()));
}

#[test]
fn two_edits_of_cluster_toml_merge_as_text_and_apply_takes_the_result() {
    let ground = shared();
    let add = |name: &str, at: &str| {
        let node = format!("[[node]]\nname = \"{name}\"\nroles = [\"worker\"]\naddresses = [\"{at}\"]\n\n");
        move |text: String| text.replacen("[[node]]", &format!("{node}[[node]]"), 1)
    };
    ground.git("branch other");
    ground.edit("clusters/prod/cluster.toml", add("w-2", "10.0.0.22"));
    ground.run("alice", "cluster apply -c prod --yes").ends(0);
    ground.git("checkout -q other");
    ground.edit("clusters/prod/cluster.toml", |text| {
        format!("{text}\n[[node]]\nname = \"w-3\"\nroles = [\"worker\"]\naddresses = [\"10.0.0.23\"]\n")
    });
    ground.run("bob", "cluster apply -c prod --yes").ends(0);
    ground.git("-c user.name=t -c user.email=t@t merge -q main");
    let errors = ground.errors();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("conflicting-generations Some(\"clusters/prod/cluster.toml\")"), "{errors:?}");
    ground.run("alice", "verify").ends(3).says("kluis cluster apply -c prod");
    ground.run("alice", "cluster apply -c prod --yes").ends(0);
    assert_eq!((ground.errors(), ground.owed()), (Vec::new(), Vec::new()));
}
