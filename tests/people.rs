//! `init`, `person`, `trust` and `adopt`, run in process as people run them, each at a machine with pins of its own:
//! who is let in and how, what counts when, what is remembered, and what leaves no trace.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod gnupg;
mod ground;
mod seat;

use std::path::PathBuf;
use std::process::Command;

use ground::Ground;
use kluis::env::Terminal;
use kluis::model::{ClusterName, PersonName, Span};
use seat::*;
use serde_json::{Value, json};

const NEW: &str = "cluster new prod --endpoint https://api.prod.example.org:6443 --kubernetes 1.36 \
    --node cp-1=10.0.0.11:control-plane,etcd --node w-1=10.0.0.21:worker --yes";
const CA: &str = "clusters/prod/sealed/ca.kubernetes.g1.asc";

fn with_cluster(names: &[&str]) -> Ground {
    let ground = Ground::new(names, 1, 1);
    ground.run("alice", NEW).ends(0);
    ground
}

/// An empty repository, and the command that alice founds it by.
fn founding() -> (Ground, PathBuf, String) {
    let ground = Ground::new(&["alice"], 1, 1);
    let dir = empty_repository(&ground);
    let init = format!("init --as alice --pgp {}", certificate_file(&ground, "alice"));
    (ground, dir, init)
}

fn prod() -> ClusterName {
    ClusterName::parse("prod").unwrap()
}

/// How often each kind of change stands in a report.
fn count(data: &Value, what: &str) -> usize {
    data["changes"].as_array().unwrap().iter().filter(|change| change["what"] == what).count()
}

fn notes(data: &Value) -> String {
    data["notes"].to_string()
}

fn exists(ground: &Ground, path: &str) -> bool {
    ground.repo().join(path).exists()
}

/// A copy of the repository, as a colleague's checkout.
fn copy(ground: &Ground, name: &str) -> PathBuf {
    let path = ground.dir.path().join(name);
    assert!(Command::new("cp").arg("-a").arg(ground.repo()).arg(&path).status().unwrap().success());
    path
}

/// The last 24 digits of the genesis hash, as they are shown.
fn digits(ground: &Ground) -> String {
    let end = &ground.pin[ground.pin.len() - 24..];
    (0..24).step_by(4).map(|at| &end[at..at + 4]).collect::<Vec<_>>().join(" ")
}

// --- init -----------------------------------------------------------------------------------------------------------

#[test]
fn init_founds_a_repository_that_is_valid_and_pinned_here() {
    let (ground, dir, init) = founding();
    let alice = seat(&ground, "alice").in_dir(&dir);
    let founded = data(&alice.run(&format!("{init} -o json")).ends(0), "init");
    assert_eq!((&founded["person"], &founded["pinned"]), (&json!("alice"), &json!(true)));
    let pin = founded["pin"].as_str().unwrap();
    assert!(pin.starts_with("kluis-pin:") && pin.ends_with(founded["genesis"].as_str().unwrap()), "{pin}");
    let written = git(&dir, &["show", "--name-only", "--format=", "HEAD"]);
    let expected = [
        ".gitattributes",
        "pubkeys/alice.asc",
        "templates/cluster.toml",
        "trust/epoch/0001.alice.sig",
        "trust/epoch/0001.toml",
    ];
    assert_eq!(written.lines().collect::<Vec<_>>(), expected);
    assert_eq!(git(&dir, &["status", "--porcelain"]), "");
    assert_eq!(data(&alice.run("verify -o json").ends(0), "verify")["epoch"], 1);
    assert_eq!(data(&alice.run("trust pin -o json").ends(0), "trust pin")["pin"], pin);
    let rules = data(&alice.run("trust show -o json").ends(0), "trust show")["epoch"]["rules"].clone();
    assert_eq!((&rules["trust"], &rules["break_glass"], &rules["max_client"]), (&json!(1), &json!(1), &json!("90d")));
}

#[test]
fn init_keeps_what_is_there_and_adds_to_gitattributes() {
    let (ground, dir, init) = founding();
    let alice = seat(&ground, "alice").in_dir(&dir);
    std::fs::write(dir.join(".gitattributes"), "*.png binary\n").unwrap();
    std::fs::create_dir(dir.join("templates")).unwrap();
    std::fs::write(dir.join("templates/cluster.toml"), "# mine\n").unwrap();
    git(&dir, &["add", "-A"]);
    git(&dir, &["commit", "-qm", "before"]);
    alice.run(&init).ends(0).says("was left as it is");
    let attributes = std::fs::read_to_string(dir.join(".gitattributes")).unwrap();
    assert!(attributes.starts_with("*.png binary\n") && attributes.contains("-text"), "{attributes}");
    assert_eq!(std::fs::read_to_string(dir.join("templates/cluster.toml")).unwrap(), "# mine\n");
    assert_eq!(git(&dir, &["rev-list", "--count", "HEAD"]).trim(), "2");
}

#[test]
fn init_never_replaces_a_repository_nor_takes_over_files() {
    let (ground, dir, init) = founding();
    let alice = seat(&ground, "alice").in_dir(&dir);
    std::fs::create_dir_all(dir.join("clusters/old")).unwrap();
    std::fs::write(dir.join("clusters/old/notes"), "x").unwrap();
    alice.refused(&init, 3, &["clusters/old/notes"]);
    std::fs::remove_dir_all(dir.join("clusters")).unwrap();
    alice.run(&init).ends(0);
    alice.refused(&init, 3, &["there already"]);
    let below = dir.join("trust/epoch");
    seat(&ground, "alice").in_dir(&below).run(&init).ends(3);
}

#[test]
fn init_wants_a_name_and_the_key_of_its_certificate() {
    let (mut ground, dir, init) = founding();
    newcomer(&mut ground, "bob");
    let alice = seat(&ground, "alice").in_dir(&dir);
    alice.refused(&init.replace("--as alice ", ""), 2, &["--as NAME"]);
    alice.refused(&init.replace("--as alice", "--as kube-apiserver"), 2, &["kube-apiserver"]);
    seat(&ground, "bob").in_dir(&dir).refused(&init, 6, &["bob.key holds no signing key"]);
    alice.run(&init).ends(0);
}

#[test]
fn init_pins_nothing_where_the_anchor_was_given() {
    let (ground, dir, init) = founding();
    let alice = seat(&ground, "alice").in_dir(&dir);
    let founded = data(&alice.run(&format!("{init} -o json --pin {}", ground.pin)).ends(0), "init");
    assert_eq!(founded["pinned"], false);
    assert!(!ground.state("alice").exists());
    alice.run("verify").ends(4);
}

#[test]
fn init_leaves_the_commit_to_you_if_asked() {
    let (ground, dir, init) = founding();
    let alice = seat(&ground, "alice").in_dir(&dir);
    let founded = data(&alice.run(&format!("{init} --no-commit -o json")).ends(0), "init");
    assert_eq!(founded["commit"], Value::Null);
    let status = git(&dir, &["status", "--porcelain"]);
    assert!(status.lines().count() == 5 && status.lines().all(|line| line.starts_with("A ")), "{status}");
    alice.run("verify").ends(0);
}

// --- person ---------------------------------------------------------------------------------------------------------

#[test]
fn a_newcomer_is_drafted_signs_and_only_then_is_sealed_to() {
    let mut ground = with_cluster(&["alice"]);
    let pgp = newcomer(&mut ground, "bob");
    let (alice, sealed) = (seat(&ground, "alice").pinned(), ground.read(CA));
    let add = format!("person add bob --pgp {pgp} --role root --keyholder prod --issuer prod -o json");
    let drafted = data(&alice.run(&add).ends(0), "person add");
    assert_eq!(drafted["missing_signatures"], json!(["bob"]));
    assert_eq!((count(&drafted, "person-added"), count(&drafted, "granted")), (1, 3));
    assert!(ground.verified().is_only_unsigned_draft());
    // Nothing seals to him before the epoch counts.
    alice.refused("reseal", 3, &["lacks signatures", "kluis trust sign"]);
    let stage = NEW.replace("prod", "stage") + " --keyholder alice --keyholder bob";
    alice.refused(&stage, 3, &["bob is in the draft alone"]);
    let page = data(&alice.run("person show bob -o json").ends(0), "person show");
    assert_eq!((&page["latest"], &page["recipient_of"]), (&Value::Null, &Value::Null));
    assert_eq!(page["draft"]["role"], "root");
    // He pins before he signs; his signature is what was missing.
    let bob = seat(&ground, "bob").pinned();
    let signed = data(&bob.run("trust sign --yes -o json").ends(0), "trust sign");
    assert_eq!((&signed["signed_now"], &signed["missing_signatures"]), (&json!(true), &json!([])));
    assert_eq!((ground.errors(), ground.read(CA)), (Vec::new(), sealed));
    assert!(ground.owed().contains(&"missing-recipient".to_owned()));
    bob.run("open -c prod ca.etcd --yes").ends(6);
    alice.run("reseal").ends(0).says("now also to bob");
    bob.run("open -c prod ca.etcd --yes").ends(0);
    let page = data(&bob.run("person show bob -o json").ends(0), "person show");
    assert_eq!(page["recipient_of"].as_array().unwrap().len(), 7);
    assert_eq!((ground.errors(), ground.owed()), (Vec::new(), Vec::new()));
}

#[test]
fn a_member_may_ask_for_groups_and_has_no_vote() {
    let mut ground = with_cluster(&["alice"]);
    let pgp = newcomer(&mut ground, "erin");
    let alice = seat(&ground, "alice").pinned();
    alice.run(&format!("person add erin --pgp {pgp} --group prod=developers")).ends(0).says("member of developers");
    let erin = seat(&ground, "erin").pinned();
    erin.run("trust sign --yes").ends(0);
    let list = data(&erin.run("person list -o json").ends(0), "person list");
    assert_eq!(list["persons"][1]["name"], "erin");
    assert_eq!(list["persons"][1]["role"], "member");
    assert_eq!(list["persons"][1]["groups"], json!({"prod": ["developers"]}));
    erin.run("person list").ends(0).says("may ask for developers on prod");
    // A draft of hers lacks the root's signature, and one of others does not need hers.
    erin.run("trust set policy.max_client 30d").ends(0).says("would help: alice").says("neither root nor recovery");
    // Whoever goes on from it has looked at it and signed it.
    alice.refused("trust set policy.max_quiet 20d", 3, &["you have not signed what it changes"]);
    alice.run("trust sign --yes").ends(0).says("90d -> 30d").says("counts from now on");
    alice.run("trust set policy.max_client 20d").ends(0).says("counts from now on");
    assert_eq!(ground.errors(), [""; 0]);
}

/// Whoever gets a draft merged waits for a root who changes something small: nothing is signed that was not shown.
#[test]
fn a_draft_of_somebody_else_is_not_signed_unseen() {
    let mut ground = with_cluster(&["alice"]);
    let (mallory, carol) = (newcomer(&mut ground, "mallory"), newcomer(&mut ground, "carol"));
    let alice = seat(&ground, "alice").pinned();
    alice.run(&format!("person add mallory --pgp {mallory}")).ends(0);
    seat(&ground, "mallory").pinned().run("trust sign --yes").ends(0);
    // The member drafts that she becomes a root, and gets it merged.
    seat(&ground, "mallory").run("person update mallory --role root").ends(0);
    let says = &["epoch 4 is drafted already", "you have not signed what it changes"];
    alice.refused("trust set policy.max_quiet 20d", 3, says);
    alice.refused(&format!("person add carol --pgp {carol}"), 3, says);
    let new = "cluster new other --endpoint https://other.example.org --kubernetes 1.36 --yes";
    alice.refused(new, 3, says);
    assert!(!ground.verified().chain.draft().unwrap().signers.contains(&ground.person("alice").name));
    // What shows it says what it is.
    alice.run_on(Terminal::scripted([""; 0]), "trust sign").ends(130);
    alice.run("trust sign --dry-run").ends(0).says("WEAKER  mallory");
}

#[test]
fn a_signature_that_no_draft_needs_is_refused() {
    let mut ground = Ground::new(&["alice", "bob"], 2, 1);
    let pgp = newcomer(&mut ground, "erin");
    for name in ["alice", "bob", "erin"] {
        let one = seat(&ground, name).pinned();
        let words =
            if name == "alice" { format!("person add erin --pgp {pgp}") } else { "trust sign --yes".to_owned() };
        one.run(&words).ends(0);
    }
    seat(&ground, "alice").run("trust set policy.max_client 30d").ends(0);
    seat(&ground, "erin").refused("trust sign --yes", 3, &["erin is a member", "bob"]);
}

#[test]
fn a_draft_that_changes_loses_its_signatures_and_says_whose() {
    let mut ground = Ground::new(&["alice", "bob", "carol"], 3, 1);
    let pgp = newcomer(&mut ground, "dave");
    let (alice, bob) = (seat(&ground, "alice").pinned(), seat(&ground, "bob").pinned());
    alice.run("trust set policy.max_client 30d").ends(0);
    bob.run("trust sign --yes").ends(0).says("would help: carol");
    assert!(exists(&ground, "trust/epoch/0002.bob.sig"));
    let drafted = data(&alice.run(&format!("person add dave --pgp {pgp} -o json")).ends(0), "person add");
    assert_eq!((&drafted["epoch"], &drafted["missing_signatures"]), (&json!(2), &json!(["bob", "carol", "dave"])));
    assert!(notes(&drafted).contains("are gone: alice, bob"), "{drafted}");
    assert!(notes(&drafted).contains("you signed another draft of epoch 2 before"), "{drafted}");
    assert!(!exists(&ground, "trust/epoch/0002.bob.sig") && exists(&ground, "trust/epoch/0002.alice.sig"));
    let draft = ground.verified().chain.draft().unwrap().epoch.clone();
    assert_eq!(draft.reason, "set policy.max_client 30d; dave joins");
    assert_eq!(draft.policy.max_client.to_string(), "30d");
    // Bob signed the draft that is gone, and is told before he signs this one.
    let proposal = data(&bob.run("trust show -o json").ends(0), "trust show")["draft"].clone();
    assert_eq!(proposal["signed_before"].as_array().unwrap().len(), 1);
    bob.run("trust sign --yes").ends(0).says("You signed another draft of this number before");
    for name in ["carol", "dave"] {
        seat(&ground, name).pinned().run("trust sign --yes").ends(0);
    }
    assert_eq!(ground.errors(), [""; 0]);
}

#[test]
fn two_newcomers_share_a_draft() {
    let mut ground = Ground::new(&["alice"], 1, 1);
    let (bobs, carols) = (newcomer(&mut ground, "bob"), newcomer(&mut ground, "carol"));
    let alice = seat(&ground, "alice").pinned();
    alice.run(&format!("person add bob --pgp {bobs}")).ends(0).says("would help: bob");
    alice.run(&format!("person add carol --pgp {carols}")).ends(0).says("would help: bob, carol");
    let bob = seat(&ground, "bob").pinned();
    bob.run("trust sign --yes").ends(0).says("would help: carol");
    alice.run("person update carol --role root").ends(0).says("would help: bob, carol");
    bob.run("trust sign --yes").ends(0);
    seat(&ground, "carol").pinned().run("trust sign --yes").ends(0).says("counts from now on");
    assert_eq!(ground.errors(), [""; 0]);
    assert_eq!(ground.verified().chain.latest().unwrap().epoch.persons.len(), 3);
}

#[test]
fn a_new_key_is_signed_for_with_the_old_one_too() {
    let mut ground = Ground::new(&["alice", "bob"], 2, 1);
    let pgp = newcomer(&mut ground, "bob-new");
    let update = format!("person update bob --pgp {pgp}");
    let (alice, bob) = (seat(&ground, "alice").pinned(), seat(&ground, "bob").pinned());
    let anew = seat(&ground, "bob").with_keys(&ground.person("bob-new").key);
    let old = ground.read("pubkeys/bob.asc");
    anew.refused(&update, 6, &["no signing key that the epoch lists"]);
    let drafted = data(&bob.run(&format!("{update} -o json")).ends(0), "person update");
    assert_eq!((count(&drafted, "rekeyed"), &drafted["missing_signatures"]), (1, &json!(["alice", "bob"])));
    assert!(notes(&drafted).contains("your new key did not sign"), "{drafted}");
    assert!(exists(&ground, "trust/epoch/0002.bob+old.sig") && !exists(&ground, "trust/epoch/0002.bob.sig"));
    let signed = data(&anew.run("trust sign --yes -o json").ends(0), "trust sign");
    assert_eq!(signed["missing_signatures"], json!(["alice"]));
    assert!(exists(&ground, "trust/epoch/0002.bob+old.sig") && exists(&ground, "trust/epoch/0002.bob.sig"));
    alice.run("trust sign --yes").ends(0).says("counts from now on");
    assert_eq!(ground.errors(), [""; 0]);
    // What epoch 1 pins stays, so that its signatures can be checked for ever.
    let kept = ground.git("ls-files pubkeys/old");
    assert_eq!(ground.read(kept.trim()), old);
    let shown = data(&alice.run("trust show -o json").ends(0), "trust show");
    let former = &shown["epoch"]["former"][0];
    assert_eq!((&former["person"], &former["reason"]), (&json!("bob"), &json!("replaced")));
    bob.run("person list").ends(0);
    bob.refused("trust set policy.max_quiet 60d", 6, &["bob.key"]);
    anew.run("trust set policy.max_quiet 60d").ends(0);
}

#[test]
fn the_new_key_may_sign_first_and_the_old_one_after_it() {
    let mut ground = Ground::new(&["alice", "bob"], 2, 1);
    let pgp = newcomer(&mut ground, "bob-new");
    let (alice, bob) = (seat(&ground, "alice").pinned(), seat(&ground, "bob").pinned());
    let anew = seat(&ground, "bob").with_keys(&ground.person("bob-new").key);
    alice.run(&format!("person update bob --pgp {pgp}")).ends(0);
    anew.run("trust sign --yes").ends(0).says("would help: bob");
    assert!(!exists(&ground, "trust/epoch/0002.bob+old.sig"));
    bob.run("trust sign --yes").ends(0).says("counts from now on");
    assert!(exists(&ground, "trust/epoch/0002.bob+old.sig") && exists(&ground, "trust/epoch/0002.bob.sig"));
    assert_eq!(ground.errors(), [""; 0]);
}

#[test]
fn who_has_both_keys_at_hand_signs_with_both_at_once() {
    let mut ground = Ground::new(&["alice", "bob"], 2, 1);
    let pgp = newcomer(&mut ground, "bob-new");
    let both = ground.dir.path().join("both.key");
    let keys = ["bob", "bob-new"].map(|name| std::fs::read(&ground.person(name).key).unwrap());
    std::fs::write(&both, keys.concat()).unwrap();
    let bob = seat(&ground, "bob").pinned().with_keys(&both);
    bob.run(&format!("person update bob --pgp {pgp}")).ends(0).says("would help: alice");
    assert!(exists(&ground, "trust/epoch/0002.bob+old.sig") && exists(&ground, "trust/epoch/0002.bob.sig"));
    seat(&ground, "alice").pinned().run("trust sign --yes").ends(0);
    assert_eq!(ground.errors(), [""; 0]);
}

#[test]
fn a_compromised_certificate_never_comes_back() {
    let mut ground = Ground::new(&["alice", "bob"], 1, 1);
    let pgp = newcomer(&mut ground, "bob-new");
    let old = certificate_file(&ground, "bob");
    let alice = seat(&ground, "alice").pinned();
    let lost = format!("person update bob --former-reason compromised --pgp {pgp} -o json");
    let drafted = data(&alice.run(&lost).ends(0), "person update");
    assert!(notes(&drafted).contains("bob's former key still counts towards epoch 2"), "{drafted}");
    let anew = seat(&ground, "bob").with_keys(&ground.person("bob-new").key).pinned();
    anew.run("trust sign --yes").ends(0);
    alice.run("verify").ends(0);
    alice.refused(&format!("person add robert --pgp {old}"), 3, &["called compromised in epoch 2"]);
    alice.refused(&format!("person update bob --pgp {old}"), 3, &["called compromised in epoch 2"]);
    let page = data(&alice.run("person show bob -o json").ends(0), "person show");
    assert_eq!(page["former"][0]["reason"], "compromised");
}

#[test]
fn a_renewed_expiry_counts_at_once() {
    let mut ground = Ground::at(kluis::env::now().minus(Span::days(1)), &["alice"], 1, 1);
    let page = seat(&ground, "alice").pinned().run("person show alice -o json").ends(0);
    let before = data(&page, "person show");
    let home = gnupg::Home::new();
    home.gpg(&["--import", ground.person("alice").key.to_str().unwrap()]);
    let print = ground.person("alice").certificate.fingerprint().to_string();
    home.gpg(&["--quick-set-expire", &print, "5y"]);
    home.gpg(&["--quick-set-expire", &print, "5y", "*"]);
    let renewed = home.export("--export", &[&print]);
    ground.now = kluis::env::now();
    let alice = seat(&ground, "alice");
    let drafted = data(&alice.run(&format!("person update alice --pgp {renewed} -o json")).ends(0), "person update");
    assert_eq!((count(&drafted, "refreshed"), &drafted["missing_signatures"]), (1, &json!([])));
    let after = data(&alice.run("person show alice -o json").ends(0), "person show");
    let expiry = |page: &Value| page["latest"]["keys"][0]["expires"].as_str().unwrap().to_owned();
    assert!(expiry(&after) > expiry(&before), "{before:#}{after:#}");
    assert_eq!(after["former"], json!([]));
    assert_eq!(ground.errors(), [""; 0]);
}

#[test]
fn parts_are_granted_and_taken_back() {
    let ground = with_cluster(&["alice", "bob"]);
    let alice = seat(&ground, "alice").pinned();
    alice.run("person update bob --keyholder prod --issuer prod --group prod=developers").ends(0);
    let of_bob = || {
        let list = data(&alice.run("person list -o json").ends(0), "person list");
        (
            list["persons"][1]["keyholder"].clone(),
            list["persons"][1]["issuer"].clone(),
            list["persons"][1]["groups"].clone(),
        )
    };
    let groups = json!({"prod": ["developers", "kluis:admins"]});
    assert_eq!(of_bob(), (json!(["prod"]), json!(["prod"]), groups));
    let taken = alice.run("person update bob --no-issuer prod --no-keyholder prod -o json").ends(0);
    assert_eq!(count(&data(&taken, "person update"), "withdrawn"), 3);
    assert_eq!(of_bob(), (json!([]), json!([]), json!({"prod": ["developers"]})));
    assert_eq!(ground.errors(), [""; 0]);
}

#[test]
fn what_changes_nothing_writes_nothing() {
    let ground = with_cluster(&["alice"]);
    let alice = seat(&ground, "alice").pinned();
    let before = Picture::of(&ground.repo(), &ground);
    alice.run("person update alice --keyholder prod --role root").ends(0).says("Nothing changes");
    alice.run("trust set threshold.trust 1").ends(0).says("Nothing changes");
    alice.run("trust sign").ends(0).says("No draft waits");
    alice.run("reseal").ends(0).says("nothing to do");
    before.assert_same();
}

#[test]
fn people_are_changed_only_as_makes_sense() {
    let mut ground = with_cluster(&["alice", "bob"]);
    let carol = newcomer(&mut ground, "carol");
    let alice = seat(&ground, "alice").pinned();
    let bob = certificate_file(&ground, "bob");
    for (words, exit, says) in [
        (format!("person add bob --pgp {carol}"), 2, "bob is a person already"),
        (format!("person add carol --pgp {carol} --keyholder stage"), 2, "no cluster stage"),
        (format!("person add carol --pgp {carol} --group prod=system:masters"), 2, "system:masters"),
        (format!("person add carol --pgp {carol} --group developers"), 2, "prod=developers"),
        (format!("person add carol --pgp {carol} --role king"), 2, "king"),
        (format!("person add carol --pgp {carol} --role recovery --keyholder prod"), 2, "recovery person"),
        (format!("person update carol --pgp {carol}"), 2, "no person carol"),
        ("person update bob".to_owned(), 2, "say what changes"),
        ("person update bob --keyholder prod --no-keyholder prod".to_owned(), 2, "given and taken back"),
        ("person update bob --role member --former-reason lost".to_owned(), 2, "keeps the same certificate"),
        (format!("person update bob --pgp {bob} --former-reason left"), 2, "replaced, compromised or lost"),
        ("person update alice --role recovery".to_owned(), 2, "alice has a part in cluster prod"),
        ("person update alice --no-keyholder prod".to_owned(), 3, "no keyholder"),
        ("person show carol".to_owned(), 2, "no person carol"),
    ] {
        alice.refused(&words, exit, &[says]);
    }
    let alone = with_cluster(&["alice"]);
    let alice = seat(&alone, "alice").pinned();
    alice.refused("person update alice --role member", 3, &["threshold.trust is 1", "only 0"]);
}

#[test]
fn a_name_that_left_comes_back_with_the_same_certificate_alone() {
    let mut ground = Ground::new(&["alice", "bob"], 1, 1);
    let other = newcomer(&mut ground, "robert");
    let own = certificate_file(&ground, "bob");
    let alice = seat(&ground, "alice").pinned();
    ground.epoch(&["alice"], |epoch| {
        let bob = PersonName::parse("bob").unwrap();
        let person = epoch.persons.remove(&bob).unwrap();
        let (reason, number) = (kluis::trust::FormerReason::Left, epoch.number);
        epoch.former.push(kluis::trust::Former { person: bob, cert: person.cert, epoch: number, reason });
    });
    // The file of who left is kept for old signatures alone.
    let bytes = ground.read("pubkeys/bob.asc");
    let name = format!("pubkeys/old/{}.asc", kluis::model::Digest::of(bytes.as_bytes()).h16());
    std::fs::create_dir_all(ground.repo().join("pubkeys/old")).unwrap();
    ground.git(&format!("mv pubkeys/bob.asc {name}"));
    ground.git("commit -qm moved");
    alice.run("verify").ends(0);
    alice.refused(&format!("person add bob --pgp {other}"), 3, &["bob left with epoch 2", "same one"]);
    alice.run(&format!("person add bob --pgp {own}")).ends(0).says("would help: bob");
    seat(&ground, "bob").pinned().run("trust sign --yes").ends(0);
    assert_eq!(ground.errors(), [""; 0]);
}

// --- trust ----------------------------------------------------------------------------------------------------------

#[test]
fn a_higher_threshold_wants_as_many_signatures_already() {
    let ground = Ground::new(&["alice", "bob"], 1, 1);
    let (alice, bob) = (seat(&ground, "alice").pinned(), seat(&ground, "bob").pinned());
    let drafted = data(&alice.run("trust set threshold.trust 2 -o json").ends(0), "trust set");
    assert_eq!((count(&drafted, "threshold-trust"), &drafted["missing_signatures"]), (1, &json!(["bob"])));
    let report = alice.run("verify -o json").ends(3).json();
    assert!(codes(&report).contains(&"new-threshold"), "{report:#}");
    bob.run("trust sign --yes").ends(0);
    assert_eq!(ground.errors(), [""; 0]);
    // Lowering it again takes both, and is marked.
    alice.run("trust set threshold.trust 1").ends(0).says("WEAKER").says("would help: bob");
    let report = alice.run("verify -o json").ends(3).json();
    assert!(codes(&report).contains(&"threshold"), "{report:#}");
}

#[test]
fn limits_are_set_together_and_only_to_what_they_can_be() {
    let ground = Ground::new(&["alice", "bob"], 1, 1);
    let alice = seat(&ground, "alice").pinned();
    let words = "trust set threshold.break_glass 2 policy.max_client 30d policy.max_break_glass 4h expires 100d";
    let drafted = data(&alice.run(&format!("{words} -o json")).ends(0), "trust set");
    assert_eq!((count(&drafted, "policy"), count(&drafted, "expires")), (2, 1));
    let epoch = data(&alice.run("trust show -o json").ends(0), "trust show")["epoch"].clone();
    assert_eq!((&epoch["rules"]["break_glass"], &epoch["rules"]["max_break_glass"]), (&json!(2), &json!("4h")));
    assert_eq!(epoch["expires"], "2027-03-04T12:00:00Z");
    for (words, exit, says) in [
        ("threshold.trust 3", 3, "only 2 of its people"),
        ("threshold.break_glass 9", 3, "only 2 of its people"),
        ("threshold.trust 0", 2, "at least 1"),
        ("threshold.trust many", 2, "many"),
        ("policy.max_client 90", 2, "policy.max_client"),
        ("threshold.trust 2 threshold.trust 1", 2, "set twice"),
        ("threshold.trust 2 expires", 2, "expires"),
        ("color red", 2, "color"),
    ] {
        alice.refused(&format!("trust set {words}"), exit, &[says]);
    }
}

#[test]
fn epochs_and_their_differences_are_shown() {
    let ground = Ground::new(&["alice", "bob"], 1, 1);
    let alice = seat(&ground, "alice").pinned();
    alice.run("trust set policy.max_client 30d").ends(0);
    let shown = data(&alice.run("trust show 1 -o json").ends(0), "trust show");
    assert_eq!((&shown["epoch"]["state"], &shown["draft"]), (&json!("earlier"), &Value::Null));
    assert_eq!(shown["epoch"]["signed"], json!(["alice", "bob"]));
    let shown = data(&alice.run("trust show 2 --from 1 -o json").ends(0), "trust show");
    assert_eq!((&shown["from"], count(&shown, "policy")), (&json!(1), 1));
    alice.run("trust show --from 1").ends(0).says("policy.max_client 90d -> 30d");
    alice.refused("trust show 3", 2, &["no epoch 3", "2"]);
    alice.run("trust set threshold.trust 2").ends(0);
    let shown = data(&alice.run("trust show -o json").ends(0), "trust show");
    assert_eq!((&shown["epoch"]["number"], &shown["draft"]["missing"]), (&json!(2), &json!(["bob"])));
    alice.run("trust show 3").ends(0).says("epoch 3 (draft)").says("missing  bob");
}

#[test]
fn trust_sign_shows_and_asks_and_no_means_no() {
    let ground = Ground::new(&["alice", "bob"], 2, 1);
    let (alice, bob) = (seat(&ground, "alice").pinned(), seat(&ground, "bob").pinned());
    alice.run("trust set policy.max_client 30d").ends(0);
    bob.refused("trust sign", 2, &["--yes"]);
    let before = Picture::of(&ground.repo(), &ground);
    bob.run_on(Terminal::scripted(["n"]), "trust sign").ends(130);
    bob.run_on(Terminal::scripted([""; 0]), "trust sign").ends(130);
    bob.run("trust sign --dry-run").ends(0).says("90d -> 30d").says("would be signed by bob");
    before.assert_same();
    bob.run_on(Terminal::scripted(["y"]), "trust sign").ends(0).says("is signed by bob");
    assert_eq!(ground.errors(), [""; 0]);
    bob.run("trust sign").ends(0).says("No draft waits");
    alice.run("trust set policy.max_client 20d").ends(0);
    let again = data(&alice.run("trust sign -o json").ends(0), "trust sign");
    assert_eq!((&again["signed_now"], &again["missing_signatures"]), (&json!(false), &json!(["bob"])));
}

/// T3: bob's machine remembers which epoch of a number it saw valid, even where its pin was replaced.
#[test]
fn a_second_epoch_of_a_number_that_was_seen_valid_is_not_signed() {
    let ground = Ground::new(&["alice", "bob"], 2, 1);
    let (alice, bob) = (seat(&ground, "alice").pinned(), seat(&ground, "bob").pinned());
    alice.run("trust set policy.max_client 30d").ends(0);
    bob.run("trust sign --yes").ends(0).says("counts from now on");
    // The repository is set back, and another draft of epoch 2 put in its place.
    ground.git("reset -q --hard HEAD~2");
    ground.epoch(&["alice"], |epoch| epoch.threshold.break_glass = 2);
    assert!(ground.verified().is_only_unsigned_draft());
    let report = bob.refused("trust sign --yes", 4, &[]);
    assert!(codes(&report).contains(&"fork"), "{report:#}");
    bob.refused(&format!("trust pin {}", ground.pin), 4, &["--replace"]);
    bob.run(&format!("trust pin {} --replace", ground.pin)).ends(0).says("replaced its pin");
    bob.refused("trust sign --yes", 4, &["epoch 2 was seen valid here as"]);
    bob.refused("trust set policy.max_quiet 60d", 4, &["would fork the chain"]);
}

#[test]
fn the_first_use_on_a_terminal_asks_for_what_came_over_another_channel() {
    let ground = Ground::new(&["alice", "bob"], 1, 1);
    let shown = digits(&ground);
    for answer in ["y", "", "0000 1111 2222 3333 4444 5555", &shown[..20]] {
        let report = seat(&ground, "bob").run_on(Terminal::scripted([answer]), "person list -o json").ends(4);
        refusal(&report, 4, &["unpinned"]);
    }
    let bob = seat(&ground, "bob");
    bob.run_on(Terminal::scripted([""; 0]), "person list --yes").ends(4);
    assert!(!ground.state("bob").exists());
    let report = bob.refused("person list --yes", 4, &["not known to be the right one"]);
    assert_eq!(codes(&report), ["unpinned"]);
    for (name, answer) in [("bob", shown.as_str()), ("alice", &ground.pin)] {
        seat(&ground, name).run_on(Terminal::scripted([answer]), "person list").ends(0).says("epoch 1");
        seat(&ground, name).run("verify").ends(0);
    }
}

#[test]
fn a_newcomer_pins_a_repository_whose_draft_waits_for_them() {
    let mut ground = Ground::new(&["alice"], 1, 1);
    let pgp = newcomer(&mut ground, "bob");
    seat(&ground, "alice").pinned().run(&format!("person add bob --pgp {pgp}")).ends(0);
    let bob = seat(&ground, "bob");
    bob.run_on(Terminal::scripted([digits(&ground).as_str(), "y"]), "trust sign").ends(0).says("is signed by bob");
    assert_eq!(ground.errors(), [""; 0]);
}

#[test]
fn another_repository_in_a_known_place_is_no_first_use() {
    let (ground, dir, init) = founding();
    let alice = seat(&ground, "alice").pinned();
    seat(&ground, "alice").in_dir(&dir).run(&format!("{init} --pin {}", ground.pin)).ends(0);
    std::fs::rename(ground.repo(), ground.dir.path().join("away")).unwrap();
    std::fs::rename(&dir, ground.repo()).unwrap();
    let before = Picture::of(&ground.repo(), &ground);
    for command in ["person list", "verify", "trust set policy.max_client 30d"] {
        let said = alice.run_on(Terminal::scripted(["y"; 3]), &format!("{command} -o json")).ends(4);
        assert!(codes(&said.json()).contains(&"genesis-mismatch"), "{command}");
    }
    before.assert_same();
}

#[test]
fn a_known_remote_is_remembered_without_its_password() {
    let (ground, dir, init) = founding();
    ground.git("remote add origin https://alice:hunter2@git.example.org/pki");
    let alice = seat(&ground, "alice").pinned();
    alice.run("person list").ends(0);
    let pins = std::fs::read_to_string(ground.state("alice").join("pins.toml")).unwrap();
    assert!(pins.contains("git.example.org/pki") && !pins.contains("hunter2"), "{pins}");
    // Another repository behind the same address, in a new folder.
    let stranger = seat(&ground, "alice").in_dir(&dir);
    stranger.run(&format!("{init} --pin {}", ground.pin)).ends(0);
    git(&dir, &["remote", "add", "origin", "https://git.example.org/pki"]);
    let said = stranger.run_on(Terminal::scripted(["y"]), "person list -o json").ends(4);
    assert_eq!(codes(&said.json()), ["genesis-mismatch"]);
}

#[test]
fn trust_pin_prints_the_line_and_says_when_nothing_vouches_for_it() {
    let mut ground = with_cluster(&["alice"]);
    newcomer(&mut ground, "carol");
    let alice = seat(&ground, "alice");
    let report = alice.run("trust pin -o json").ends(4).json();
    assert_eq!((codes(&report), &report["data"]["pinned"]), (vec!["unpinned"], &json!(false)));
    let unpinned = alice.run("trust pin").ends(4);
    assert!(unpinned.out.starts_with("kluis-pin:") && unpinned.out.lines().count() == 1, "{}", unpinned.out);
    let alice = alice.pinned();
    let line = alice.run("trust pin").ends(0).out;
    assert_eq!(line, unpinned.out);
    // The line serves a colleague, and CI, without any state.
    seat(&ground, "carol").run(&format!("verify --pin {}", line.trim())).ends(0);
    assert!(!ground.state("carol").exists());
}

#[test]
fn trust_pin_takes_a_line_that_the_tree_agrees_with_alone() {
    let mut ground = Ground::new(&["alice"], 1, 1);
    let pgp = newcomer(&mut ground, "bob");
    let alice = seat(&ground, "alice");
    alice.refused("trust pin kluis-pin:abc", 2, &["kluis-pin:REPO:EPOCH:HASH"]);
    let other = "0".repeat(64);
    let (repo, hash) = ground.pin["kluis-pin:".len()..].split_once(":1:").unwrap();
    for (line, code) in [
        (format!("kluis-pin:{other}:1:{hash}"), "genesis-mismatch"),
        (format!("kluis-pin:{repo}:1:{other}"), "genesis-mismatch"),
        (format!("kluis-pin:{repo}:2:{other}"), "rollback"),
        (format!("{}:{other}", ground.pin), "head-missing"),
    ] {
        let report = alice.refused(&format!("trust pin {line}"), 4, &[]);
        assert_eq!(codes(&report), [code], "{line}");
    }
    alice.refused(&format!("trust pin {0} --pin {0}", ground.pin), 2, &["KLUIS_PIN"]);
    let dry = data(&alice.run(&format!("trust pin {} --dry-run -o json", ground.pin)).ends(0), "trust pin");
    assert_eq!((&dry["written"], ground.state("alice").exists()), (&json!(false), false));
    let set = data(&alice.run(&format!("trust pin {} -o json", ground.pin)).ends(0), "trust pin");
    assert_eq!((&set["written"], &set["was_pinned"]), (&json!(true), &json!(false)));
    alice.run(&format!("trust pin {}", ground.pin)).ends(0).says("agrees");
    // Beside a draft the highest valid epoch is pinned; an invalid tree is not.
    alice.run(&format!("person add bob --pgp {pgp}")).ends(0);
    let bob = seat(&ground, "bob").pinned();
    let line = data(&bob.run("trust pin -o json").ends(0), "trust pin");
    assert_eq!(line["pin"], ground.pin);
    ground.edit("trust/epoch/0001.toml", |text| text.replace("founded", "funded"));
    let report = seat(&ground, "bob").run(&format!("trust pin {} -o json", ground.pin)).ends(3);
    refusal(&report, 3, &["0001.alice.sig", "bad-signature"]);
}

#[test]
fn trust_compare_tells_how_two_checkouts_stand() {
    let ground = with_cluster(&["alice"]);
    let there = copy(&ground, "there");
    let (here, other) = (seat(&ground, "alice"), seat(&ground, "alice").in_dir(&there));
    let compare = format!("trust compare {} -o json", there.display());
    let relation = |answered: ground::Answered| data(&answered, "trust compare")["relation"].clone();
    assert_eq!(relation(here.run(&compare).ends(0)), "same");
    ground.run("alice", "cert issue --node w-1").ends(0);
    assert_eq!(relation(here.run(&compare).ends(0)), "ahead");
    assert_eq!(relation(other.run(&format!("trust compare {} -o json", ground.repo().display())).ends(0)), "behind");
    other.run(&format!("cert issue --node cp-1 --pin {}", ground.pin)).ends(0);
    assert_eq!(relation(here.run(&compare).ends(0)), "diverged");
    let draft = "trust set policy.max_client";
    here.run(&format!("{draft} 30d --pin {}", ground.pin)).ends(0);
    other.run(&format!("{draft} 20d --pin {}", ground.pin)).ends(0);
    let forked = here.run(&compare).ends(4);
    assert_eq!(codes(&forked.json()), ["fork"]);
    let fork = data(&forked, "trust compare")["fork"].clone();
    assert_eq!((&fork["epoch"], &fork["there_signed"]), (&json!(3), &json!(["alice"])));
    assert!(!ground.state("alice").exists(), "comparing needs no pin, and makes none");
    std::fs::write(there.join("clusters/prod/cluster.toml"), "x").unwrap();
    here.refused(&compare.replace(" -o json", ""), 3, &["the other checkout is invalid", "config-hash"]);
    here.refused("trust compare /nowhere/at/all", 2, &["/nowhere/at/all"]);
}

#[test]
fn trust_compare_takes_a_line_too() {
    let (ground, dir, init) = founding();
    let alice = seat(&ground, "alice").pinned();
    let compare =
        |line: &str, exit| data(&alice.run(&format!("trust compare {line} -o json")).ends(exit), "trust compare");
    assert_eq!(compare(&ground.pin, 0)["relation"], "same");
    let at_first = copy(&ground, "there");
    alice.run("trust set policy.max_client 30d").ends(0);
    assert_eq!(compare(&ground.pin, 0)["relation"], "ahead");
    let line = data(&alice.run("trust pin -o json").ends(0), "trust pin")["pin"].as_str().unwrap().to_owned();
    let behind = seat(&ground, "alice").in_dir(&at_first).run(&format!("trust compare {line}"));
    behind.ends(0).says("behind: the other has more");
    let forged = format!("{}:2:{}", line.split_once(":2:").unwrap().0, "0".repeat(64));
    assert_eq!(compare(&forged, 4)["relation"], "fork");
    let founded = seat(&ground, "alice").in_dir(&dir).run(&format!("{init} -o json"));
    let stranger = data(&founded, "init")["pin"].as_str().unwrap().to_owned();
    assert_eq!(compare(&stranger, 4)["relation"], "other-repository");
    alice.refused("trust compare kluis-pin:abc", 2, &["kluis-pin:REPO:EPOCH:HASH"]);
}

#[test]
fn drafts_that_differ_are_seen_before_more_people_sign() {
    let ground = Ground::new(&["alice", "bob"], 2, 1);
    let there = copy(&ground, "there");
    seat(&ground, "alice").pinned().run("trust set policy.max_client 30d").ends(0);
    seat(&ground, "bob").in_dir(&there).pinned().run("trust set policy.max_client 20d").ends(0);
    let compared = seat(&ground, "alice").run(&format!("trust compare {}", there.display())).ends(0);
    compared.says("the drafts of the next epoch differ");
}

// --- adopt ----------------------------------------------------------------------------------------------------------

/// Bob issued on a branch, and stopped being an issuer on the other; both were merged. Returns the record's hash.
fn with_void_record() -> (Ground, String) {
    let ground = with_cluster(&["alice", "bob"]);
    let bob = PersonName::parse("bob").unwrap();
    ground.epoch(&["alice"], |epoch| {
        let cluster = epoch.clusters.get_mut(&prod()).unwrap();
        cluster.keyholders.insert(bob.clone());
        cluster.issuers.insert(bob.clone());
    });
    ground.run("alice", "reseal").ends(0);
    let _ = [seat(&ground, "alice").pinned(), seat(&ground, "bob").pinned()];
    ground.git("checkout -q -b other");
    let issued = ground.run("bob", "cert issue --node w-1 -o json").ends(0).json();
    ground.git("checkout -q main");
    ground.epoch(&["alice"], |epoch| {
        epoch.clusters.get_mut(&prod()).unwrap().issuers.remove(&bob);
    });
    ground.git("merge -q --no-edit other");
    (ground, issued["data"]["record"].as_str().unwrap().to_owned())
}

#[test]
fn a_record_that_no_epoch_allows_any_more_is_adopted_by_who_may() {
    let (ground, record) = with_void_record();
    let errors = ground.errors();
    assert!(errors.iter().any(|error| error.starts_with("unclosed-old-epoch")), "{errors:?}");
    let (alice, bob) = (seat(&ground, "alice"), seat(&ground, "bob"));
    alice.refused("reseal", 3, &["unclosed-old-epoch", "kluis adopt"]);
    let adopt = format!("adopt {record} --reason he~was~still~an~issuer");
    bob.refused(&adopt, 3, &["not-allowed"]);
    let dry = data(&alice.run(&format!("{adopt} --dry-run -o json")).ends(0), "adopt");
    assert_eq!((&dry["dry_run"], &dry["adopted"][0]["actor"]), (&json!(true), &json!("bob")));
    let adopted = data(&alice.run(&format!("adopt {} --reason fine -o json", &record[..8])).ends(0), "adopt");
    assert_eq!(adopted["adopted"][0]["code"], "unclosed-old-epoch");
    assert!(adopted["adopted"][0]["paths"].to_string().contains("w-1/kubelet-client.crt"), "{adopted:#}");
    assert_eq!(ground.errors(), [""; 0]);
    assert_eq!(ground.verified().log.records.last().unwrap().record.reason, "fine");
    alice.refused(&adopt, 2, &["counts: there is nothing to adopt"]);
}

#[test]
fn what_can_not_be_adopted_says_why() {
    let (ground, record) = with_void_record();
    let alice = seat(&ground, "alice");
    for (words, says) in [
        (format!("adopt {} --reason fine", &record[..3]), "at least its first 4 digits"),
        ("adopt ../x --reason fine".to_owned(), "../x"),
        (format!("adopt {} --reason fine", "0".repeat(16)), "there is no record"),
        (format!("adopt {record} --reason ~"), "--reason"),
        (format!("adopt {record}"), "--reason"),
        (format!("adopt {record} --reason {}", "x".repeat(501)), "500 bytes"),
    ] {
        alice.refused(&words, 2, &[says]);
    }
    // A tree with other faults is not for adopting.
    let path = "clusters/prod/ca/etcd.g1.crt";
    ground.edit(path, |text| text.replace('A', "B"));
    alice.refused(&format!("adopt {record} --reason fine"), 3, &[path]);
}

// --- all of them ----------------------------------------------------------------------------------------------------

#[test]
fn a_dry_run_writes_nothing_and_says_what_it_would() {
    let mut ground = Ground::new(&["alice", "bob"], 2, 1);
    let pgp = newcomer(&mut ground, "carol");
    let dir = empty_repository(&ground);
    let (alice, bob) = (seat(&ground, "alice").pinned(), seat(&ground, "bob").pinned());
    let dry = |one: &Seat<'_>, words: &str, command: &str| {
        let before = Picture::of(&ground.repo(), &ground);
        let data = data(&one.run(&format!("{words} --dry-run -o json")).ends(0), command);
        before.assert_same();
        assert_eq!((&data["dry_run"], &data["commit"]), (&json!(true), &Value::Null), "{words}");
        data["paths"].to_string()
    };
    assert!(dry(&alice, &format!("person add carol --pgp {pgp}"), "person add").contains("pubkeys/carol.asc"));
    assert!(dry(&alice, "person update bob --role recovery", "person update").contains("trust/epoch/0002.toml"));
    assert!(dry(&alice, "trust set policy.max_client 30d", "trust set").contains("trust/epoch/0002.toml"));
    alice.run("trust set policy.max_client 30d").ends(0);
    dry(&bob, "trust sign", "trust sign");
    let init = format!("init --as alice --pgp {}", certificate_file(&ground, "alice"));
    let before = Picture::of(&dir, &ground);
    assert!(dry(&seat(&ground, "alice").in_dir(&dir), &init, "init").contains("trust/epoch/0001.alice.sig"));
    before.assert_same();
}

#[test]
fn nothing_that_signs_takes_another_time() {
    let mut ground = Ground::new(&["alice"], 1, 1);
    let pgp = newcomer(&mut ground, "bob");
    let alice = seat(&ground, "alice").pinned();
    for words in [
        &format!("init --as bob --pgp {pgp}"),
        &format!("person add bob --pgp {pgp}"),
        "person update alice --role root",
        "trust set threshold.trust 1",
        "trust sign",
        &format!("trust pin {}", ground.pin),
        "adopt abcd --reason x",
    ] {
        alice.refused(&format!("{words} --at 2026-11-24T12:00:00Z"), 2, &["--at"]);
    }
    alice.run("person list --at 2026-11-24T12:00:00Z").ends(0);
    alice.run("trust show --at 2026-11-24T12:00:00Z").ends(0);
}
