//! `verify` of revisions, ranges, history and what is staged, and git's diffs by `textconv`: with the git program,
//! work trees and bare repositories.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod ground;
mod seat;

use std::path::{Path, PathBuf};
use std::process::Command;

use ground::{Answered, Ground};
use seat::*;

const NEW: &str = "cluster new prod --endpoint https://api.prod.example.org:6443 --kubernetes 1.36 \
    --node w-1=10.0.0.21:worker --yes";
const CA: &str = "clusters/prod/sealed/ca.kubernetes.g1.asc";

fn with_cluster() -> Ground {
    let ground = Ground::new(&["alice", "bob"], 1, 1);
    ground.run("alice", NEW).ends(0);
    ground
}

fn bare(ground: &Ground) -> PathBuf {
    let bare = ground.dir.path().join("bare.git");
    git(ground.dir.path(), &["clone", "-q", "--bare", "repo", "bare.git"]);
    bare
}

fn commit(ground: &Ground, message: &str) {
    ground.git("add -A");
    ground.git(&format!("-c user.name=t -c user.email=t@t commit -q -m {message}"));
}

/// The codes of errors.
fn errors(report: &serde_json::Value) -> Vec<&str> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings.filter(|finding| finding["level"] == "error").map(|finding| finding["code"].as_str().unwrap()).collect()
}

/// Verifies with the pin of the ground, in another folder.
fn verify_in(ground: &Ground, dir: &Path, words: &str) -> Answered {
    seat(ground, "alice").in_dir(dir).run(&format!("verify --pin {} {words} -o json", ground.pin))
}

#[test]
fn a_revision_is_verified_from_objects_also_in_a_bare_repository() {
    let ground = with_cluster();
    let bare = bare(&ground);
    ground.edit(CA, |text| text.replacen('A', "B", 1));
    commit(&ground, "damage");
    let branch = ground.git("rev-parse --abbrev-ref HEAD").trim().to_owned();
    verify_in(&ground, &ground.repo(), "--rev HEAD").ends(3).says("ciphertext-hash");
    verify_in(&ground, &ground.repo(), "--rev HEAD^").ends(0);
    let whole = verify_in(&ground, &bare, &format!("--rev {branch}")).ends(0).json();
    assert_eq!(whole["data"]["records"], 1);
    assert_eq!(whole["data"]["files"], verify_in(&ground, &ground.repo(), "--rev HEAD^").json()["data"]["files"]);
    // A tree will do: what a merge would give need not be committed anywhere.
    let tree = ground.git("rev-parse HEAD^^{tree}").trim().to_owned();
    verify_in(&ground, &ground.repo(), &format!("--rev {tree}")).ends(0);
    verify_in(&ground, &bare, "--rev nowhere").ends(2).says("knows no revision nowhere");
    verify_in(&ground, &bare, "").ends(3).says("no repository of kluis");
}

#[test]
fn a_revision_is_judged_like_files_links_submodules_and_odd_names_included() {
    let ground = with_cluster();
    ground.git("tag good");
    let codes_of = |ground: &Ground| {
        let report = verify_in(ground, &ground.repo(), "--rev HEAD").ends(3).json();
        errors(&report).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    std::os::unix::fs::symlink("/etc/passwd", ground.repo().join("pubkeys/link.asc")).unwrap();
    commit(&ground, "link");
    assert_eq!(codes_of(&ground), ["not-regular"]);
    ground.git("reset -q --hard good");
    let head = ground.git("rev-parse HEAD");
    ground.git(&format!("update-index --add --cacheinfo 160000,{},trust/log/sub", head.trim()));
    ground.git("-c user.name=t -c user.email=t@t commit -q -m gitlink");
    assert_eq!(codes_of(&ground), ["not-regular"]);
    ground.git("reset -q --hard good");
    std::fs::create_dir(ground.repo().join("clusters/Prod")).unwrap();
    std::fs::write(ground.repo().join("clusters/Prod/cluster.toml"), "x").unwrap();
    commit(&ground, "case");
    assert_eq!(codes_of(&ground), ["bad-name"]);
    ground.git("reset -q --hard good");
    std::fs::write(ground.repo().join("trust/epoch/0002.toml"), vec![b'x'; 300 << 10]).unwrap();
    commit(&ground, "large");
    assert_eq!(codes_of(&ground), ["limit"]);
}

#[test]
fn a_revision_moves_no_pin_and_makes_no_first_use() {
    let ground = with_cluster();
    let alice = seat(&ground, "alice");
    alice.run("verify --rev HEAD").ends(4).says("unpinned");
    let alice = alice.pinned();
    ground.git("checkout -q -b proposal");
    ground.run("alice", "cert issue -c prod --node w-1 --yes").ends(0);
    alice.run("verify --rev proposal").ends(0);
    ground.git("checkout -q -");
    // Were the proposal's heads pinned, the branch without it would be called a rollback.
    alice.run("verify").ends(0);
}

#[test]
fn what_was_signed_at_the_base_is_still_there_unchanged() {
    let ground = with_cluster();
    ground.git("tag base");
    ground.run("alice", "cert issue -c prod --node w-1 --yes").ends(0);
    verify_in(&ground, &ground.repo(), "--base base").ends(0);
    verify_in(&ground, &ground.repo(), "--rev HEAD --base HEAD^").ends(0);
    verify_in(&ground, &bare(&ground), "--rev HEAD --base base").ends(0);
    // The other way round something is gone.
    let gone = verify_in(&ground, &ground.repo(), "--rev base --base HEAD").ends(3).json();
    assert_eq!(errors(&gone), ["removed-in-range"; 2], "{gone:#}");
    assert!(gone["findings"][1]["fix"].as_str().unwrap().starts_with("git checkout HEAD -- trust/log/"));
    // A signature that was made again has other bytes.
    let log = ground.git("ls-files trust/log");
    let signature = log.lines().find(|path| path.ends_with(".sig")).unwrap();
    let record = signature.replace(".alice.sig", ".toml");
    let alice = ground.person("alice");
    let key = alice.certificate.usable(ground.now).unwrap().sign[0].clone();
    let bytes = std::fs::read(ground.repo().join(record)).unwrap();
    let later = ground.now.plus(kluis::model::Span::minutes(1));
    let again = alice.keys().sign(&bytes, kluis::openpgp::Kind::Record, &alice.certificate, &key, later).unwrap();
    std::fs::write(ground.repo().join(signature), again).unwrap();
    let changed = verify_in(&ground, &ground.repo(), "--base HEAD").ends(3).json();
    assert_eq!(errors(&changed), ["changed-in-range"], "{changed:#}");
}

#[test]
fn a_draft_at_the_base_may_be_drafted_anew() {
    let ground = Ground::new(&["alice", "bob"], 2, 1);
    ground.run("alice", "trust set expires 100d").ends(0);
    ground.git("tag base");
    ground.run("alice", "trust set expires 200d").ends(0);
    let report = verify_in(&ground, &ground.repo(), "--base base").ends(3).json();
    assert!(!codes(&report).iter().any(|code| code.ends_with("-in-range")), "{report:#}");
}

#[test]
fn a_private_key_in_history_is_found_where_it_was_taken_out_again() {
    let ground = with_cluster();
    let files: [(&str, Vec<u8>); 3] = [
        ("notes.txt", format!("x\n-----BEGIN EC PRIVATE KEY-----\n{}\n", "A".repeat(64)).into_bytes()),
        ("deploy/alice.key", std::fs::read(&ground.person("alice").key).unwrap()),
        ("deploy/ca.der", {
            let opened = ground.run("alice", "open -c prod ca.kubernetes --yes").ends(0).out;
            let mut pem = opened.lines().filter(|line| !line.starts_with("-----"));
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.decode(pem.by_ref().collect::<String>()).unwrap()
        }),
    ];
    for (path, bytes) in files {
        let path = ground.repo().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        commit(&ground, "oops");
        std::fs::remove_file(&path).unwrap();
        commit(&ground, "nobody_saw");
    }
    ground.git("checkout -q -b gone HEAD~5");
    verify_in(&ground, &ground.repo(), "").ends(0);
    let report = verify_in(&ground, &ground.repo(), "--history").ends(3).json();
    assert_eq!(errors(&report), ["secret-material"; 3], "{report:#}");
    let paths: Vec<_> = report["findings"].as_array().unwrap().iter().filter_map(|f| f["path"].as_str()).collect();
    assert_eq!(paths, ["deploy/alice.key", "deploy/ca.der", "notes.txt"]);
    let clone = ground.dir.path().join("shallow");
    git(ground.dir.path(), &["clone", "-q", "--depth", "1", &format!("file://{}", ground.repo().display()), "shallow"]);
    let report = verify_in(&ground, &clone, "--history").json();
    assert!(codes(&report).contains(&"history-incomplete"), "{report:#}");
}

#[test]
fn a_private_key_that_only_a_tag_names_is_found() {
    let ground = with_cluster();
    let file = ground.dir.path().join("key");
    std::fs::write(&file, format!("-----BEGIN PRIVATE KEY-----\n{}\n", "A".repeat(64))).unwrap();
    let blob = ground.git(&format!("hash-object -w {}", file.display()));
    verify_in(&ground, &ground.repo(), "--history").ends(0);
    ground.git(&format!("tag key {}", blob.trim()));
    let report = verify_in(&ground, &ground.repo(), "--history").ends(3).json();
    assert_eq!(errors(&report), ["secret-material"], "{report:#}");
    assert_eq!(report["findings"][1]["path"], "refs/tags/key");
}

#[test]
fn staged_private_keys_are_refused_wherever_they_lie() {
    let ground = with_cluster();
    let alice = seat(&ground, "alice");
    alice.run("verify --staged").ends(0);
    std::fs::write(ground.repo().join("README.md"), format!("-----BEGIN PRIVATE KEY-----\n{}\n", "A".repeat(64)))
        .unwrap();
    alice.run("verify --staged").ends(0);
    ground.git("add README.md");
    alice.run("verify --staged").ends(3).says("README.md").says("git rm --cached -- README.md");
    ground.git("rm -q --cached README.md");
    alice.run("verify --staged").ends(0);
}

// --- textconv -------------------------------------------------------------------------------------------------------

/// The git program with kluis as its diff driver, as the README has it.
fn git_with_driver(ground: &Ground, args: &[&str]) -> String {
    let driver = format!("diff.kluis.textconv={} textconv", env!("CARGO_BIN_EXE_kluis"));
    let mut git = Command::new("git");
    git.arg("-C").arg(ground.repo()).args(["-c", &driver]).args(args);
    git.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", "/nonexistent");
    let output = git.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn git_shows_recipients_and_facts_and_never_ciphertext() {
    let ground = with_cluster();
    let attributes = kluis::repo::with_attributes(b"").unwrap();
    std::fs::write(ground.repo().join(".gitattributes"), attributes).unwrap();
    commit(&ground, "attributes");
    ground.run("alice", "person update bob --keyholder prod").ends(0);
    ground.run("alice", "reseal").ends(0);
    let shown = git_with_driver(&ground, &["show", "HEAD", "--", CA]);
    let bob = ground.person("bob").certificate.usable(ground.now).unwrap().encrypt[0].key_id();
    assert!(shown.contains(&format!("+  recipient   bob {bob}")), "{shown}");
    assert!(shown.contains("\n   recipient   alice "), "{shown}");
    let all = git_with_driver(&ground, &["log", "-p", "--all"]);
    for hidden in ["BEGIN PGP MESSAGE", "BEGIN CERTIFICATE", "BEGIN PGP PUBLIC KEY", "Binary files"] {
        // The first commit came before the attributes, which git reads from the work tree as it is now.
        assert!(!all.contains(hidden), "{hidden}");
    }
    assert!(all.contains("  subject     CN=") && all.contains("  primary     "), "{all}");
}

#[test]
fn a_damaged_file_does_not_stop_a_diff() {
    let ground = with_cluster();
    std::fs::write(ground.repo().join(".gitattributes"), kluis::repo::with_attributes(b"").unwrap()).unwrap();
    commit(&ground, "attributes");
    std::fs::write(ground.repo().join(CA), "-----BEGIN PGP MESSAGE-----\n\nAAAA\n").unwrap();
    let shown = git_with_driver(&ground, &["diff"]);
    assert!(shown.contains("FAULT") && shown.contains("-  recipient   alice"), "{shown}");
}
