//! Attacks on the machine that runs kluis, on CI, and on the moment between check and use (reference: threats T23, T61 to T65,
//! T80), with real gpg, git and agents.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod gnupg;
mod ground;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use gnupg::Home;
use ground::Ground;
use kluis::ops::{Gate, Session, Settings};
use kluis::trust::anchor::PinLine;

const NEW: &str = "cluster new prod --endpoint https://api.example.org:6443 --kubernetes 1.36 \
                   --node cp-1=10.0.0.11:control-plane,etcd --yes";

/// A repository of alice, whose key is in a real gpg-agent, too.
fn victim() -> (Ground, Home) {
    let ground = Ground::at(kluis::env::now(), &["alice", "bob"], 1, 1);
    let home = Home::new();
    home.gpg(&["--import", ground.person("alice").key.to_str().unwrap()]);
    (ground, home)
}

/// The binary as alice starts it, with her agent.
fn kluis(ground: &Ground, home: &Home, words: &str) -> Command {
    let mut kluis = Command::new(env!("CARGO_BIN_EXE_kluis"));
    kluis.arg("-C").arg(ground.repo()).args(["--pin", &ground.pin]).args(words.split_whitespace());
    kluis.env("GNUPGHOME", home.path()).env("HOME", ground.dir.path()).stdin(Stdio::null());
    kluis.env("XDG_STATE_HOME", ground.dir.path().join("state"));
    kluis
}

#[track_caller]
fn fine(output: &Output) -> String {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    text
}

/// The key ids to which gpg says a file is sealed, in order; without looking into any keyring.
fn recipients(path: &Path) -> Vec<String> {
    let empty = tempfile::Builder::new().prefix("ke").tempdir_in("/tmp").unwrap();
    let mut gpg = Command::new("gpg");
    gpg.arg("--homedir").arg(empty.path()).args(["--batch", "--list-packets", "--list-only"]).arg(path);
    let output = gpg.env("LC_ALL", "C").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let ids = text.lines().filter(|line| line.starts_with(":pubkey enc packet"));
    ids.map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect()
}

fn sealed(ground: &Ground) -> Vec<PathBuf> {
    let folder = fs::read_dir(ground.repo().join("clusters/prod/sealed")).unwrap();
    folder.map(|entry| entry.unwrap().path()).collect()
}

/// Every sealed file is for exactly these people's keys.
#[track_caller]
fn sealed_to(ground: &Ground, people: &[&str]) {
    let ids: Vec<String> = people
        .iter()
        .map(|name| ground.person(name).certificate.usable(ground.now).unwrap().encrypt[0].key_id().to_string())
        .collect();
    assert!(sealed(ground).len() >= 6);
    for path in sealed(ground) {
        assert_eq!(recipients(&path), ids, "{}", path.display());
    }
}

fn add_bob(ground: &Ground) {
    ground.epoch(&["alice"], |epoch| {
        epoch.clusters.values_mut().next().unwrap().keyholders.insert(ground.person("bob").name.clone());
    });
}

#[test]
fn t61_gpg_conf_names_no_recipients() {
    let (ground, home) = victim();
    home.person("mallory@example.org", &[]);
    let mallory = home.listed("mallory@example.org", "fpr", 9)[0].clone();
    let conf =
        format!("encrypt-to {mallory}\nhidden-encrypt-to {mallory}\ndefault-key {mallory}\ngroup alice={mallory}\n");
    fs::write(home.path().join("gpg.conf"), conf).unwrap();
    fine(&kluis(&ground, &home, NEW).output().unwrap());
    sealed_to(&ground, &["alice"]);
    add_bob(&ground);
    fine(&kluis(&ground, &home, "reseal").output().unwrap());
    sealed_to(&ground, &["alice", "bob"]);
    assert_eq!(ground.errors(), [""; 0]);
}

#[test]
fn t62_a_trusted_key_with_the_same_name_in_the_keyring_is_not_looked_at() {
    let (ground, home) = victim();
    // An attacker's key that calls itself bob, ultimately trusted here, before bob becomes a keyholder.
    home.person("bob", &[]);
    let fake = home.listed("bob", "fpr", 9)[0].clone();
    let trust = home.file("trust", format!("{fake}:6:\n").as_bytes());
    home.gpg(&["--import-ownertrust", &trust]);
    fine(&kluis(&ground, &home, NEW).output().unwrap());
    add_bob(&ground);
    fine(&kluis(&ground, &home, "reseal").output().unwrap());
    sealed_to(&ground, &["alice", "bob"]);
    let fakes = home.listed("bob", "sub", 4);
    assert!(sealed(&ground).iter().all(|path| recipients(path).iter().all(|id| !fakes.contains(id))));
}

#[test]
fn t63_the_environment_changes_neither_the_policy_nor_the_repository() {
    let (ground, home) = victim();
    let decoy = Ground::at(ground.now, &["alice"], 1, 1);
    let before = decoy.tree();
    let tools = tempfile::tempdir().unwrap();
    for name in ["git", "gpg", "sh"] {
        let path = tools.path().join(name);
        fs::write(&path, format!("#!/bin/sh\ntouch {}/called\n", tools.path().display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let policy = tools.path().join("policy.toml");
    fs::write(&policy, "[hash_algorithms]\nsha1.collision_resistance = \"always\"\ndefault_disposition = \"always\"\n")
        .unwrap();
    let git = decoy.repo().join(".git");
    let hostile = |words: &str| {
        let mut command = kluis(&ground, &home, words);
        command.env("SEQUOIA_CRYPTO_POLICY", &policy).env("GIT_DIR", &git).env("GIT_WORK_TREE", decoy.repo());
        command.env("GIT_INDEX_FILE", git.join("index")).env("GIT_OBJECT_DIRECTORY", git.join("objects"));
        command
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "core.hooksPath")
            .env("GIT_CONFIG_VALUE_0", tools.path());
        let path = std::env::var_os("PATH").unwrap();
        let path = std::env::join_paths([tools.path().to_owned()].into_iter().chain(std::env::split_paths(&path)));
        command.env("PATH", path.unwrap()).output().unwrap()
    };
    fine(&hostile(NEW));
    assert!(ground.repo().join("clusters/prod/cluster.toml").exists(), "the repository of -C");
    assert!(decoy.tree() == before && !tools.path().join("called").exists());
    // A SHA-1 signature in alice's name stays what it is.
    let record = fs::read_dir(ground.repo().join(format!("trust/log/{}", ground.now.month()))).unwrap();
    let text = record.map(|e| e.unwrap().path()).find(|path| path.extension().is_some_and(|e| e == "toml")).unwrap();
    let signature = text.with_extension("alice.sig");
    fs::remove_file(&signature).unwrap();
    let user = ground.person("alice").certificate.fingerprint().to_string();
    let weak = ["--allow-weak-digest-algos", "--digest-algo", "SHA1", "--sig-notation", "kind@kluis=record"];
    let paths = ["-u", &user, "-o", signature.to_str().unwrap(), "-b", text.to_str().unwrap()];
    home.gpg(&[weak.as_slice(), &paths].concat());
    let output = hostile("verify -o json");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let codes: Vec<&str> = report["findings"].as_array().unwrap().iter().map(|f| f["code"].as_str().unwrap()).collect();
    assert!(output.status.code() == Some(3) && codes.contains(&"weak-hash"), "{report:#}");
}

#[test]
fn t64_verify_needs_no_secret_no_home_no_gpg_and_no_network() {
    let ground = Ground::at(kluis::env::now(), &["alice"], 1, 1);
    ground.run("alice", NEW).ends(0);
    let program = env!("CARGO_BIN_EXE_kluis");
    let words =
        ["-C", ground.dir.path().join("repo").to_str().unwrap(), "--pin", &ground.pin, "verify"].map(str::to_owned);
    let alone = Command::new(program).env_clear().args(&words).stdin(Stdio::null()).output().unwrap();
    assert!(fine(&alone).starts_with("note[single-key]"), "{alone:?}");
    let unshared = Command::new("unshare").args(["-rn", program]).args(&words).env_remove("HOME").output().unwrap();
    fine(&unshared);
    assert_eq!(alone.stdout, unshared.stdout);
}

/// Every command that would use a key, on a tree that is bad.
const USES: &[&str] = &[
    "reseal",
    "cert issue apiserver --node cp-1",
    "cluster apply -c prod --yes",
    "open ca.kubernetes --yes",
    "export kubeadm --node cp-1 --out /nowhere/at/all",
    "trust set threshold.trust 2",
    "trust sign --yes",
    "person update bob --role member",
    "cluster new other --endpoint https://other.example.org --kubernetes 1.36 --yes",
];

#[test]
fn t65_t23_a_tree_that_ci_calls_green_is_judged_again_before_any_key_is_asked_for() {
    let (ground, home) = victim();
    fine(&kluis(&ground, &home, NEW).output().unwrap());
    // The pull request takes `verify` out of the workflow, and swaps a key: CI says green.
    fs::create_dir_all(ground.repo().join(".github/workflows")).unwrap();
    fs::write(ground.repo().join(".github/workflows/kluis.yml"), "jobs: {verify: {steps: [{run: 'true'}]}}\n").unwrap();
    let (mallory, _) = kluis::openpgp::generate("bob", ground.now.minus(kluis::model::Span::hours(1)), None).unwrap();
    fs::write(ground.repo().join("pubkeys/bob.asc"), mallory.to_stored()).unwrap();
    ground.git("add -A");
    ground.git("commit -q -m green");
    let head = ground.git("rev-parse HEAD");
    // No agent that could answer: whoever asked one would end 6, not 3.
    home.gpg(&["--version"]);
    let nobody = Home::new();
    for words in USES {
        let output = kluis(&ground, &nobody, words).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{words}: {text}");
        assert!(text.contains("cert-fingerprint") && text.contains("pubkeys/bob.asc"), "{words}: {text}");
    }
    assert_eq!((ground.git("rev-parse HEAD"), ground.git("status --porcelain")), (head, String::new()));
}

/// Between the check and the use of a file, the file is changed: what was checked is used, or nothing is.
#[test]
fn t80_commands_use_the_bytes_that_were_checked() {
    let ground = Ground::at(kluis::env::now(), &["alice", "bob"], 1, 1);
    ground.run("alice", NEW).ends(0);
    let mut session = Session {
        settings: Settings {
            dir: ground.repo(),
            identity: Some(ground.person("alice").key.clone()),
            pin: PinLine::parse(&ground.pin),
            yes: true,
            state: Some(ground.state("alice")),
            ..Settings::default()
        },
        now: ground.now,
        rng: kluis::env::Rng::system(),
        terminal: kluis::env::Terminal::nobody(),
        notes: Vec::new(),
        progress: Box::new(|_, _, _| {}),
    };
    add_bob(&ground);
    let mut repository = session.open(&Gate::Valid).unwrap();
    // The attacker changes files now: bob's certificate, and a sealed file.
    let (mallory, _) = kluis::openpgp::generate("bob", ground.now.minus(kluis::model::Span::hours(1)), None).unwrap();
    fs::write(ground.repo().join("pubkeys/bob.asc"), mallory.to_stored()).unwrap();
    fs::write(ground.repo().join("clusters/prod/sealed/ca.kubernetes.g1.asc"), "rubbish").unwrap();
    let cluster = repository.epoch().unwrap().clusters.keys().next().unwrap().clone();
    // Opening works on what was checked.
    let mut actor = session.actor(&repository.verified).unwrap();
    let found = kluis::ops::open::find(&repository, &cluster, "ca.kubernetes").unwrap();
    let opened = kluis::ops::open::open(&repository, &mut actor, &found).unwrap();
    assert!(opened[0].to_pem().expose().starts_with(b"-----BEGIN PRIVATE KEY-----"));
    // Sealing would, too: bob's certificate in memory is the one that the epoch pins.
    let pinned = repository.verified.chain.latest().unwrap().epoch.persons[&ground.person("bob").name].cert_sha256;
    let used = repository.verified.chain.certificate(&pinned).unwrap().fingerprint();
    assert!(used == ground.person("bob").certificate.fingerprint() && used != mallory.fingerprint());
    // And what would write refuses, since a managed file differs from the last commit.
    let refused = kluis::ops::reseal::reseal(&mut session, &mut repository, &[cluster], false);
    let what = refused.err().unwrap().to_string();
    assert!(what.contains("pubkeys/bob.asc") || what.contains("ca.kubernetes.g1.asc"), "{what}");
}
