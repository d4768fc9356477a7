//! Rotations in process: every phase of every keyset forward and back, what each leaves valid, what is refused, and what a
//! leaver's debts are at the end. On real control planes it is `kube/`'s.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod ground;
mod seat;
mod tools;

use ground::Ground;
use kluis::model::{Place, Span};
use seat::*;
use serde_json::Value;

const NEW: &str = "cluster new prod --endpoint https://api.prod.example.org:6443 --kubernetes 1.36 \
    --node cp-1=10.0.0.11:control-plane,etcd --node w-1=10.0.0.21:worker --yes";
const KEYSETS: [&str; 5] = ["encryption", "etcd", "front-proxy", "kubernetes", "service-account"];

fn with_cluster() -> Ground {
    let ground = Ground::new(&["alice", "bob"], 1, 1);
    ground.run("alice", NEW).ends(0);
    ground.run("alice", "person update bob --keyholder prod --issuer prod").ends(0);
    ground.run("alice", "reseal").ends(0);
    assert_eq!(ground.errors(), [""; 0]);
    ground
}

#[track_caller]
fn rotates(ground: &Ground, words: &str) -> Value {
    let command: String = words.split(' ').take(1).collect();
    let report = data(
        &ground.run("bob", &format!("rotate {words} -c prod --yes -o json")).ends(0),
        &format!("rotate {command}"),
    );
    assert_eq!(ground.errors(), [""; 0], "after {words}");
    report
}

fn phases(ground: &Ground) -> Vec<String> {
    let status = data(&ground.run("bob", "rotate status -c prod -o json").ends(0), "rotate status");
    let keysets = status["clusters"][0]["keysets"].as_array().unwrap().clone();
    keysets.iter().map(|one| one["phase"].as_str().unwrap().to_owned()).collect()
}

fn all(phase: &str) -> Vec<String> {
    vec![phase.to_owned(); KEYSETS.len()]
}

/// Exports cp-1 and returns its folder.
fn export(ground: &Ground, name: &str) -> std::path::PathBuf {
    let out = ground.dir.path().join(name);
    ground.run("alice", &format!("export kubeadm -c prod --node cp-1 --out {}", out.display())).ends(0);
    out
}

fn blocks(folder: &std::path::Path, file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join(file)).unwrap();
    text.split("-----BEGIN ").skip(1).map(str::to_owned).collect()
}

fn verifies(folder: &std::path::Path, leaf: &str, authority: &str) -> bool {
    let openssl = std::process::Command::new("openssl")
        .current_dir(folder)
        .args(["verify", "-x509_strict", "-purpose", "any", "-CAfile", authority, leaf])
        .output();
    openssl.unwrap().status.success()
}

#[test]
fn every_keyset_goes_through_every_phase_and_each_export_is_of_its_phase() {
    let ground = with_cluster();
    let steady = export(&ground, "e0");
    let started = rotates(&ground, "start");
    assert_eq!(started["made"].as_array().unwrap().len(), KEYSETS.len());
    assert_eq!(started["written"], Value::Null);
    assert_eq!(phases(&ground), all("staged"));
    let staged = export(&ground, "e1");
    let certificates = ["pki/ca.crt", "pki/etcd/ca.crt", "pki/front-proxy-ca.crt", "pki/sa.pub", "pki/apiserver.crt"];
    for file in certificates {
        assert_eq!(blocks(&steady, file), blocks(&staged, file), "nothing trusts what is staged: {file}");
    }

    rotates(&ground, "trust");
    assert_eq!(phases(&ground), all("trusted"));
    let trusted = export(&ground, "e2");
    for file in &certificates[..4] {
        let (before, after) = (blocks(&steady, file), blocks(&trusted, file));
        assert_eq!((after.len(), &after[0]), (2, &before[0]), "{file}: both, the one that issues first");
    }
    assert_eq!(
        blocks(&steady, "pki/apiserver.crt"),
        blocks(&trusted, "pki/apiserver.crt"),
        "the leaves are the old ones"
    );

    let promoted_report = rotates(&ground, "promote --confirm nodes-have-bundle");
    assert_eq!(phases(&ground), all("promoted"));
    assert_eq!(promoted_report["certificates"].as_array().unwrap().len(), 14);
    let promoted = export(&ground, "e3");
    for file in &certificates[..4] {
        let (before, after) = (blocks(&trusted, file), blocks(&promoted, file));
        assert_eq!(after, [before[1].clone(), before[0].clone()], "{file}: the new one first");
    }
    for (leaf, authority) in [
        ("pki/apiserver.crt", "pki/ca.crt"),
        ("pki/etcd/server.crt", "pki/etcd/ca.crt"),
        ("pki/front-proxy-client.crt", "pki/front-proxy-ca.crt"),
    ] {
        let old = steady.join(leaf).display().to_string();
        let new = promoted.join(leaf).display().to_string();
        assert!(verifies(&trusted, &old, authority) && verifies(&trusted, &new, authority), "{leaf}: both in between");
        assert!(verifies(&promoted, &old, authority) && verifies(&promoted, &new, authority), "{leaf}");
        assert!(!verifies(&steady, &new, authority), "{leaf}: not before");
    }

    let confirm =
        "--confirm nodes-have-leaves --confirm clients-moved --confirm tokens-renewed --confirm secrets-rewritten";
    rotates(&ground, &format!("distrust {confirm}"));
    assert_eq!(phases(&ground), all("distrusted"));
    let distrusted = export(&ground, "e4");
    let old = steady.join("pki/apiserver.crt").display().to_string();
    assert!(!verifies(&distrusted, &old, "pki/ca.crt") && verifies(&distrusted, "pki/apiserver.crt", "pki/ca.crt"));
    for file in &certificates[..4] {
        assert_eq!(blocks(&distrusted, file), [blocks(&promoted, file)[0].clone()], "{file}: the new one alone");
    }

    let removed = rotates(&ground, "remove");
    assert_eq!(removed["removed"].as_array().unwrap().len(), KEYSETS.len());
    assert_eq!(phases(&ground), all("steady"));
    assert!(!ground.repo().join("clusters/prod/ca/kubernetes.g1.crt").exists());
    assert!(!ground.repo().join("clusters/prod/sealed/ca.kubernetes.g1.asc").exists());
    assert_eq!(ground.owed(), [""; 0]);
    // And again, from the second generation to the third.
    rotates(&ground, "start kubernetes");
    assert!(ground.repo().join("clusters/prod/ca/kubernetes.g3.crt").exists());
}

#[test]
fn a_nodes_files_are_held_against_the_phase() {
    let ground = with_cluster();
    let checks = |folder: &std::path::Path, exit| {
        let words = format!("rotate check -c prod --node cp-1 --files {} -o json", folder.display());
        let report = ground.run("bob", &words).ends(exit).json();
        let files = report["data"]["files"].as_array().unwrap().clone();
        let wrong = files.iter().filter(|file| file["state"] != "right");
        wrong
            .map(|file| format!("{} {}", file["path"].as_str().unwrap(), file["why"].as_str().unwrap()))
            .collect::<Vec<_>>()
    };
    let steady = export(&ground, "c0");
    assert_eq!(checks(&steady, 0), [""; 0]);
    rotates(&ground, "start kubernetes");
    rotates(&ground, "trust");
    let wrong = checks(&steady, 3);
    assert_eq!(wrong.len(), 5, "{wrong:#?}");
    assert!(
        wrong.contains(&"pki/ca.crt 1 of the 2 CA certificates of this phase are missing".to_owned()),
        "{wrong:#?}"
    );
    let trusted = export(&ground, "c1");
    assert_eq!(checks(&trusted, 0), [""; 0]);
    rotates(&ground, "promote");
    let wrong = checks(&trusted, 3);
    assert!(
        wrong.iter().any(|one| one.starts_with("pki/ca.crt its CA certificates are in another order")),
        "{wrong:#?}"
    );
    assert!(wrong.iter().any(|one| one.starts_with("pki/apiserver.crt it is an earlier certificate")), "{wrong:#?}");
    std::fs::write(trusted.join("pki/apiserver.crt"), ground.read("clusters/prod/ca/etcd.g1.crt")).unwrap();
    std::fs::write(trusted.join("admin.conf"), "users: [").unwrap();
    std::fs::remove_file(trusted.join("pki/sa.pub")).unwrap();
    let wrong = checks(&trusted, 3);
    assert!(wrong.iter().any(|one| one.starts_with("pki/apiserver.crt no record has its certificate")), "{wrong:#?}");
    assert!(wrong.iter().any(|one| one.starts_with("admin.conf no kubeconfig")), "{wrong:#?}");
    assert!(wrong.contains(&"pki/sa.pub it is not there".to_owned()), "{wrong:#?}");
}

#[test]
fn what_commands_on_a_node_printed_is_held_against_the_phase_too() {
    let ground = with_cluster();
    let help = ground.run("bob", "rotate check --help").ends(0).out;
    let commands: Vec<&str> =
        help.lines().map(str::trim).filter(|line| line.starts_with("cd /") || line.starts_with("grep ")).collect();
    assert_eq!(commands.len(), 4);
    let lists = |folder: &std::path::Path| {
        let here = folder.display().to_string();
        let script =
            commands.join("\n").replace("/etc/kubernetes", &here).replace("/var/lib", &format!("{here}/var/lib"));
        let serving = folder.join("var/lib/kubelet/pki");
        std::fs::create_dir_all(&serving).unwrap();
        std::fs::copy(folder.join("kubelet/kubelet.crt"), serving.join("kubelet.crt")).unwrap();
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.contains("PRIVATE KEY") && !text.contains("client-key-data"));
        let file = folder.with_extension("txt");
        std::fs::write(&file, text).unwrap();
        file
    };
    let steady = export(&ground, "l0");
    let words = |file: &std::path::Path| format!("rotate check -c prod --node cp-1 --listing {}", file.display());
    let listing = lists(&steady);
    let same = ground.run("bob", &words(&listing)).ends(0).out;
    assert_eq!(
        same,
        ground.run("bob", &format!("rotate check -c prod --node cp-1 --files {}", steady.display())).ends(0).out
    );
    rotates(&ground, "start kubernetes");
    rotates(&ground, "trust");
    ground.run("bob", &words(&listing)).ends(3).says("differs    admin.conf").says("differs    pki/ca.crt");
    ground.run("bob", &words(&lists(&export(&ground, "l1")))).ends(0);
    std::fs::write(&listing, "nothing of it").unwrap();
    ground.run("bob", &words(&listing)).ends(3).says("missing    pki/ca.crt");
    ground.run("bob", "rotate check -c prod --node cp-1").ends(2);
    ground.run("bob", "rotate check -c prod --node cp-1 --listing nowhere").ends(2).says("is not there");
}

#[test]
fn undo_goes_back_from_every_phase_before_distrust() {
    let ground = with_cluster();
    let steady = export(&ground, "e0");
    rotates(&ground, "start");
    rotates(&ground, "trust");
    rotates(&ground, "undo");
    assert_eq!(phases(&ground), all("staged"));
    rotates(&ground, "trust");
    rotates(&ground, "promote");
    rotates(&ground, "undo");
    assert_eq!(phases(&ground), all("trusted"));
    let back = export(&ground, "e1");
    assert_eq!(
        blocks(&back, "pki/ca.crt")[0],
        blocks(&steady, "pki/ca.crt")[0],
        "the former one issues, and comes first"
    );
    assert!(
        verifies(&steady, &back.join("pki/apiserver.crt").display().to_string(), "pki/ca.crt"),
        "and has issued anew"
    );
    rotates(&ground, "undo --confirm secrets-rewritten");
    // A generation that is given up is distrusted, and can be forgotten.
    rotates(&ground, "undo");
    assert_eq!(phases(&ground), all("distrusted"));
    rotates(&ground, "remove");
    assert_eq!(phases(&ground), all("steady"));
    assert_eq!(ground.owed(), [""; 0]);
    refused(&ground, "rotate undo kubernetes -c prod --yes", 3, "is steady");
}

/// The files that `rotate status` says to copy to cp-1.
fn to_copy(ground: &Ground) -> Vec<String> {
    let status = data(&ground.run("bob", "rotate status -c prod -o json").ends(0), "rotate status");
    let files = status["clusters"][0]["nodes"][0]["copy"].as_array().cloned().unwrap_or_default();
    files.iter().map(|file| file.as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_undo_is_undone_on_nodes_too() {
    let ground = with_cluster();
    rotates(&ground, "start");
    assert_eq!(to_copy(&ground), [""; 0], "nothing trusts it");
    rotates(&ground, "trust");
    let trust = to_copy(&ground);
    rotates(&ground, "promote");
    let leaves = to_copy(&ground);
    rotates(&ground, "undo");
    assert_eq!(to_copy(&ground), leaves, "nodes have leaves and a signing key of the one that issues no more");
    // What lies under a key that will be unknown is unreadable: as before a distrust.
    let gates = "--confirm secrets-rewritten --confirm nodes-have-leaves";
    let undone = rotates(&ground, &format!("undo encryption {gates}"));
    assert_eq!(undone["moves"][0]["gates"], serde_json::json!(["nodes-have-leaves", "secrets-rewritten"]));
    rotates(&ground, "undo kubernetes etcd front-proxy service-account");
    assert_eq!(phases(&ground), all("staged"));
    assert_eq!(to_copy(&ground), trust, "and they trust it still");
}

#[track_caller]
fn refused(ground: &Ground, words: &str, exit: u8, says: &str) {
    let before = ground.git("rev-parse HEAD");
    let answered = ground.run("bob", words).ends(exit);
    let all = format!("{}{}", answered.out, answered.err);
    assert!(all.contains(says) && all.contains("help: "), "no {says:?} in\n{all}");
    assert_eq!((ground.git("rev-parse HEAD"), ground.git("status --porcelain")), (before, String::new()));
}

#[test]
fn no_step_is_skipped_and_next_passes_no_gate_that_nobody_confirmed() {
    let ground = with_cluster();
    refused(&ground, "rotate promote kubernetes -c prod --yes", 3, "is steady");
    rotates(&ground, "start kubernetes");
    refused(&ground, "rotate promote kubernetes -c prod --yes", 3, "is staged");
    refused(&ground, "rotate distrust kubernetes -c prod --yes", 3, "is staged");
    rotates(&ground, "next");
    refused(&ground, "rotate next -c prod --yes", 3, "nodes-have-bundle");
    refused(&ground, "rotate next -c prod --yes --confirm nodes-have", 2, "there is no gate");
    refused(&ground, "rotate start nonsense -c prod", 2, "is no keyset");
    refused(&ground, "rotate start talos -c prod", 2, "has no keyset talos");
    let started = rotates(&ground, "start kubernetes");
    assert_eq!(started["made"], serde_json::json!([]), "it is under way");
    refused(&ground, "rotate next -c prod --yes --confirm nodes-have-bundle", 3, "clients-have-bundle");
    let stepped = rotates(&ground, "next --confirm nodes-have-bundle --confirm clients-have-bundle");
    assert_eq!(stepped["moves"][0]["gates"], serde_json::json!(["clients-have-bundle", "nodes-have-bundle"]));
    let verified = ground.verified();
    let recorded = verified.log.records.iter().flat_map(|logged| &logged.record.phase).flat_map(|one| &one.gates);
    assert_eq!(recorded.collect::<Vec<_>>(), ["clients-have-bundle", "nodes-have-bundle"]);
    ground.run("alice", "rotate status -c prod").ends(0).says("kubernetes       promoted");
    ground.run("alice", "rotate trust -c prod").ends(0).says("nothing stands where this step begins");
}

#[test]
fn a_ca_of_which_something_is_in_use_is_not_distrusted() {
    let ground = with_cluster();
    ground.run("alice", "cert issue client -c prod --lifetime 30d").ends(0);
    rotates(&ground, "start kubernetes");
    rotates(&ground, "trust");
    let promoted = rotates(&ground, "promote");
    assert_eq!(promoted["people"], serde_json::json!(["alice"]));
    refused(&ground, "rotate distrust -c prod --yes", 3, "alice have certificates");
    // Who asks again has one of the new generation, but the former one lives on.
    ground.run("alice", "cert issue client -c prod --lifetime 30d").ends(0);
    refused(&ground, "rotate distrust -c prod --yes", 3, "alice have certificates");
    rotates(&ground, "distrust --confirm clients-moved");
    rotates(&ground, "remove");
    assert_eq!(phases(&ground)[3], "steady");
}

#[test]
fn a_leavers_debts_are_gone_when_all_that_they_could_open_is_rotated() {
    let ground = with_cluster();
    ground.run("bob", "person remove alice --reason left --yes").ends(0);
    ground.run("bob", "reseal").ends(0);
    assert!(ground.owed().iter().any(|code| code == "exposure-open"), "{:?}", ground.owed());
    refused(&ground, "rotate start -c prod --because-of bob --yes", 3, "is a keyholder of prod still");
    let started = rotates(&ground, "start --because-of alice");
    assert_eq!(started["made"].as_array().unwrap().len(), KEYSETS.len());
    for step in ["trust", "promote", "distrust --confirm secrets-rewritten"] {
        assert!(ground.owed().iter().any(|code| code == "exposure-open"), "until the last step: {step}");
        rotates(&ground, step);
    }
    assert_eq!(ground.owed(), [""; 0]);
    assert_eq!(ground.run("bob", "rotate start -c prod --because-of alice --yes").ends(0).out, "nothing to start\n");
}

#[test]
fn other_work_goes_on_in_every_phase() {
    let mut ground = with_cluster();
    let issues = |ground: &Ground, what: &str| {
        ground.run("alice", "cert issue client -c prod --lifetime 1h").ends(0);
        ground.run("bob", "cert issue apiserver -c prod --node cp-1").ends(0);
        let node = format!("w-{what}");
        ground.edit("clusters/prod/cluster.toml", |text| {
            format!("{text}\n[[node]]\nname = \"{node}\"\nroles = [\"worker\"]\naddresses = [\"10.0.1.1\"]\n")
        });
        ground.run("alice", "cluster apply -c prod --yes").ends(0);
        assert_eq!(ground.errors(), [""; 0], "{what}");
        let place = Place::parse(&format!("clusters/prod/certs/node/{node}/kubelet-client.crt")).unwrap();
        assert!(ground.verified().current.leaves.contains_key(&place));
    };
    for step in ["start", "trust", "promote"] {
        rotates(&ground, step);
        issues(&ground, step);
    }
    ground.now = ground.now.plus(Span::hours(2));
    rotates(&ground, "distrust --confirm secrets-rewritten");
    issues(&ground, "distrust");
    rotates(&ground, "remove");
    issues(&ground, "remove");
}

#[test]
fn no_yes_of_a_script_is_word_enough_that_secrets_were_written_again() {
    let ground = with_cluster();
    for step in ["start encryption", "trust", "promote"] {
        rotates(&ground, step);
    }
    refused(&ground, "rotate distrust -c prod --yes", 3, "secrets-rewritten");
    refused(&ground, "rotate distrust -c prod --yes --confirm nodes-have-leaves", 3, "secrets-rewritten");
    refused(&ground, "rotate distrust encryption -c prod --yes --emergency", 3, "secrets-rewritten");
    rotates(&ground, "distrust --confirm secrets-rewritten");
}

/// What `rotate status --emergency` says: of each stage its nodes with files and processes, and whether it runs something.
fn stages(ground: &Ground) -> Vec<Value> {
    let status = data(&ground.run("bob", "rotate status -c prod --emergency -o json").ends(0), "rotate status");
    status["clusters"][0]["emergency"].as_array().unwrap().clone()
}

fn copied<'a>(stages: &'a [Value], node: &str) -> Vec<&'a str> {
    let nodes = stages.iter().flat_map(|stage| stage["nodes"].as_array().unwrap());
    let files = nodes.filter(|one| one["node"] == node).flat_map(|one| one["copy"].as_array().unwrap());
    files.map(|file| file.as_str().unwrap()).collect()
}

fn restarted<'a>(stages: &'a [Value], node: &str) -> Vec<&'a str> {
    let nodes = stages.iter().flat_map(|stage| stage["nodes"].as_array().unwrap());
    let processes = nodes.filter(|one| one["node"] == node).flat_map(|one| one["restart"].as_array().unwrap());
    processes.map(|process| process.as_str().unwrap()).collect()
}

#[test]
fn in_an_emergency_no_gate_is_waited_for_and_one_export_brings_all() {
    let ground = with_cluster();
    ground.run("alice", "cert issue client -c prod --lifetime 30d").ends(0);
    let steady = export(&ground, "e0");
    assert!(stages(&ground).is_empty());
    let started = rotates(&ground, "start --emergency");
    assert_eq!(
        started["left"],
        serde_json::json!(["prod/encryption: nothing can be forged with it; rotate it afterwards"])
    );
    // What breaks is said before anything happens.
    let asked = ground.run("bob", "rotate next -c prod --emergency").ends(2);
    asked.says("are refused until they").says("every service-account token is void").says("--yes");
    for step in ["next", "next", "distrust"] {
        let moved = rotates(&ground, &format!("{step} --emergency"));
        assert_eq!(moved["moves"].as_array().unwrap().len(), 4, "{step}");
    }
    assert_eq!(
        phases(&ground),
        ["distrusted", "distrusted", "distrusted", "distrusted", "steady"],
        "encryption is last"
    );
    let new = export(&ground, "e1");
    let old = steady.join("pki/apiserver.crt").display().to_string();
    assert!(!verifies(&new, &old, "pki/ca.crt") && verifies(&new, "pki/apiserver.crt", "pki/ca.crt"));

    // Client trust comes first; each file is copied once, and each process restarted once.
    let stages = stages(&ground);
    assert!(copied(&stages[..1], "cp-1").contains(&"pki/ca.crt"));
    assert_eq!(restarted(&stages[..1], "cp-1"), [""; 0]);
    for (node, processes) in [
        ("cp-1", &["etcd", "kube-apiserver", "kubelet", "kube-controller-manager", "kube-scheduler"][..]),
        ("w-1", &["kubelet"]),
    ] {
        assert_eq!(restarted(&stages, node), processes);
        let mut files = copied(&stages, node);
        let all = files.len();
        files.sort_unstable();
        files.dedup();
        assert_eq!(files.len(), all, "{files:?}");
        let has = |file: &&str| std::path::Path::new(file).extension().is_some_and(|e| e == "crt" || e == "conf");
        for file in files.into_iter().filter(has).filter(|_| node == "cp-1") {
            assert_ne!(std::fs::read(steady.join(file)).unwrap(), std::fs::read(new.join(file)).unwrap(), "{file}");
        }
    }
    // Every file of the export that is another one now is among them.
    let differs = |file: &&str| std::fs::read(steady.join(file)).unwrap() != std::fs::read(new.join(file)).unwrap();
    let certificates = [
        "pki/ca.crt",
        "pki/apiserver.crt",
        "pki/apiserver-kubelet-client.crt",
        "pki/apiserver-etcd-client.crt",
        "pki/front-proxy-ca.crt",
        "pki/front-proxy-client.crt",
        "pki/etcd/ca.crt",
        "pki/etcd/server.crt",
        "pki/etcd/peer.crt",
        "pki/etcd/healthcheck-client.crt",
        "pki/sa.pub",
        "kubelet.conf",
        "admin.conf",
        "scheduler.conf",
        "controller-manager.conf",
        "kubelet/kubelet.crt",
    ];
    for file in certificates.iter().filter(|file| differs(file)) {
        assert!(copied(&stages, "cp-1").contains(file), "{file}");
    }
    // etcd does not know the new CA yet, so its members can't be restarted one by one.
    assert!(stages.iter().any(|stage| stage["together"] == true));
    ground.run("alice", "rotate status -c prod --emergency").ends(0).says("delete configmap").says("ends     forged");
    rotates(&ground, "remove");
}

#[test]
fn a_generation_for_an_emergency_waits_and_makes_it_two_steps() {
    let ground = with_cluster();
    rotates(&ground, "start kubernetes etcd front-proxy service-account --standby");
    rotates(&ground, "trust");
    ground
        .run("alice", "rotate status --all-clusters")
        .ends(0)
        .says("etcd             trusted")
        .says("g2 for an emergency");
    // Other rotations go on past it.
    rotates(&ground, "start encryption");
    for step in ["next", "next --confirm nodes-have-bundle", "distrust --confirm secrets-rewritten"] {
        let moved = rotates(&ground, step);
        assert_eq!(moved["moves"].as_array().unwrap().len(), 1, "{step}: {moved}");
    }
    rotates(&ground, "remove");
    assert!(rotates(&ground, "promote")["moves"].as_array().unwrap().is_empty());
    let left = rotates(&ground, "start kubernetes")["left"][0].as_str().unwrap().to_owned();
    assert!(left.contains("g2 is kept for an emergency"), "{left}");
    // The emergency. Unless somebody says that nodes have it, the order is the one that asks nothing of them.
    rotates(&ground, "promote --emergency");
    assert!(stages(&ground).iter().any(|stage| stage["together"] == true));
    rotates(&ground, "undo --emergency");
    rotates(&ground, "promote --emergency --confirm nodes-have-bundle");
    rotates(&ground, "distrust --emergency");
    let stages = stages(&ground);
    assert!(stages.iter().all(|stage| stage["together"] == false), "everybody trusts both already");
    let first = copied(&stages[..1], "cp-1");
    assert!(first.contains(&"pki/ca.crt") && first.contains(&"pki/apiserver.crt"), "{first:?}");
    assert!(stages[1]["run"].as_str().unwrap().contains("delete configmap"));
    rotates(&ground, "remove");
    assert_eq!(phases(&ground), all("steady"));
}

#[test]
fn a_generation_for_an_emergency_that_a_leaver_could_open_goes_with_the_one_that_issues() {
    let ground = with_cluster();
    rotates(&ground, "start kubernetes --standby");
    rotates(&ground, "trust");
    ground.run("bob", "person remove alice --reason left --yes").ends(0);
    ground.run("bob", "reseal").ends(0);
    let started = rotates(&ground, "start kubernetes --because-of alice");
    assert_eq!(started["made"][0]["generation"], "g3");
    for step in ["trust", "promote", "distrust"] {
        rotates(&ground, step);
    }
    let status = data(&ground.run("bob", "rotate status -c prod -o json").ends(0), "rotate status");
    let states = &status["clusters"][0]["keysets"][0]["states"];
    assert_eq!(*states, serde_json::json!({"g1": "distrusted", "g2": "distrusted", "g3": "issuing"}));
    rotates(&ground, "remove");
    let verified = ground.verified();
    let owed = verified.findings.iter().filter(|found| found.code == kluis::model::Code::ExposureOpen);
    let paths: Vec<&str> = owed.filter_map(|found| found.path.as_deref()).collect();
    assert!(!paths.is_empty() && paths.iter().all(|path| !path.contains("/ca.kubernetes.")), "{paths:?}");
    // One that the leaver could not open is what to promote.
    rotates(&ground, "start etcd --standby");
    let left = rotates(&ground, "start etcd --because-of alice")["left"][0].as_str().unwrap().to_owned();
    assert!(left.contains("g2 is kept for an emergency"), "{left}");
}

#[test]
fn what_is_named_twice_is_taken_once() {
    let ground = with_cluster();
    let started = rotates(&ground, "start kubernetes kubernetes -c prod");
    assert_eq!(started["made"].as_array().unwrap().len(), 1);
    assert_eq!(rotates(&ground, "trust kubernetes kubernetes -c prod")["moves"].as_array().unwrap().len(), 1);
}

#[test]
fn a_step_that_is_not_reached_fails_and_one_that_was_taken_does_not() {
    let ground = with_cluster();
    rotates(&ground, "start kubernetes");
    refused(&ground, "rotate promote -c prod --yes", 3, "is staged");
    rotates(&ground, "trust");
    assert!(rotates(&ground, "trust")["moves"].as_array().unwrap().is_empty());
    refused(&ground, "rotate distrust -c prod --yes", 3, "is trusted");
    refused(&ground, "rotate start -c prod --because-of carrol --yes", 2, "no epoch ever listed");
}

#[test]
fn a_generation_in_progress_that_a_leaver_could_open_is_passed_over() {
    let ground = with_cluster();
    rotates(&ground, "start kubernetes");
    ground.run("bob", "person remove alice --reason left --yes").ends(0);
    ground.run("bob", "reseal").ends(0);
    let started = rotates(&ground, "start kubernetes --because-of alice");
    assert_eq!(started["made"][0]["generation"], "g3");
    for step in ["trust", "promote", "distrust", "remove"] {
        rotates(&ground, step);
    }
    let left = ["ca/kubernetes.g1.crt", "ca/kubernetes.g2.crt"].map(|path| format!("clusters/prod/{path}"));
    assert!(left.iter().all(|path| !ground.repo().join(path).exists()));
}

#[test]
fn an_undo_cuts_nobody_off_unseen() {
    let ground = with_cluster();
    for step in ["start kubernetes", "trust", "promote"] {
        rotates(&ground, step);
    }
    ground.run("alice", "cert issue client -c prod --lifetime 30d").ends(0);
    rotates(&ground, "undo --confirm clients-moved");
    // What her certificate is of would be trusted no more.
    refused(&ground, "rotate undo -c prod --yes", 3, "alice have certificates");
    rotates(&ground, "undo --confirm clients-moved");
}

#[test]
fn a_node_that_came_from_another_branch_meanwhile_is_issued_anew_before_its_ca_goes() {
    let ground = with_cluster();
    rotates(&ground, "start kubernetes");
    rotates(&ground, "trust");
    let main = ground.git("rev-parse --abbrev-ref HEAD");
    ground.git("checkout -q -b node");
    ground.edit("clusters/prod/cluster.toml", |text| {
        format!("{text}\n[[node]]\nname = \"w-2\"\nroles = [\"worker\"]\naddresses = [\"10.0.0.22\"]\n")
    });
    ground.run("alice", "cluster apply -c prod --yes").ends(0);
    ground.git(&format!("checkout -q {}", main.trim()));
    rotates(&ground, "promote");
    rotates(&ground, "distrust");
    ground.git("merge -q --no-edit node");
    refused(&ground, "rotate remove -c prod --yes", 3, "node/w-2");
    ground.run("alice", "cluster apply -c prod --yes").ends(0).says("its CA issues no more");
    rotates(&ground, "remove");
    assert_eq!(ground.owed(), [""; 0]);
}

#[test]
fn a_retired_cluster_stops_no_other() {
    let ground = with_cluster();
    ground.run("alice", &NEW.replace("prod", "test")).ends(0);
    ground.run("alice", "person update bob --keyholder test --issuer test").ends(0);
    ground.run("alice", "reseal").ends(0);
    for step in ["start front-proxy", "trust", "promote"] {
        ground.run("bob", &format!("rotate {step} --all-clusters --yes")).ends(0);
    }
    ground.run("bob", "cluster retire test --yes").ends(0);
    for step in ["distrust", "remove"] {
        ground.run("bob", &format!("rotate {step} --all-clusters --yes")).ends(0).says("test: it is retired");
    }
    assert_eq!(phases(&ground), all("steady"));
    ground.run("bob", "rotate status --all-clusters").ends(0).says("retired  test");
}
