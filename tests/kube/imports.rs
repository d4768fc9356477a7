//! `cluster import` of what other programs made: talosctl's secrets and machine configurations, a state store of kops, and
//! Secrets of Cluster API as an API server gives them back. Each comes out of an export again as it went in.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_yaml_ng::Value;

use crate::control_plane::ControlPlane;
use crate::exports::{Export, Exports};
use crate::kops::Store;
use crate::process::{Run, Scratch};
use crate::programs;
use crate::talos::{configurations, own_secrets};

const ENDPOINT: &str = "https://192.0.2.10:6443";

/// The words of an import, but for where it comes from.
fn words<'a>(distribution: &'a str, from: &'a str, endpoint: &'a str) -> Vec<&'a str> {
    let mut words = vec!["cluster", "import", "edge", "--distribution", distribution, "--from", from];
    words.extend(["--kubernetes", "1.36", "--endpoint", endpoint, "--yes"]);
    words
}

fn text(path: &Path) -> &str {
    path.to_str().expect("scratch paths are ASCII")
}

/// The public key of a private one, as openssl reads it.
fn public(scratch: &Path, private: &str) -> String {
    Run::new(&programs::system("openssl"), scratch).args(["pkey", "-pubout"]).input(private).succeeds()
}

#[test]
fn talosctls_own_secrets_and_machine_configurations_come_out_as_they_went_in() {
    let scratch = Scratch::new();
    let secrets = own_secrets(scratch.path());
    let machines = scratch.path().join("machines");
    fs::create_dir(&machines).expect("a writable scratch directory");
    configurations(&machines, &secrets);
    let wanted = fs::read_to_string(&secrets).expect("talosctl made it");
    for (name, from) in [("secrets", secrets.clone()), ("machine", machines.join("controlplane.yaml"))] {
        let home = scratch.path().join(name);
        fs::create_dir(&home).expect("a writable scratch directory");
        let exports = Exports::found(&home, "edge");
        let shown = exports.kluis(words("talos", text(&from), ENDPOINT).into_iter().chain(["--dry-run"]));
        assert!(shown.starts_with("Would adopt cluster edge (talos 1.36"), "{shown}");
        exports.kluis(words("talos", text(&from), ENDPOINT));
        exports.kluis(["verify"]);
        let got = exports.whole("talos", "out");
        let got = fs::read_to_string(got.file("secrets.yaml")).expect("an export can be read");
        assert!(got == wanted, "{name}: the export is another file than talosctl's own");
    }
    // A worker has none of the keys, and that is what is said.
    let exports = Exports::found(&scratch.path().join("machines"), "edge");
    let worker = machines.join("worker.yaml");
    let run = exports.kluis_run().args(["--identity", "../alice.secret.asc"]);
    let refused = run.args(words("talos", text(&worker), ENDPOINT)).refused();
    assert!(refused.contains("worker"), "{refused}");
}

#[test]
fn a_state_store_of_kops_comes_in_and_goes_back() {
    let scratch = Scratch::new();
    let store = Store::describe(&scratch.path().join("kops"));
    store.apply();
    let exports = Exports::found(scratch.path(), "edge");
    let folder = store.folder();
    exports.kluis(words("kubeadm", text(&folder), ENDPOINT));
    exports.kluis(["verify"]);
    let out = exports.whole("kops", "out");
    let primary = |root: &Path, keyset: &str| {
        let path = root.join("pki/private").join(keyset).join("keyset.yaml");
        let yaml: Value = serde_yaml_ng::from_str(&fs::read_to_string(&path).expect("a keyset")).expect("YAML");
        let spec = &yaml["spec"];
        let keys = spec["keys"].as_sequence().expect("keys");
        let key = keys.iter().find(|one| one["id"] == spec["primaryId"]).expect("the primary key");
        let decoded = |name: &str| {
            let bytes = STANDARD.decode(key[name].as_str().expect("base64")).expect("base64");
            String::from_utf8(bytes).expect("PEM")
        };
        (decoded("publicMaterial"), public(scratch.path(), &decoded("privateMaterial")))
    };
    for keyset in ["kubernetes-ca", "apiserver-aggregator-ca", "etcd-clients-ca", "service-account"] {
        let (before, after) = (primary(&folder, keyset), primary(out.path(), keyset));
        assert_eq!(before.1, after.1, "{keyset}: another key");
        // Of a service-account key the certificate is no more than a wrapping.
        assert!(before.0.trim() == after.0.trim() || keyset == "service-account", "{keyset}: another certificate");
    }
    assert_eq!(primary(&folder, "kubernetes-ca").0.trim(), exports.authority("kubernetes", 1).trim());
}

#[test]
fn secrets_of_cluster_api_come_out_of_an_api_server_into_another_repository() {
    let plane = ControlPlane::start(1);
    plane.as_super_admin().args(["create", "namespace", "fleet"]).succeeds();
    let steady = plane.exports.whole("capi", "steady");
    let run = plane.as_super_admin().args(["apply", "--server-side", "--namespace=fleet"]);
    run.flag("filename", steady.file("secrets.yaml")).succeeds();
    let run = plane.as_super_admin().args(["get", "secret", "--namespace=fleet", "--output=yaml"]);
    let secrets = run.args(["prod-ca", "prod-etcd", "prod-proxy", "prod-sa"]).succeeds();
    let home = plane.scratch().path().join("second");
    fs::create_dir(&home).expect("a writable scratch directory");
    let second = Exports::found(&home, "edge");
    let run = second.kluis_run().args(["--identity", "../alice.secret.asc"]);
    run.args(words("kubeadm", "-", ENDPOINT)).input(&secrets).succeeds();
    second.kluis(["verify"]);
    for keyset in ["kubernetes", "etcd", "front-proxy"] {
        assert_eq!(second.authority(keyset, 1), plane.exports.authority(keyset, 1), "{keyset}");
    }
    let opened = |exports: &Exports, cluster: &str, secret: &str| {
        public(plane.scratch().path(), &exports.kluis(["open", secret, "-c", cluster, "--yes"]))
    };
    for secret in ["ca.kubernetes", "ca.etcd", "ca.front-proxy", "sa"] {
        assert_eq!(opened(&second, "edge", secret), opened(&plane.exports, "prod", secret), "{secret}");
    }
    let again: Export = second.whole("capi", "again");
    let renamed = fs::read_to_string(again.file("secrets.yaml")).expect("an export").replace("edge", "prod");
    assert!(renamed == fs::read_to_string(steady.file("secrets.yaml")).expect("an export"), "other Secrets");
}
