//! `exposure`: what somebody could ever open and what has become of it, people who left and people who are there, their
//! certificates, files of history that no record names, and what is remembered of history (docs/SECURITY.md: T9, T56, T57).

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod repository;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use git2::build::TreeUpdateBuilder;
use git2::{FileMode, Oid, Signature};
use kluis::cli::Machine;
use kluis::env::Terminal;
use kluis::model::{Keyset, SealedName, Span, State};
use kluis::trust::current::Vouch;
use kluis::trust::record::RevokeKey;
use kluis::trust::{Entry, FormerReason, Waived};
use repository::{Repository, cluster, generation, person, place};
use serde_json::Value;

const CA: &str = "clusters/prod/sealed/ca.kubernetes.g1.asc";

struct Answered {
    exit: u8,
    out: String,
    err: String,
}

impl Answered {
    #[track_caller]
    fn ends(self, exit: u8) -> Self {
        assert_eq!(self.exit, exit, "\n{}\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn says(self, text: &str) -> Self {
        assert!(self.out.contains(text) || self.err.contains(text), "no {text:?} in\n{}\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.out, self.err))
    }

    #[track_caller]
    fn data(&self) -> Value {
        self.json()["data"].clone()
    }

    fn codes(&self) -> Vec<String> {
        let findings = self.json()["findings"].as_array().unwrap().clone();
        findings.iter().map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
    }
}

/// A repository on disk, in git, and a machine that has pinned it.
struct Place {
    made: Repository,
    dir: tempfile::TempDir,
}

impl Place {
    fn of(made: Repository) -> Self {
        let place = Self { made, dir: tempfile::tempdir().unwrap() };
        fs::create_dir(place.repo()).unwrap();
        place.git("init -q -b main");
        place.commit();
        place.pin(&place.dir.path().join("state"));
        place
    }

    fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    fn remembered(&self) -> PathBuf {
        self.dir.path().join(format!("state/history/{}.json", self.made.id))
    }

    fn git(&self, words: &str) -> String {
        git(&self.repo(), words)
    }

    /// Writes the tree as it is, and commits it.
    fn commit(&self) -> String {
        for folder in ["trust", "pubkeys", "clusters"] {
            let _ = fs::remove_dir_all(self.repo().join(folder));
        }
        write(&self.made, &self.repo());
        self.git("add -A");
        self.git("commit -q --allow-empty -m x");
        self.git("rev-parse HEAD")
    }

    fn line(&self) -> String {
        format!("kluis-pin:{}:1:{}", self.made.id, self.made.epochs[0].1)
    }

    fn pin(&self, state: &Path) {
        self.run_at(&self.repo(), state, &["trust", "pin", &self.line()]).ends(0);
    }

    fn run_at(&self, dir: &Path, state: &Path, words: &[&str]) -> Answered {
        let mut args: Vec<std::ffi::OsString> = vec!["-C".into(), dir.into()];
        args.extend(words.iter().map(Into::into));
        let machine = Machine { now: self.made.now(), terminal: Terminal::nobody(), state: Some(state.to_owned()) };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = kluis::cli::run(args, machine, &mut out, &mut err);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Answered { exit, out: text(out), err: text(err) }
    }

    fn run(&self, words: &str) -> Answered {
        self.run_at(&self.repo(), &self.dir.path().join("state"), &words.split(' ').collect::<Vec<_>>())
    }

    /// The standing of each secret, by the last part of its path.
    #[track_caller]
    fn standings(&self, who: &str) -> Vec<(String, String)> {
        let data = self.run(&format!("exposure {who} -o json")).data();
        let secrets = data["secrets"].as_array().unwrap().iter();
        let name = |secret: &Value| secret["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        secrets.map(|secret| (name(secret), secret["standing"].as_str().unwrap().to_owned())).collect()
    }

    #[track_caller]
    fn stands(&self, who: &str, file: &str) -> String {
        let all = self.standings(who);
        all.iter().find(|(name, _)| name == file).unwrap_or_else(|| panic!("no {file} in {all:?}")).1.clone()
    }
}

fn write(made: &Repository, dir: &Path) {
    for (path, entry) in &made.tree.entries {
        let Entry::File { bytes, .. } = entry else { continue };
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn git(dir: &Path, words: &str) -> String {
    let mut git = Command::new("git");
    git.arg("-C").arg(dir).args(["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]);
    git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    let output = git.args(words.split(' ')).output().unwrap();
    assert!(output.status.success(), "git {words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn leave(made: &mut Repository, who: &str, reason: FormerReason) {
    let mut epoch = made.draft();
    (epoch.threshold.trust, epoch.threshold.break_glass) = (1, 1);
    made.leave(&mut epoch, who, reason);
    let number = epoch.number;
    made.publish(epoch, &["alice", "bob"]);
    made.sign_epoch(number, "bob", "bob", false);
}

/// Seals everything that is current to who is a keyholder now.
fn reseal(made: &mut Repository) {
    let mut record = made.blank("alice");
    let verified = made.verify();
    for (place, vouched) in &verified.current.paths {
        let Vouch::Sealed(old) = &vouched.vouch else { continue };
        let public: Vec<(&str, _)> = old.public.iter().map(|key| (key.name.as_str(), key.id)).collect();
        let (entry, bytes) = made.seal("prod", old.name.clone(), old.revision + 1, &public);
        made.put_file(place, bytes);
        record.sealed.push(entry);
    }
    made.put(record);
}

/// Lists, seals and stages generation 2 of the CA.
fn second_generation(made: &mut Repository, signers: &[&str]) {
    let mut epoch = made.draft();
    made.add_generation(&mut epoch, "prod", Keyset::Kubernetes, 2);
    made.publish(epoch, signers);
    let mut record = made.blank("alice");
    made.seal_authority(&mut record, "prod", Keyset::Kubernetes, 2, 1);
    record.phase.push(made.phase("prod", Keyset::Kubernetes, 2, State::Staged));
    made.put(record);
}

const STEPS: [&[(u32, State)]; 3] =
    [&[(2, State::Trusted)], &[(1, State::Retiring), (2, State::Issuing)], &[(1, State::Distrusted)]];

fn step(made: &mut Repository, steps: &[(u32, State)]) {
    let mut record = made.blank("alice");
    for (number, state) in steps {
        record.phase.push(made.phase("prod", Keyset::Kubernetes, *number, *state));
    }
    made.put(record);
}

/// New keys for the node, sealed to who is a keyholder now, from this generation.
fn renew_node(made: &mut Repository, number: u32, revision: u32) {
    let key = made.key();
    let mut record = made.blank("alice");
    let kluis::model::Place::Sealed(_, sealed) = place("clusters/prod/sealed/node.cp-1.asc") else { panic!() };
    made.seal_in(&mut record, "prod", sealed, revision, &[("apiserver", key.spki_id())]);
    let at = place("clusters/prod/certs/node/cp-1/apiserver.crt");
    let (entry, pem) = made.issue(&at, &key.spki(), &[], number, Span::days(300));
    made.put_file(&at, pem);
    record.issued.push(entry);
    made.put(record);
}

// --- what has become of it ----------------------------------------------------------------------------------------------

#[test]
fn t56_a_secret_is_live_through_every_phase_until_the_old_generation_is_distrusted() {
    let mut made = Repository::demo();
    leave(&mut made, "bob", FormerReason::Left);
    reseal(&mut made);
    second_generation(&mut made, &["alice"]);
    let mut place = Place::of(made);
    place
        .run("exposure bob")
        .ends(5)
        .says("bob is gone since epoch 3 (left). bob could open 4 secrets: 4 live, 0 out of use.");
    for steps in STEPS {
        assert_eq!(place.stands("bob", "ca.kubernetes.g1.asc"), "live", "sealing again and {steps:?} do not end it");
        step(&mut place.made, steps);
        place.commit();
    }
    let all = place.standings("bob");
    assert_eq!(all[0], ("ca.kubernetes.g1.asc".to_owned(), "rotated".to_owned()), "{all:?}");
    assert_eq!(all.len(), 4, "generation 2 was never sealed to bob: {all:?}");
    assert_eq!(place.stands("alice", "ca.kubernetes.g1.asc"), "followed", "alice has generation 2 as well");
    let answered = place.run("exposure bob -o json").ends(5);
    assert_eq!((&answered.data()["open"], answered.codes().len()), (&3.into(), 3));
    place.run("exposure bob --strict").ends(3).says("error[exposure-open]");
}

#[test]
fn a_node_s_replaced_keys_are_told_with_the_end_of_what_is_accepted() {
    let mut made = Repository::demo();
    leave(&mut made, "bob", FormerReason::Left);
    reseal(&mut made);
    second_generation(&mut made, &["alice"]);
    step(&mut made, STEPS[0]);
    step(&mut made, STEPS[1]);
    let mut place = Place::of(made);
    assert_eq!(place.stands("bob", "node.cp-1.asc"), "live");
    renew_node(&mut place.made, 2, 3);
    place.commit();
    let node = |place: &Place| {
        let data = place.run("exposure bob -o json").data();
        let all = data["secrets"].as_array().unwrap().clone();
        all.into_iter().find(|one| one["node"] == "cp-1").unwrap()
    };
    let before = node(&place);
    assert_eq!(
        (&before["standing"], before["accepted_until"].as_str()),
        (&"rotated".into(), Some("2027-11-01T00:03:00Z"))
    );
    step(&mut place.made, STEPS[2]);
    place.commit();
    assert_eq!(node(&place)["accepted_until"], Value::Null, "its CA is distrusted");
}

#[test]
fn a_waiver_ends_the_debt_for_its_time_and_is_told() {
    let mut made = Repository::demo();
    leave(&mut made, "bob", FormerReason::Left);
    reseal(&mut made);
    let mut epoch = made.draft();
    let until = made.clock.plus(Span::days(10));
    let (what, reason) = ("exposure:bob".to_owned(), "decommissioned next week".to_owned());
    epoch.waived.push(Waived { cluster: cluster("prod"), what, until, reason });
    made.publish(epoch, &["alice"]);
    let place = Place::of(made);
    let answered = place.run("exposure bob").ends(0).says("4 secrets: 0 live, 4 waived, 0 out of use");
    assert!(
        answered.out.contains(&format!("waived until {until}")) && !answered.out.contains("plan"),
        "{}",
        answered.out
    );
    let later = until.plus(Span::minutes(1)).to_string();
    place.run(&format!("exposure bob --at {later}")).ends(5).says("4 live");
}

#[test]
fn a_retired_cluster_and_one_that_is_gone_owe_nothing_and_are_told() {
    let mut made = Repository::demo();
    leave(&mut made, "bob", FormerReason::Left);
    let mut epoch = made.draft();
    epoch.clusters.get_mut(&cluster("prod")).unwrap().retired = true;
    made.publish(epoch, &["alice"]);
    let place = Place::of(made);
    let all = place.standings("bob");
    assert!(all.len() == 4 && all.iter().all(|(_, standing)| standing == "retired"), "{all:?}");
    place.run("exposure bob").ends(0);
}

#[test]
fn of_somebody_who_is_still_there_it_says_what_would_be_exposed() {
    let place = Place::of(Repository::demo());
    let answered = place.run("exposure bob").ends(0);
    assert!(answered.out.contains("bob is a keyholder of prod: this is what would be exposed if bob left."));
    let data = place.run("exposure bob -o json").ends(0).data();
    assert_eq!(
        (&data["listed"], &data["open"], &data["keyholder"]),
        (&true.into(), &0.into(), &serde_json::json!(["prod"]))
    );
    assert_eq!(data["plan"][0]["command"], "kluis person remove bob --reason left");
    place.run("exposure bob --strict").ends(0);
    place.run("exposure erin").ends(0).says("erin is no keyholder. Nothing was ever sealed to erin.");
    place.run("exposure nobody").ends(2).says("no epoch ever listed a person nobody");
}

#[test]
fn a_lost_encryption_key_of_a_keyholder_is_owed() {
    let mut made = Repository::demo();
    let key = made.identities["bob"].encrypt.clone();
    made.commit("alice", |record| {
        record.revoke_key.push(RevokeKey { person: person("bob"), key, reason: "lost".to_owned() });
    });
    let place = Place::of(made);
    let answered = place.run("exposure bob -o json").ends(5);
    assert_eq!(answered.data()["open"], 4);
}

#[test]
fn beside_a_draft_it_is_as_without_it() {
    let mut made = Repository::demo();
    let mut epoch = made.draft();
    (epoch.threshold.trust, epoch.threshold.break_glass) = (1, 1);
    made.leave(&mut epoch, "bob", FormerReason::Left);
    made.publish(epoch, &["alice"]);
    let place = Place::of(made);
    let answered = place.run("exposure bob").ends(0).says("the draft of the next epoch does not count yet");
    assert!(answered.out.contains("bob is a keyholder of prod"), "{}", answered.out);
}

#[test]
fn the_plan_goes_from_what_gives_most_to_what_rests_on_it_and_every_command_is_one() {
    let mut made = Repository::demo();
    let (request, key) = made.request("bob", kluis::model::Profile::Client, &["kluis:admins"]);
    let hash = made.file_request(&request, "bob");
    made.grant("alice", &request, hash, &key);
    leave(&mut made, "bob", FormerReason::Left);
    let place = Place::of(made);
    let data = place.run("exposure bob -o json").ends(5).data();
    let plan = data["plan"].as_array().unwrap();
    let commands: Vec<&str> = plan.iter().filter_map(|step| step["command"].as_str()).collect();
    assert_eq!(commands.first(), Some(&"kluis reseal -c prod"));
    assert_eq!(commands.last(), Some(&"kluis audit --deny-list"));
    for command in &commands {
        assert!(kluis::cli::grammar().try_get_matches_from(command.split(' ')).is_ok(), "{command}");
    }
    let at = |text: &str| {
        plan.iter()
            .position(|step| step["what"].as_str().unwrap().contains(text))
            .unwrap_or_else(|| panic!("{text}: {plan:#?}"))
    };
    let order = [
        "seal what there is",
        "kluis:admins",
        "in one epoch",
        "of kubernetes,",
        "of service-account",
        "of encryption",
        "node cp-1, which rotate promote makes",
        "denied",
    ];
    let order: Vec<usize> = order.iter().map(|text| at(text)).collect();
    assert!(order.is_sorted() && order.len() == plan.len(), "{plan:#?}");
}

// --- their own certificates ---------------------------------------------------------------------------------------------

#[test]
fn t57_a_leaver_s_certificates_are_listed_and_system_masters_is_marked() {
    let mut made = Repository::demo();
    for (profile, groups) in
        [(kluis::model::Profile::Client, ["kluis:admins"]), (kluis::model::Profile::BreakGlass, ["system:masters"])]
    {
        let (request, key) = made.request("bob", profile, &groups);
        let hash = made.file_request(&request, "bob");
        if profile == kluis::model::Profile::BreakGlass {
            made.commit("bob", |record| record.approve.push(hash));
        }
        made.grant("alice", &request, hash, &key);
    }
    let place_of = |made| {
        let place = Place::of(made);
        let data = place.run("exposure bob -o json").data();
        (place, data["certificates"].as_array().unwrap().clone())
    };
    let (place, here) = place_of(made);
    assert!(here.len() == 2 && here.iter().all(|one| one["denied"] == serde_json::json!([])), "{here:#?}");
    let mut made = place.made;
    leave(&mut made, "bob", FormerReason::Left);
    let (place, gone) = place_of(made);
    let facts: Vec<_> = gone
        .iter()
        .map(|one| (one["profile"].as_str().unwrap(), &one["only_rotation"], one["denied"][0]["code"].as_str()))
        .collect();
    assert_eq!(facts, [("client", &false.into(), Some("left")), ("break-glass", &true.into(), Some("left"))]);
    let denied = place.run("audit --deny-list --ids-only");
    for one in &gone {
        assert!(denied.out.contains(one["credential_id"].as_str().unwrap()), "{}", denied.out);
    }
    let answered = place.run("exposure bob").ends(5);
    for text in [
        "ROTATE  it is system:masters",
        "kluis trust raise kluis:admins -c prod",
        "it alone cuts off bob's system:masters",
    ] {
        assert!(answered.out.contains(text), "{text}: {}", answered.out);
    }
    let after = place.made.now().plus(Span::hours(9)).to_string();
    let data = place.run(&format!("exposure bob --at {after} -o json")).data();
    assert_eq!(data["certificates"], serde_json::json!([]));
}

// --- history ------------------------------------------------------------------------------------------------------------

/// A message to these people that no record names, as gpg would write one.
fn message(made: &mut Repository, to: &[&str]) -> Vec<u8> {
    let sealed = SealedName::Keyset(Keyset::Kubernetes, generation(1));
    made.seal_to("prod", sealed, 1, &[], to).1
}

/// Puts a file into history and takes it back.
fn slip_in(place: &Place, path: &str, bytes: &[u8]) -> String {
    let at = place.repo().join(path);
    let before = fs::read(&at).ok();
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    fs::write(&at, bytes).unwrap();
    place.git("add -A");
    place.git("commit -q -m quietly");
    let commit = place.git("rev-parse HEAD");
    match before {
        Some(before) => fs::write(&at, before).unwrap(),
        None => fs::remove_file(&at).unwrap(),
    }
    place.git("add -A");
    place.git("commit -q -m back");
    commit
}

#[test]
fn t56_a_file_of_history_that_no_record_names_is_owed_where_its_reader_is_no_keyholder() {
    let mut place = Place::of(Repository::demo());
    let bytes = message(&mut place.made, &["erin"]);
    let commit = slip_in(&place, CA, &bytes);
    let answered = place.run("exposure erin -o json").ends(5);
    assert_eq!(answered.codes(), ["exposure-open"]);
    let secret = &answered.data()["secrets"][0];
    assert_eq!((&secret["path"], &secret["unrecorded"], &secret["since"]), (&CA.into(), &commit.into(), &Value::Null));
    assert_eq!(secret["standing"], "live");
    place.run("exposure erin").says("has a file that no record names");
    // Of a keyholder it is what they may open anyway.
    let bytes = message(&mut place.made, &["bob"]);
    slip_in(&place, CA, &bytes);
    place.run("exposure bob -o json").ends(0);
}

#[test]
fn messages_at_other_places_in_other_forms_and_for_hidden_readers_are_told() {
    let mut place = Place::of(Repository::demo());
    let bytes = message(&mut place.made, &["erin", "alice"]);
    let text = [&b"see below\r\n"[..], &bytes].concat();
    slip_in(&place, "notes/mail.txt", &text);
    slip_in(&place, "clusters/prod/sealed/ca.kubernetes.g9.asc", &bytes);
    let answered = place.run("exposure erin -o json").ends(0);
    let elsewhere: Vec<_> =
        answered.data()["elsewhere"].as_array().unwrap().iter().map(|one| one["path"].clone()).collect();
    assert_eq!(elsewhere, ["clusters/prod/sealed/ca.kubernetes.g9.asc", "notes/mail.txt"]);
    place.run("exposure erin").says("sealed to erin elsewhere in history");
    slip_in(&place, "hidden", b"\x84\x0a\x03\0\0\0\0\0\0\0\0\x01");
    let answered = place.run("exposure erin -o json").ends(5);
    assert_eq!(answered.codes(), ["history-incomplete"]);
    place.run("exposure erin").says("hides whom it is for");
}

#[test]
fn t56_a_record_that_names_fewer_readers_than_its_file_has_excuses_nothing() {
    let mut place = Place::of(Repository::demo());
    let mut record = place.made.blank("alice");
    let id = place.made.authority_id("prod", Keyset::Kubernetes, 1);
    let sealed = SealedName::Keyset(Keyset::Kubernetes, generation(1));
    let (mut entry, bytes) = place.made.seal_to("prod", sealed, 2, &[("ca.kubernetes", id)], &["alice", "bob", "erin"]);
    entry.recipients.retain(|recipient| recipient.person != person("erin"));
    place.made.put_file(CA, bytes);
    record.sealed.push(entry);
    place.made.put(record);
    let commit = place.commit();
    // Invalid while it is current; and nobody sees it in the log once it is not.
    place.run("verify").ends(3).says("recipient-set");
    let mut record = place.made.blank("alice");
    place.made.seal_authority(&mut record, "prod", Keyset::Kubernetes, 1, 3);
    place.made.put(record);
    place.commit();
    place.run("verify").ends(0);
    let answered = place.run("exposure erin -o json").ends(5);
    assert_eq!(answered.data()["secrets"][0]["unrecorded"], commit);
}

#[test]
fn t9_replaced_and_grafted_history_hides_nothing() {
    let mut place = Place::of(Repository::demo());
    let bytes = message(&mut place.made, &["erin"]);
    let commit = slip_in(&place, CA, &bytes);
    let (head, first) = (place.git("rev-parse HEAD"), place.git("rev-list --max-parents=0 HEAD"));
    let found = |place: &Place, what: &str| {
        let answered = place.run("exposure erin --full -o json").ends(5);
        assert_eq!(answered.data()["secrets"][0]["unrecorded"], commit.as_str(), "{what}");
        assert_eq!(answered.codes(), ["exposure-open"], "{what}");
    };
    found(&place, "as it is");
    // A replacement for the commit, and a graft that makes the last commit the first.
    place.git(&format!("replace {commit} {first}"));
    found(&place, "replaced");
    place.git(&format!("replace -d {commit}"));
    fs::create_dir_all(place.repo().join(".git/info")).unwrap();
    fs::write(place.repo().join(".git/info/grafts"), format!("{head}\n")).unwrap();
    assert_eq!(place.git("rev-list --count HEAD"), "1", "git believes it");
    let repo = git2::Repository::open(place.repo()).unwrap();
    let mut walk = repo.revwalk().unwrap();
    walk.push_head().unwrap();
    assert_eq!(walk.count(), 1, "and so does libgit2");
    found(&place, "grafted");
    // verify --history walks the same way.
    let key = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJx1fS6YBpOQ6Zp6qOUbFNDrVqLhRWnnlVmg7DqA2UQF\n-----END PRIVATE KEY-----\n";
    fs::remove_file(place.repo().join(".git/info/grafts")).unwrap();
    slip_in(&place, "key.pem", key.as_bytes());
    fs::write(place.repo().join(".git/info/grafts"), format!("{}\n", place.git("rev-parse HEAD"))).unwrap();
    place.run("verify --history").ends(3).says("secret-material");
}

#[test]
fn t9_a_shallow_clone_and_one_that_lacks_objects_never_say_nothing() {
    let place = Place::of(Repository::demo());
    place.git("commit -q --allow-empty -m more");
    let clone = place.dir.path().join("clone");
    let from = format!("file://{}", place.repo().display());
    git(place.dir.path(), &format!("clone -q --depth 1 {from} {}", clone.display()));
    let state = place.dir.path().join("state");
    let answered = place.run_at(&clone, &state, &["exposure", "erin", "-o", "json"]).ends(5);
    assert_eq!(
        (answered.codes(), &answered.data()["complete"]),
        (vec!["history-incomplete".to_owned()], &false.into())
    );
    let text = place.run_at(&clone, &state, &["exposure", "erin"]);
    assert!(
        !text.out.contains("Nothing was ever sealed") && text.out.contains("git fetch --unshallow"),
        "{}",
        text.out
    );
    place.run_at(&clone, &state, &["exposure", "erin", "--strict"]).ends(3);
    // Without the file that says so it is a clone with objects missing.
    fs::remove_file(clone.join(".git/shallow")).unwrap();
    let answered = place.run_at(&clone, &state, &["exposure", "erin", "-o", "json"]).ends(5);
    assert_eq!(answered.codes(), ["history-incomplete"]);
    // What the log says stands whatever history there is.
    let bob = place.run_at(&clone, &state, &["exposure", "bob", "-o", "json"]).data();
    assert_eq!(bob["secrets"].as_array().unwrap().len(), 4);
}

#[test]
fn an_unpacked_archive_is_answered_from_the_log_alone_and_that_is_said() {
    let mut made = Repository::demo();
    leave(&mut made, "bob", FormerReason::Left);
    let place = Place::of(made);
    let archive = place.dir.path().join("archive");
    write(&place.made, &archive);
    let run = |words: &[&str]| place.run_at(&archive, &place.dir.path().join("state"), words);
    let answered = run(&["exposure", "bob"]).ends(5).says("this is what the log says");
    assert!(answered.out.contains("history: not searched, there is no git repository here"), "{}", answered.out);
    let data = run(&["exposure", "bob", "-o", "json"]).data();
    assert_eq!((&data["commits"], &data["complete"]), (&Value::Null, &false.into()));
    assert_eq!(data["secrets"].as_array().unwrap().len(), 4);
    run(&["exposure", "erin"]).says("No record says that anything was sealed to erin.");
}

#[test]
fn where_nobody_can_say_what_was_sealed_it_fails_and_says_so() {
    let mut made = Repository::demo();
    let first = *made.records.keys().next().unwrap();
    made.commit("alice", |_| {});
    made.drop_record(&first);
    let place = Place::of_any(made);
    place.run("exposure bob").ends(3).says("nobody can say what was sealed to whom");
    let mut made = Repository::demo();
    let epoch = String::from_utf8(made.bytes("trust/epoch/0002.toml")).unwrap();
    made.put_file("trust/epoch/0002.toml", epoch.replace("trust = 2", "trust = 1"));
    let place = Place::of_any(made);
    place.run("exposure bob").ends(3).says("nobody can say which records count");
}

impl Place {
    /// As `of`, of a repository that can't be pinned.
    fn of_any(made: Repository) -> Self {
        let place = Self { made, dir: tempfile::tempdir().unwrap() };
        fs::create_dir(place.repo()).unwrap();
        place.git("init -q -b main");
        place.commit();
        place
    }
}

#[test]
fn in_markdown_what_comes_from_files_is_inert() {
    let mut place = Place::of(Repository::demo());
    let bytes = message(&mut place.made, &["erin"]);
    slip_in(&place, "a](javascript:x) <img> @all", &bytes);
    let answered = place.run("exposure erin -o markdown").ends(0);
    assert!(answered.out.starts_with("<!-- kluis exposure -->\n### kluis exposure erin\n"), "{}", answered.out);
    for markup in ["](", "<img", "@all"] {
        assert!(!answered.out.contains(markup), "{markup}: {}", answered.out);
    }
}

// --- what is remembered -------------------------------------------------------------------------------------------------

/// One step of a random history: files come and go, branches part, merge and are forgotten.
fn random_step(repo: &git2::Repository, pool: &[Vec<u8>], at: &mut u64) {
    let mut next = |below: usize| {
        // The constants of Knuth's MMIX.
        *at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*at >> 33) as usize % below
    };
    let branches: Vec<String> = repo
        .references()
        .unwrap()
        .flatten()
        .filter_map(|one| one.name().ok().map(str::to_owned))
        .filter(|name| name.starts_with("refs/heads/"))
        .collect();
    let tip = |name: &str| repo.find_reference(name).unwrap().peel_to_commit().unwrap();
    let time = 1_790_000_000 + i64::try_from(next(1000)).unwrap();
    let who = Signature::new("t", "t@t", &git2::Time::new(time, 0)).unwrap();
    let branch = branches[next(branches.len())].clone();
    let here = tip(&branch);
    let paths = [CA, "clusters/prod/sealed/sa.g1.asc", "other/file", "clusters/prod/sealed/node.cp-1.asc"];
    let commit = |onto: &str, tree: Oid, parents: &[&git2::Commit<'_>]| {
        let id = repo.commit(None, &who, &who, "x", &repo.find_tree(tree).unwrap(), parents).unwrap();
        repo.reference(onto, id, true, "x").unwrap();
    };
    match next(8) {
        0..=3 => {
            let blob = repo.blob(&pool[next(pool.len())]).unwrap();
            let mut update = TreeUpdateBuilder::new();
            let tree = update
                .upsert(paths[next(paths.len())], blob, FileMode::Blob)
                .create_updated(repo, &here.tree().unwrap());
            commit(&branch, tree.unwrap(), &[&here]);
        }
        4 => {
            let mut update = TreeUpdateBuilder::new();
            if let Ok(tree) = update.remove(paths[next(paths.len())]).create_updated(repo, &here.tree().unwrap()) {
                commit(&branch, tree, &[&here]);
            }
        }
        5 => drop(repo.reference(&format!("refs/heads/b{}", next(6)), here.id(), true, "x").unwrap()),
        6 => {
            let other = tip(&branches[next(branches.len())]);
            commit(&branch, here.tree_id(), &[&here, &other]);
        }
        _ if branch != "refs/heads/main" => repo.find_reference(&branch).unwrap().delete().unwrap(),
        // Rewritten: what came after is reached no more.
        _ => drop(here.parent(0).map(|parent| repo.reference(&branch, parent.id(), true, "x").unwrap())),
    }
}

#[test]
fn with_what_is_remembered_the_answer_is_the_same_whatever_became_of_history() {
    let mut made = Repository::demo();
    leave(&mut made, "bob", FormerReason::Left);
    let mut pool: Vec<Vec<u8>> = [&["bob"][..], &["alice"], &["alice", "bob"], &["erin"], &["bob", "erin"]]
        .iter()
        .map(|to| message(&mut made, to))
        .collect();
    pool.push(b"no message".to_vec());
    pool.push(made.bytes(CA));
    let place = Place::of(made);
    let fresh = place.dir.path().join("fresh");
    place.pin(&fresh);
    let repo = git2::Repository::open(place.repo()).unwrap();
    let (mut seed, mut found) = (20_261_124, 0);
    for turn in 0..60 {
        for _ in 0..turn % 5 {
            random_step(&repo, &pool, &mut seed);
        }
        for who in ["bob", "erin"] {
            let words = ["exposure", who, "-o", "json"];
            let known = place.run(&words.join(" "));
            let _ = fs::remove_dir_all(fresh.join("history"));
            let anew = place.run_at(&place.repo(), &fresh, &words);
            assert_eq!(known.json(), anew.json(), "turn {turn}, {who}");
            found +=
                known.data()["secrets"].as_array().unwrap().iter().filter(|one| one["unrecorded"].is_string()).count();
        }
    }
    assert!(found > 60, "the histories have something to find: {found}");
}

#[test]
fn a_damaged_memory_is_made_anew_and_a_whole_one_is_left_alone() {
    let mut place = Place::of(Repository::demo());
    let bytes = message(&mut place.made, &["erin"]);
    slip_in(&place, CA, &bytes);
    let first = place.run("exposure erin -o json").ends(5).json();
    let kept = fs::read(place.remembered()).unwrap();
    let made = fs::metadata(place.remembered()).unwrap().modified().unwrap();
    assert_eq!(place.run("exposure erin -o json").json(), first);
    assert_eq!(fs::metadata(place.remembered()).unwrap().modified().unwrap(), made, "nothing is news");
    for damaged in [b"".to_vec(), kept[..kept.len() / 2].to_vec(), b"\xff\xfe\n{}".to_vec(), [&kept[..], b" "].concat()]
    {
        fs::write(place.remembered(), damaged).unwrap();
        assert_eq!(place.run("exposure erin -o json").json(), first);
        let again = fs::read(place.remembered()).unwrap();
        assert_eq!(again.len(), kept.len(), "it is whole again");
    }
}

/// Whoever can write beside the pins is believed as the pins are, until somebody asks for more. See `repo/remembered.rs`.
#[test]
fn what_is_remembered_is_believed_but_not_with_full_nor_beside_a_given_pin() {
    let mut place = Place::of(Repository::demo());
    let bytes = message(&mut place.made, &["erin"]);
    slip_in(&place, CA, &bytes);
    place.run("exposure erin").ends(5);
    let kept = fs::read_to_string(place.remembered()).unwrap();
    let mut json: Value = serde_json::from_str(kept.split_once('\n').unwrap().1).unwrap();
    for commit in json["commits"].as_array_mut().unwrap() {
        commit[3] = serde_json::json!([]);
    }
    let lie = json.to_string();
    let lie = format!("{}\n{lie}", kluis::model::Digest::of(lie.as_bytes()));
    fs::write(place.remembered(), &lie).unwrap();
    place.run("exposure erin").ends(0);
    place.run(&format!("exposure erin --pin {}", place.line())).ends(5);
    assert_eq!(fs::read_to_string(place.remembered()).unwrap(), lie, "with a given pin it is not written either");
    place.run("exposure erin --full").ends(5);
    place.run("exposure erin").ends(5);
}

#[test]
fn other_commands_read_what_is_remembered_and_leave_it_as_it_is() {
    let place = Place::of(Repository::demo());
    place.run("exposure bob").ends(0);
    let kept = fs::read(place.remembered()).unwrap();
    place.git("commit -q --allow-empty -m more");
    let key = place.dir.path().join("nobody");
    place.run(&format!("person remove bob --reason left --identity {}", key.display()));
    assert_eq!(fs::read(place.remembered()).unwrap(), kept);
}
