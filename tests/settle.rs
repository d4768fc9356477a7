//! Two branches that stepped one rotation apart and were merged: what git does not see and `verify` does, one record settles.
//! After each settlement the tree is valid, every node's leaf is of the generation that issues, and the next step works.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod ground;
mod seat;

use ground::Ground;
use kluis::model::{Keyset, Place, SealedName, State};
use kluis::trust::current::Vouch;
use kluis::trust::{keyset_of, phases};
use proptest::prelude::*;
use seat::*;
use serde_json::Value;

const NEW: &str = "cluster new prod --endpoint https://api.prod.example.org:6443 --kubernetes 1.36 \
    --node cp-1=10.0.0.11:control-plane,etcd --node w-1=10.0.0.21:worker --yes";
const ALL: &str =
    "--confirm nodes-have-leaves --confirm clients-moved --confirm tokens-renewed --confirm secrets-rewritten";

fn with_cluster() -> Ground {
    let ground = Ground::new(&["alice", "bob"], 1, 1);
    ground.git("branch -M main");
    ground.git("config user.name t");
    ground.git("config user.email t@t");
    ground.run("alice", NEW).ends(0);
    ground.run("alice", "person update bob --keyholder prod --issuer prod").ends(0);
    ground.run("alice", "reseal").ends(0);
    ground
}

#[track_caller]
fn runs(ground: &Ground, who: &str, lines: &[&str]) {
    for line in lines {
        ground.run(who, &format!("{line} -c prod --yes")).ends(0);
    }
}

/// A cluster in which `before` was done, and then apart what alice did on main and what bob did on another branch; merged,
/// and where git asks, with the files of one of the two.
#[track_caller]
fn apart(before: &[&str], alice: &[&str], bob: &[&str], keep: &str) -> Ground {
    let ground = with_cluster();
    runs(&ground, "alice", before);
    ground.git("branch other");
    runs(&ground, "alice", alice);
    ground.git("checkout -q other");
    runs(&ground, "bob", bob);
    ground.git("checkout -q main");
    ground.git(&format!("merge -q --no-edit -X {keep} other"));
    ground.git("tag merged");
    ground
}

fn back(ground: &Ground) {
    ground.git("reset -q --hard merged");
}

#[track_caller]
fn refused(ground: &Ground, words: &str, exit: u8, says: &[&str]) {
    let before = ground.git("rev-parse HEAD");
    let answered = ground.run("bob", words).ends(exit);
    let all = format!("{}{}", answered.out, answered.err);
    for part in says.iter().chain(&["help: "]) {
        assert!(all.contains(part), "no {part:?} in\n{all}");
    }
    assert_eq!((ground.git("rev-parse HEAD"), ground.git("status --porcelain")), (before, String::new()));
}

/// Settles, and looks at what is left: nothing wrong, each keyset in a phase, each leaf of what issues, in its bundle.
#[track_caller]
fn settles(ground: &Ground, words: &str) -> Value {
    let report =
        data(&ground.run("bob", &format!("rotate settle -c prod --yes -o json {words}")).ends(0), "rotate settle");
    assert_eq!(ground.errors(), [""; 0], "after {words}");
    let verified = ground.verified();
    let (cluster, listed) = verified.chain.latest().unwrap().epoch.clusters.first_key_value().unwrap();
    for (place, vouched) in &verified.current.paths {
        let (Place::NodeCert(_, node, profile), Vouch::Issued(entry)) = (place, &vouched.vouch) else { continue };
        if verified.current.configs[cluster].node(node).is_none() {
            continue; // `cluster apply` comes to it
        }
        let keyset = keyset_of(listed, *profile);
        let states = &verified.current.states[&(cluster.clone(), keyset)];
        let (_, generation) = listed.authority(&entry.issuer).unwrap();
        assert_eq!(phases::issuing(states), [generation], "{place}");
        let bundle = Place::Sealed(cluster.clone(), SealedName::Node(node.clone()));
        let bundle = verified.current.paths.get(&bundle).map(|vouched| &vouched.vouch);
        let key = match bundle {
            Some(Vouch::Sealed(sealed)) => sealed.public.iter().find(|key| key.name == profile.as_str()),
            _ => None,
        };
        assert!(key.is_some_and(|key| key.id == entry.spki) || profile.as_str().starts_with("kubelet"), "{place}");
    }
    ground.run("alice", "rotate settle -c prod --yes").ends(0).says("nothing was decided apart");
    report
}

fn phases_of(ground: &Ground) -> Vec<String> {
    let status = data(&ground.run("bob", "rotate status -c prod -o json").ends(0), "rotate status");
    let keysets = status["clusters"][0]["keysets"].as_array().unwrap().clone();
    keysets.iter().map(|one| one["phase"].as_str().unwrap().to_owned()).collect()
}

fn all(phase: &str) -> Vec<String> {
    vec![phase.to_owned(); 5]
}

#[test]
fn promote_against_undo() {
    let ground = apart(&["rotate start", "rotate trust"], &["rotate promote"], &["rotate undo"], "ours");
    let errors = ground.errors();
    assert_eq!(errors.len(), 5, "{errors:?}");
    assert!(errors.iter().all(|error| error.starts_with("conflicting-generations None")), "{errors:?}");
    // Every way in leads to the way out.
    let settle = "kluis rotate settle -c prod";
    ground.run("bob", "verify").ends(3).says(settle);
    for line in ["rotate undo", "rotate promote", "rotate next", "rotate start", "reseal --choose", "cert renew"] {
        refused(&ground, &format!("{line} -c prod --yes"), 3, &[settle]);
    }
    let said =
        ["prod/kubernetes, prod/etcd", "promoted by alice (rotate promote, ", "staged by bob (rotate undo, ", settle];
    refused(&ground, "rotate status -c prod", 3, &said);
    let choices = "to staged or trusted or promoted";
    refused(&ground, "rotate settle -c prod --yes", 2, &[said[1], said[2], choices, "settle -c prod --to trusted"]);
    refused(&ground, "rotate settle -c prod --yes --to steady", 2, &[choices]);
    refused(&ground, "rotate settle -c prod --yes --to talos=staged", 2, &["no two branches"]);
    refused(&ground, "rotate settle -c prod --yes --to nonsense=staged", 2, &[]);
    refused(&ground, "rotate settle -c prod --to promoted", 2, &["g2 issuing", "There is no terminal"]);
    refused(&ground, "rotate settle -c prod --to staged --yes", 3, &["unused", "--to staged --confirm unused"]);
    refused(&ground, "rotate settle -c prod --to staged --yes --confirm nodes-have-leaves", 2, &["there is no gate"]);
    let before = ground.git("rev-parse HEAD");
    let dry = ground.run("bob", "rotate settle -c prod --to trusted --dry-run").ends(0);
    dry.says("would be trusted: g1 issuing, g2 trusted").says("would issue 14 certificates");
    assert_eq!(before, ground.git("rev-parse HEAD"));

    // What one of them did, and nothing else.
    let settled = settles(&ground, "--to promoted");
    assert_eq!(settled["certificates"], serde_json::json!([]));
    assert_eq!(phases_of(&ground), all("promoted"));
    runs(&ground, "alice", &[&format!("rotate distrust {ALL}"), "rotate remove"]);
    assert_eq!((ground.errors(), ground.owed()), (Vec::new(), Vec::new()));

    // Both trusted.
    back(&ground);
    let settled = settles(&ground, "--to trusted");
    assert_eq!(settled["certificates"].as_array().unwrap().len(), 14);
    assert_eq!(phases_of(&ground), all("trusted"));
    let status = ground.run("bob", "rotate status -c prod").ends(0);
    assert!(status.out.contains("pki/apiserver.crt"), "nodes may have leaves of the other: {}", status.out);
    runs(&ground, "bob", &["rotate promote", "rotate undo"]);

    // Back to where bob wanted it.
    back(&ground);
    let settled = settles(&ground, "--to staged --confirm unused");
    assert_eq!(settled["certificates"].as_array().unwrap().len(), 14);
    assert_eq!(phases_of(&ground), all("staged"));
    let verified = ground.verified();
    let gates = verified.log.records.iter().flat_map(|logged| &logged.record.phase).filter(|one| !one.gates.is_empty());
    assert!(gates.clone().count() == 5 && gates.into_iter().all(|one| one.state == State::Staged));
    runs(&ground, "alice", &["rotate trust", "rotate promote"]);

    // Each keyset its own.
    back(&ground);
    settles(&ground, "--to promoted --to etcd=trusted --to encryption=staged --confirm unused");
    assert_eq!(phases_of(&ground), ["promoted", "trusted", "promoted", "promoted", "staged"]);
}

#[test]
fn distrust_against_undo() {
    let before = ["rotate start", "rotate trust", "rotate promote"];
    let distrust = format!("rotate distrust {ALL}");
    let ground = apart(&before, &[&distrust], &["rotate undo"], "ours");
    refused(
        &ground,
        "rotate settle -c prod --yes",
        2,
        &["to trusted or promoted or distrusted", "-c prod --to promoted"],
    );
    settles(&ground, "--to promoted");
    assert_eq!(phases_of(&ground), all("promoted"));
    runs(&ground, "alice", &[&distrust, "rotate remove"]);
    assert_eq!(ground.errors(), [""; 0]);
    back(&ground);
    let settled = settles(&ground, "--to trusted");
    assert_eq!(settled["certificates"], serde_json::json!([]), "bob's undo has issued them");
    runs(&ground, "bob", &["rotate promote"]);
    back(&ground);
    refused(&ground, "rotate settle -c prod --to distrusted --yes", 3, &["unused: no node, person, pod or secret"]);
    settles(&ground, "--to distrusted --confirm unused");
    assert_eq!(phases_of(&ground), all("distrusted"));
    runs(&ground, "bob", &["rotate remove"]);
    assert_eq!((ground.errors(), phases_of(&ground)), (Vec::new(), all("steady")));
}

#[test]
fn trust_against_giving_up() {
    let ground = apart(&["rotate start"], &["rotate trust"], &["rotate undo"], "ours");
    settles(&ground, "--to trusted");
    assert_eq!(phases_of(&ground), all("trusted"));
    runs(&ground, "alice", &["rotate promote"]);
    back(&ground);
    // Nothing was ever of it.
    settles(&ground, "--to distrusted");
    runs(&ground, "alice", &["rotate remove", "rotate start kubernetes"]);
    assert!(ground.repo().join("clusters/prod/ca/kubernetes.g3.crt").exists());
}

#[test]
fn several_steps_on_one_side_and_no_way_back_on_the_other() {
    let distrust = format!("rotate distrust etcd {ALL}");
    let alice = ["rotate promote etcd", &distrust];
    let ground = apart(&["rotate start etcd", "rotate trust"], &alice, &["rotate undo"], "ours");
    // g1 is distrusted: nothing leads back to it, so there is one choice. But by bob's word it has issued since.
    refused(&ground, "rotate settle -c prod --yes", 3, &["etcd g1", "--confirm unused"]);
    let settled = settles(&ground, "--confirm unused");
    assert_eq!(settled["keysets"][0]["choices"].as_array().unwrap().len(), 1, "{settled:#}");
    assert_eq!(settled["keysets"][0]["to"]["name"], "distrusted");
    runs(&ground, "alice", &["rotate remove", "rotate start etcd"]);
}

#[test]
fn one_step_on_both_sides_is_a_choice_of_files() {
    let ground = apart(&["rotate start", "rotate trust"], &["rotate promote"], &["rotate promote"], "theirs");
    ground.run("alice", "rotate status -c prod").ends(3).says("kluis reseal --choose -c prod");
    ground.run("alice", "reseal --choose -c prod").ends(0);
    assert_eq!((ground.errors(), phases_of(&ground)), (Vec::new(), all("promoted")));
    // What git left lying between the two is neither.
    back(&ground);
    ground.edit("clusters/prod/sealed/node.w-1.asc", |text| format!("<<<<<<< HEAD\n{text}"));
    ground.git("commit -q -a -m leftover");
    let put_back = "git checkout HEAD^ -- clusters/prod/sealed/node.w-1.asc";
    refused(&ground, "reseal --choose -c prod", 3, &["lies here as neither has it", put_back]);
    back(&ground);
    let settled = settles(&ground, "");
    assert_eq!(settled["certificates"].as_array().unwrap().len(), 14);
}

#[test]
fn two_undos_and_a_promotion_are_settled_with_their_files() {
    let before = ["rotate start", "rotate trust", "rotate promote"];
    let undo = "rotate undo --confirm secrets-rewritten --confirm nodes-have-leaves";
    let ground = apart(&before, &["rotate undo"], &["rotate undo", undo], "theirs");
    let errors = ground.errors();
    assert!(errors.iter().any(|error| error.contains("sealed/node.cp-1")), "{errors:?}");
    // What bob did last came after both promotions, and alice has said nothing of g2 since.
    settles(&ground, "--to trusted");
    runs(&ground, "alice", &["rotate promote"]);
}

// --- files that do not fit together ---------------------------------------------------------------------------------------

#[test]
fn a_leaf_of_the_former_generation_that_git_kept_is_issued_anew() {
    let alice = ["rotate promote", "cert issue client --lifetime 8h"];
    let ground = with_cluster();
    runs(&ground, "alice", &["rotate start kubernetes", "rotate trust"]);
    ground.git("branch other");
    runs(&ground, "alice", &alice);
    ground.git("checkout -q other");
    runs(&ground, "bob", &["cert issue --node w-1"]);
    runs(&ground, "alice", &["cert issue client --lifetime 9h"]);
    ground.git("checkout -q main");
    ground.git("merge -q --no-edit -X theirs other");
    ground.git("tag merged");
    refused(&ground, "reseal --choose -c prod", 3, &["kluis rotate settle -c prod"]);
    let settled = settles(&ground, "");
    let certificates = settled["certificates"].as_array().unwrap();
    assert!(certificates.iter().all(|one| one["path"].as_str().unwrap().contains("/w-1/")), "{settled:#}");
    // A person's is taken away where it is of the former: whoever settles can't make theirs.
    assert_eq!(settled["removed"], serde_json::json!(["clusters/prod/certs/person/alice/client.crt"]));
    runs(&ground, "alice", &["cert issue client --lifetime 8h"]);
    // And kept, where it lies there as it is to be, by its owner.
    back(&ground);
    ground.git("checkout HEAD^ -- clusters/prod/certs/person/alice");
    ground.git("commit -q -m mine");
    let settled = data(&ground.run("alice", "rotate settle -c prod --yes -o json").ends(0), "rotate settle");
    assert_eq!(settled["kept"], serde_json::json!(["clusters/prod/certs/person/alice/client.crt"]));
    assert_eq!(ground.errors(), [""; 0]);
}

#[test]
fn a_bundle_that_lacks_what_the_other_branch_issued_is_made_anew() {
    let ground = apart(&[], &["cert issue apiserver --node cp-1"], &["cert issue etcd-server --node cp-1"], "ours");
    refused(&ground, "reseal --choose -c prod", 3, &["spki-mismatch", "kluis rotate settle -c prod"]);
    let settled = settles(&ground, "");
    assert!(settled["certificates"].as_array().unwrap().len() > 5, "{settled:#}");
    assert_eq!(ground.owed(), [""; 0]);
}

#[test]
fn sealed_files_that_both_sealed_and_a_cluster_toml_that_both_edited_are_settled_along() {
    let mut ground = with_cluster();
    runs(&ground, "alice", &["rotate start kubernetes etcd", "rotate trust"]);
    // Somebody who is sealed to on both branches.
    let erin = newcomer(&mut ground, "erin");
    ground.run("alice", &format!("person add erin --pgp {erin} --keyholder prod")).ends(0);
    ground.sign_draft("erin");
    let edit = |name: &str, at: &str, front: bool| {
        let node = format!("[[node]]\nname = \"{name}\"\nroles = [\"worker\"]\naddresses = [\"{at}\"]\n");
        ground.edit("clusters/prod/cluster.toml", |text| match front {
            true => text.replacen("[[node]]", &format!("{node}\n[[node]]"), 1),
            false => format!("{text}\n{node}"),
        });
    };
    ground.git("branch other");
    runs(&ground, "alice", &["reseal"]);
    edit("w-2", "10.0.0.22", true);
    runs(&ground, "alice", &["cluster apply", "rotate promote"]);
    ground.git("checkout -q other");
    runs(&ground, "bob", &["reseal"]);
    edit("w-3", "10.0.0.23", false);
    runs(&ground, "bob", &["cluster apply", "rotate undo"]);
    ground.git("checkout -q main");
    ground.git("merge -q --no-edit -X ours other");
    ground.git("tag merged");
    // What git merged is no version that anybody vouched for: no certificate gets its names from there.
    refused(
        &ground,
        "rotate settle -c prod --to trusted --yes",
        3,
        &["git checkout HEAD^ -- clusters/prod/cluster.toml"],
    );
    ground.git("checkout HEAD^ -- clusters/prod/cluster.toml");
    ground.git("commit -q -m ours");
    let settled = settles(&ground, "--to promoted");
    assert_eq!(settled["kept"], serde_json::json!(["clusters/prod/cluster.toml"]));
    assert_eq!(settled["resealed"].as_array().unwrap().len(), 7, "two CAs of two generations, and what has one");
    edit("w-3", "10.0.0.23", false);
    runs(&ground, "alice", &["cluster apply", "cert renew --within 3650d"]);
    assert_eq!((ground.errors(), ground.owed()), (Vec::new(), Vec::new()));
}

#[test]
fn keys_that_stay_on_their_node_stay_there() {
    let ground = with_cluster();
    let csr = ground.dir.path().join("w-1.csr");
    let key = ground.dir.path().join("w-1.key");
    let made = std::process::Command::new("openssl")
        .args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-subj", "/O=system:nodes/CN=system:node:w-1", "-keyout"])
        .args([&key, std::path::Path::new("-out"), &csr])
        .output();
    assert!(made.unwrap().status.success());
    let issue = format!("cert issue kubelet-client --node w-1 --csr {}", csr.display());
    runs(&ground, "alice", &[&issue, "rotate start kubernetes", "rotate trust", "rotate promote"]);
    let spki = |ground: &Ground| {
        let verified = ground.verified();
        let place = Place::parse("clusters/prod/certs/node/w-1/kubelet-client.crt").unwrap();
        verified.current.leaves[&place].spki_id
    };
    let before = spki(&ground);
    ground.git("branch other");
    runs(&ground, "alice", &["rotate undo"]);
    ground.git("checkout -q other");
    runs(&ground, "bob", &[&issue, &format!("rotate distrust {ALL}")]);
    ground.git("checkout -q main");
    ground.git("merge -q --no-edit -X ours other");
    let settled = settles(&ground, "--to promoted");
    let paths: Vec<_> =
        settled["certificates"].as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect();
    assert!(paths.contains(&"clusters/prod/certs/node/w-1/kubelet-client.crt"), "{paths:?}");
    assert_eq!(spki(&ground), before);
}

// --- one generation, two keys ---------------------------------------------------------------------------------------------

#[test]
fn an_encryption_key_that_was_made_twice_is_given_up() {
    for keep in ["ours", "theirs"] {
        let ground = apart(&[], &["rotate start encryption"], &["rotate start encryption"], keep);
        assert_eq!(ground.errors().len(), 1, "{:?}", ground.errors());
        let settle = "kluis rotate settle -c prod";
        ground.run("alice", "verify").ends(3).says(settle);
        refused(
            &ground,
            "rotate status",
            3,
            &["prod/encryption: two keys made for g2 by ", "alice (rotate start", settle],
        );
        refused(&ground, "reseal --choose -c prod", 3, &[settle]);
        let settled = settles(&ground, "");
        assert_eq!(settled["removed"], serde_json::json!(["clusters/prod/sealed/encryption.g2.asc"]));
        assert!(!ground.repo().join("clusters/prod/sealed/encryption.g2.asc").exists());
        assert_eq!(phases_of(&ground)[0], "steady");
        runs(&ground, "alice", &["rotate start encryption", "rotate trust", "rotate promote"]);
        assert!(ground.repo().join("clusters/prod/sealed/encryption.g3.asc").exists());
        runs(&ground, "bob", &[&format!("rotate distrust {ALL}"), "rotate remove"]);
        assert_eq!((ground.errors(), ground.owed()), (Vec::new(), Vec::new()));
    }
}

#[test]
fn an_encryption_key_that_was_made_twice_and_used_is_given_up_only_if_nothing_lies_under_it() {
    let start = ["rotate start encryption", "rotate trust", "rotate promote"];
    let ground = apart(&[], &start, &["rotate start encryption"], "ours");
    refused(&ground, "rotate settle -c prod --yes", 3, &["encryption g2", "--confirm unused"]);
    let settled = settles(&ground, "--confirm unused");
    assert_eq!(settled["keysets"][0]["to"]["sets"], serde_json::json!([["g1", "issuing"], ["g2", "distrusted"]]));
    runs(&ground, "alice", &["rotate start encryption", "rotate trust"]);
    assert!(ground.repo().join("clusters/prod/sealed/encryption.g3.asc").exists());
    // With the former one distrusted there is nothing left that could issue.
    let distrust = format!("rotate distrust encryption {ALL}");
    let alice = [start[0], start[1], start[2], &distrust];
    let ground = apart(&[], &alice, &["rotate start encryption"], "ours");
    refused(&ground, "rotate settle -c prod --yes", 3, &["no record can settle this", "git revert -m 1 HEAD"]);
    ground.git("revert --no-edit -m 1 HEAD");
    assert_eq!(ground.errors(), [""; 0]);
}

#[test]
fn a_ca_that_was_started_twice_is_two_epochs_of_one_number() {
    let ground = with_cluster();
    ground.git("branch other");
    runs(&ground, "alice", &["rotate start etcd"]);
    ground.git("checkout -q other");
    runs(&ground, "bob", &["rotate start etcd"]);
    ground.git("checkout -q main");
    let said = git(&ground.repo(), &["merge", "--no-edit", "other"]);
    assert!(said.contains("CONFLICT (add/add): Merge conflict in trust/epoch/"), "{said}");
    ground.git("merge --abort");
    assert_eq!(ground.errors(), [""; 0]);
    // Whoever has git keep one all the same is told to take it back: the record of the other has a key that the epoch does
    // not list, and nobody can vouch for it.
    ground.git("merge -q --no-edit -X ours other");
    let errors = ground.errors();
    assert!(errors.len() == 1 && errors[0].starts_with("bad-signature"), "{errors:?}");
    ground.git("rm -q trust/epoch/0004.bob.sig");
    ground.git("commit -q --amend --no-edit");
    let void = ground.run("alice", "verify").ends(3).says("unclosed-old-epoch");
    let (_, record) = void.out.split_once("kluis adopt ").unwrap();
    let adopt = format!("adopt {} --reason late", &record[..16]);
    refused(&ground, &adopt, 3, &["spki-mismatch", "help: git revert -m 1 HEAD"]);
    ground.git("revert --no-edit -m 1 HEAD");
    assert_eq!(ground.errors(), [""; 0]);
    runs(&ground, "bob", &["rotate trust"]);
}

// --- whatever they did ----------------------------------------------------------------------------------------------------

fn verbs() -> impl Strategy<Value = Vec<String>> {
    let verb = prop_oneof![
        2 => Just("trust"),
        3 => Just("promote"),
        3 => Just("undo"),
        1 => Just("distrust"),
        2 => Just("next"),
        1 => Just("start encryption"),
    ];
    let line = |verb: &str| match verb {
        "start encryption" => "rotate start encryption -c prod --yes".to_owned(),
        "trust" => "rotate trust -c prod --yes".to_owned(),
        verb => format!("rotate {verb} -c prod --yes {ALL} --confirm nodes-have-bundle"),
    };
    prop::collection::vec(verb.prop_map(line), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5, max_shrink_iters: 10, failure_persistence: None, ..Default::default() })]

    #[test]
    fn whatever_two_branches_did_each_choice_settles_it(
        before in 0..4_usize, alice in verbs(), bob in verbs(), ours in any::<bool>()
    ) {
        let ground = with_cluster();
        let way = ["rotate start etcd", "rotate trust", "rotate promote"];
        runs(&ground, "alice", &way[..before]);
        // Refused steps change nothing; what is left is a walk.
        let walk = |who: &str, lines: &[String]| lines.iter().for_each(|line| { ground.run(who, line); });
        ground.git("branch other");
        walk("alice", &alice);
        ground.git("checkout -q other");
        walk("bob", &bob);
        ground.git("checkout -q main");
        ground.git(&format!("merge -q --no-edit -X {} other", if ours { "ours" } else { "theirs" }));
        ground.git("tag merged");
        if ground.errors().is_empty() {
            return Ok(());
        }
        let answered = ground.run("bob", "rotate settle -c prod --yes --confirm unused --to nothing -o json");
        let said = answered.json();
        let error = said["data"]["error"].as_str().unwrap_or_default();
        if error.contains("no record can settle this") {
            ground.git("revert --no-edit -m 1 HEAD");
            prop_assert!(ground.errors().is_empty());
            return Ok(());
        }
        // One choice, or none to make, wants no word; else each of them does.
        let words: Vec<&str> = ["staged", "trusted", "promoted", "distrusted", "steady"].into_iter().collect();
        let mut settled = 0;
        for word in words {
            back(&ground);
            let line = format!("rotate settle -c prod --yes --confirm unused --to {word} -o json");
            let answered = ground.run("bob", &line);
            if answered.exit == 0 {
                settled += 1;
                prop_assert!(ground.errors().is_empty(), "{alice:?} {bob:?} {word}: {:?}", ground.errors());
                ground.run("alice", "rotate status -c prod").ends(0);
                let next = ground.run("alice", &format!("rotate next -c prod --yes {ALL} --confirm nodes-have-bundle"));
                prop_assert!(ground.errors().is_empty(), "{}", next.err);
            } else {
                prop_assert_eq!(answered.exit, 2, "{}", answered.out);
            }
        }
        // Two keysets may have no word in common.
        back(&ground);
        let help = said["data"]["help"].as_str().unwrap_or_default().strip_prefix("kluis ").unwrap_or_default().to_owned();
        if settled == 0 {
            ground.run("bob", &format!("{help} --yes --confirm unused")).ends(0);
            prop_assert!(ground.errors().is_empty(), "{help}");
        }
    }
}

// --- who, and how much ------------------------------------------------------------------------------------------------------

#[test]
fn clusters_are_settled_in_one_record_or_one_by_one_by_their_issuers() {
    let mut ground = with_cluster();
    runs(&ground, "alice", &[]);
    let new = "cluster new test --endpoint https://api.test.example.org:6443 --kubernetes 1.36 --node w-1=10.1.0.1:worker --yes";
    ground.run("alice", new).ends(0);
    ground.run("alice", "person update bob --keyholder test --issuer test").ends(0);
    ground.run("alice", "reseal").ends(0);
    let erin = newcomer(&mut ground, "erin");
    ground.run("alice", &format!("person add erin --pgp {erin} --keyholder prod")).ends(0);
    ground.sign_draft("erin");
    ground.run("alice", "reseal").ends(0);
    ground.run("alice", "rotate start etcd --all-clusters --yes").ends(0);
    ground.run("alice", "rotate trust --all-clusters --yes").ends(0);
    ground.git("branch other");
    ground.run("alice", "rotate promote --all-clusters --yes").ends(0);
    ground.git("checkout -q other");
    ground.run("bob", "rotate undo --all-clusters --yes").ends(0);
    ground.git("checkout -q main");
    ground.git("merge -q --no-edit -X ours other");
    ground.git("tag merged");
    ground.run("erin", "rotate settle -c prod --to promoted --yes").ends(3).says("is no issuer");
    ground.run("alice", "rotate settle --yes --to promoted").ends(2);
    let report =
        data(&ground.run("bob", "rotate settle --all-clusters --to promoted --yes -o json").ends(0), "rotate settle");
    assert_eq!(report["keysets"].as_array().unwrap().len(), 2);
    assert_eq!(ground.errors(), [""; 0]);
    back(&ground);
    ground.run("bob", "rotate settle -c prod --to trusted --yes").ends(0);
    assert_eq!(ground.errors().len(), 1, "{:?}", ground.errors());
    ground.run("bob", "rotate settle -c test --to promoted --yes").ends(0);
    assert_eq!(ground.errors(), [""; 0]);
    let verified = ground.verified();
    let issues = |name: &str| {
        let cluster = kluis::model::ClusterName::parse(name).unwrap();
        phases::issuing(&verified.current.states[&(cluster, Keyset::Etcd)])[0].number()
    };
    assert_eq!((issues("prod"), issues("test")), (1, 2));
}
