//! `kluis lint` over the PKI that real kubeadm makes: what is found are its known oddities and nothing else.

use std::collections::BTreeSet;
use std::path::Path;

use crate::process::{Run, Scratch};
use crate::programs;

fn configuration(pki: &Path, algorithm: &str, version: &str) -> String {
    format!(
        "apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {{advertiseAddress: 10.0.0.11}}
nodeRegistration: {{name: cp-1, criSocket: 'unix:///run/none.sock'}}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: {version}
encryptionAlgorithm: {algorithm}
certificatesDir: {}
controlPlaneEndpoint: api.example.org:6443
",
        pki.display()
    )
}

/// Makes a control plane's files with kubeadm; what lint finds in them, as `CA001 error`.
fn found(algorithm: &str, words: &[&str]) -> BTreeSet<String> {
    let scratch = Scratch::new();
    let folder = scratch.path().join("kubernetes");
    let kubeadm = || Run::new(&programs::kubernetes("kubeadm"), scratch.path());
    let version = kubeadm().args(["version", "--output=short"]).succeeds();
    let config = scratch.write("config.yaml", &configuration(&folder.join("pki"), algorithm, version.trim()));
    kubeadm().args(["init", "phase", "certs", "all"]).flag("config", &config).succeeds();
    let confs = kubeadm().args(["init", "phase", "kubeconfig", "all"]).flag("config", &config);
    confs.flag("kubeconfig-dir", &folder).succeeds();
    let kluis = Run::new(Path::new(env!("CARGO_BIN_EXE_kluis")), scratch.path()).args(["lint", "-o", "json"]);
    let ended = kluis.args(words).args([&folder]).ends();
    let report: serde_json::Value =
        serde_json::from_str(&ended.stdout()).unwrap_or_else(|error| panic!("{error}: {ended}"));
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned).unwrap_or_default();
    let findings = report["findings"].as_array().expect("a list of findings");
    findings.iter().map(|one| format!("{} {}", text(&one["code"]), text(&one["level"]))).collect()
}

fn set(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(|one| (*one).to_owned()).collect()
}

/// kubernetes-pki A.0 and A.2: serials of 63 bits, no cRLSign, no localhost, and kubeconfigs that live for a year, one of
/// them beyond any binding.
const KNOWN: &[&str] = &["CA003 note", "KY015 note", "LF019 note", "LF026 error", "LF036 attention"];

#[test]
fn kubeadms_own_pki_has_its_known_oddities_and_no_others() {
    let mut rsa = set(KNOWN);
    rsa.insert("KY002 attention".to_owned());
    assert_eq!(found("RSA-2048", &[]), rsa);
    let mut ecdsa = set(KNOWN);
    ecdsa.insert("KY018 note".to_owned());
    assert_eq!(found("ECDSA-P256", &[]), ecdsa);
}

#[test]
fn an_export_of_kluis_has_no_finding() {
    let scratch = Scratch::new();
    let exports = crate::exports::Exports::make(scratch.path(), "prod", crate::process::free_port());
    for node in ["cp-1", "cp-2"] {
        let export = exports.node(node);
        let kluis = Run::new(Path::new(env!("CARGO_BIN_EXE_kluis")), scratch.path());
        // admin.conf lives as long as its node's other certificates.
        let ended = kluis.args(["lint", "--external-ca", "-o", "json"]).args([export.path()]).ends();
        let report: serde_json::Value = serde_json::from_str(&ended.stdout()).expect("a report");
        let codes =
            report["findings"].as_array().expect("a list of findings").iter().map(|one| one["code"].to_string());
        assert_eq!(codes.collect::<BTreeSet<_>>(), set(&["\"LF036\""]), "{ended}");
    }
}
