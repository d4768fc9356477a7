//! Real kops on the keysets that `kluis export kops` writes: it applies a cluster on a state store in a folder, goes on with our
//! CAs, and makes none of its own. Machines are of the kind `metal`, for which kops asks no cloud; it runs without a network.
//! Not tried: nodes, which need machines and what they download.
//!
//! Owns the state store; other tests take a store that kops filled by itself from here.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_yaml_ng::Value;
use sha2::{Digest, Sha256};

use crate::exports::{Export, Exports, hex};
use crate::process::{Run, Scratch};
use crate::programs;

/// The cluster's name, which kops wants to be one of DNS.
const CLUSTER: &str = "metal.k8s.local";

/// The version of kops: it takes the last part of where it finds programs for that.
const VERSION: &str = "1.36.2";

/// The keysets that kops makes where it finds none.
const KEYSETS: [&str; 8] = [
    "apiserver-aggregator-ca",
    "etcd-clients-ca",
    "etcd-manager-ca-events",
    "etcd-manager-ca-main",
    "etcd-peers-ca-events",
    "etcd-peers-ca-main",
    "kubernetes-ca",
    "service-account",
];

/// A state store in a folder, with a cluster described in it and not yet applied.
pub struct Store {
    directory: PathBuf,
}

impl Store {
    /// Describes a cluster in a new store in `directory`.
    pub fn describe(directory: &Path) -> Store {
        let store = Store { directory: directory.to_path_buf() };
        fs::create_dir_all(directory.join("store")).expect("a writable scratch directory");
        store.lay_assets();
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJZZWkRhxKr8p0714YFkYNdysRA0dUf+SBjmvQ3+7lCF";
        fs::write(directory.join("id.pub"), key).expect("a writable scratch directory");
        store.kops(
            &["create", "cluster", "--name", CLUSTER, "--cloud=metal", "--zones=main", "--networking=cni"],
            &["--channel=none", "--kubernetes-version=1.36.2", "--ssh-public-key=id.pub"],
        );
        store
    }

    /// What nodes would download. kops only asks for the hashes.
    fn lay_assets(&self) {
        let programs = ["nodeup", "channels", "protokube"].map(|name| format!("linux/ARCH/{name}"));
        let images =
            ["kops-utils-cp", "kops-controller", "kops-channels", "dns-controller", "kube-apiserver-healthcheck"];
        let images = images.map(|name| format!("images/{name}-ARCH.tar.gz"));
        for path in programs.iter().chain(&images) {
            for arch in ["amd64", "arm64"] {
                let path = self.directory.join(VERSION).join(path.replace("ARCH", arch));
                fs::create_dir_all(path.parent().expect("a folder")).expect("a writable scratch directory");
                fs::write(&path, "x").expect("a writable scratch directory");
                let sum = PathBuf::from(format!("{}.sha256", path.display()));
                fs::write(sum, hex(&Sha256::digest("x"))).expect("a writable scratch directory");
            }
        }
    }

    /// Applies the cluster, as an administrator does after every change.
    pub fn apply(&self) -> String {
        self.kops(&["update", "cluster", CLUSTER, "--yes", "--create-kube-config=false"], &[])
    }

    /// Where `pki/` of the cluster is.
    pub fn folder(&self) -> PathBuf {
        self.directory.join("store").join(CLUSTER)
    }

    /// Runs kops, which must succeed, without a network; returns what it said on both streams.
    fn kops(&self, args: &[&str], more: &[&str]) -> String {
        let url = |name: &str| format!("file://{}", self.directory.join(name).display());
        let run = Run::new(&programs::system("unshare"), &self.directory)
            .args(["--map-root-user", "--net"])
            .args([programs::kops()])
            .current_dir(&self.directory)
            .env("KOPS_STATE_STORE", url("store"))
            .env("KOPS_BASE_URL", url(VERSION))
            .env("KOPS_FEATURE_FLAGS", "Metal,-ImageDigest");
        let ended = run.args(args).args(more).ends();
        assert!(ended.output.status.success(), "{ended}");
        format!("{}{}", ended.stdout(), ended.stderr())
    }

    fn take(&self, export: &Export) {
        let pki = self.folder().join("pki");
        fs::create_dir_all(&pki).expect("a writable scratch directory");
        let from = export.path().join("pki/.");
        let cp = Run::new(&programs::system("cp"), &self.directory);
        cp.args([std::ffi::OsStr::new("-r"), from.as_os_str(), pki.as_os_str()]).succeeds();
    }

    /// Every keyset with the bytes of its file.
    fn keysets(&self) -> BTreeMap<String, String> {
        let private = self.folder().join("pki/private");
        let names = fs::read_dir(&private).expect("keysets").map(|entry| entry.expect("a keyset").file_name());
        let names = names.map(|name| name.into_string().expect("ASCII"));
        names
            .map(|name| (name.clone(), fs::read_to_string(private.join(name).join("keyset.yaml")).expect("YAML")))
            .collect()
    }

    fn keyset(&self, name: &str) -> Value {
        serde_yaml_ng::from_str(&self.keysets()[name]).expect("YAML")
    }
}

fn ids(keyset: &Value) -> Vec<&str> {
    let keys = keyset["spec"]["keys"].as_sequence().expect("keys");
    keys.iter().map(|key| key["id"].as_str().expect("an id")).collect()
}

fn prod(scratch: &Path) -> Exports {
    let exports = Exports::found(scratch, "prod");
    let nodes = ["--node", "cp-1=192.0.2.11:control-plane,etcd", "--yes"];
    let new = ["cluster", "new", "prod", "--endpoint", "https://192.0.2.10", "--kubernetes", "1.36"];
    exports.kluis(new.into_iter().chain(nodes));
    exports
}

#[test]
fn kops_goes_on_with_our_keysets_in_every_phase_and_makes_none_of_its_own() {
    let scratch = Scratch::new();
    let exports = prod(scratch.path());
    let store = Store::describe(&scratch.path().join("kops"));
    let rotate = |step: &[&str]| {
        let cas = ["kubernetes", "etcd", "front-proxy", "service-account", "-c", "prod", "--yes"];
        exports.kluis(["rotate"].iter().chain(step).chain(&cas).copied());
    };
    let steps: [(&str, &[&str]); 4] = [
        ("trusted", &["trust"]),
        ("promoted", &["promote", "--confirm", "nodes-have-bundle", "--confirm", "clients-have-bundle"]),
        (
            "distrusted",
            &[
                "distrust",
                "--confirm",
                "nodes-have-leaves",
                "--confirm",
                "clients-moved",
                "--confirm",
                "tokens-renewed",
            ],
        ),
        ("removed", &["remove"]),
    ];
    let mut phase = ("steady", [].as_slice());
    let mut coming = steps.into_iter();
    loop {
        let (name, step) = phase;
        if name == "trusted" {
            rotate(&["start"]);
        }
        if !step.is_empty() {
            rotate(step);
        }
        store.take(&exports.whole("kops", name));
        let before = store.keysets();
        assert_eq!(before.keys().map(String::as_str).collect::<Vec<_>>(), KEYSETS);
        let said = store.apply();
        assert!(!said.contains("Issuing new certificate") && !said.contains("has changed"), "{name}: {said}");
        assert!(store.keysets() == before, "kops changed a keyset in {name}");
        let kubernetes = store.keyset("kubernetes-ca");
        let trusted = ids(&kubernetes);
        let primary = if name == "promoted" { trusted.len() - 1 } else { 0 };
        assert_eq!(kubernetes["spec"]["primaryId"], trusted[primary], "{name}");
        assert_eq!(trusted.len(), if matches!(name, "trusted" | "promoted") { 2 } else { 1 }, "{name}");
        let listed = store.kops(&["get", "keypairs", "--name", CLUSTER], &[]);
        for name in KEYSETS {
            assert!(listed.contains(name), "{listed}");
        }
        let Some(next) = coming.next() else { break };
        phase = next;
    }
}

#[test]
fn kops_distrusts_a_ca_of_ours_by_its_id_alone() {
    let scratch = Scratch::new();
    let exports = prod(scratch.path());
    let store = Store::describe(&scratch.path().join("kops"));
    for step in
        [&["start"][..], &["trust"], &["promote", "--confirm", "nodes-have-bundle", "--confirm", "clients-have-bundle"]]
    {
        exports.kluis(["rotate"].iter().chain(step).chain(&["kubernetes", "-c", "prod", "--yes"]).copied());
    }
    store.take(&exports.whole("kops", "promoted"));
    store.apply();
    let keyset = store.keyset("kubernetes-ca");
    let oldest = ids(&keyset)[0];
    let said = store.kops(&["distrust", "keypair", "kubernetes-ca", oldest, "--name", CLUSTER], &[]);
    assert!(said.contains(&format!("Distrusted kubernetes-ca {oldest}")), "{said}");
    assert!(store.keyset("kubernetes-ca")["spec"]["keys"][0]["distrustTimestamp"].is_string());
}

#[test]
fn where_it_finds_none_kops_makes_keysets_of_the_same_form() {
    let scratch = Scratch::new();
    let store = Store::describe(&scratch.path().join("kops"));
    let said = store.apply();
    assert!(
        said.contains("Issuing new certificate: \"kubernetes-ca\""),
        "what the other test looks for is what kops says"
    );
    let ours = prod(scratch.path()).whole("kops", "steady");
    assert_eq!(store.keysets().keys().map(String::as_str).collect::<Vec<_>>(), KEYSETS);
    for (name, own) in store.keysets() {
        let ours = fs::read_to_string(ours.file(&format!("pki/private/{name}/keyset.yaml"))).expect("a keyset");
        // The same lines, whatever the values: an id and a key are quoted and indented alike.
        let shape = |text: &str| -> Vec<String> {
            let line = |line: &str| match line.split_once(": ") {
                Some((key, value)) => format!("{key}: {}", if value.starts_with('"') { "\"\"" } else { "" }),
                None => line.to_owned(),
            };
            text.lines().map(line).collect()
        };
        assert_eq!(shape(&ours), shape(&own), "{name}");
    }
}
