//! How fast certificates are linted, beside openssl reading the same ones: a folder of files, and one bundle. One core each.
//! `cargo bench --bench lint [-- CERTIFICATES]` builds and runs it; 10,000 if none are given.
//!
//! CPU seconds of whole processes: the machines that this runs on are shared.

#![expect(clippy::unwrap_used, reason = "a benchmark stops where something is wrong")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use kluis::env::Rng;
use kluis::model::{Algorithm, ClusterConfig, Profile, Span};
use kluis::pki::{
    CaSpec, LeafSpec, PrivateKey, Validity, certificate_pem, issue_ca, issue_leaf, organizations, subject_alt_names,
};

const CLUSTER: &str = r#"
distribution = "kubeadm"
kubernetes = "1.36"
endpoint = "https://api.example.org:6443"
[[node]]
name = "cp-1"
roles = ["control-plane", "etcd"]
addresses = ["10.0.0.11"]
"#;

/// CPU seconds of all children that this process has waited for.
fn children() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    [13, 14].iter().map(|at| fields[*at].parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

fn measure(what: &str, count: usize, command: &mut Command) -> f64 {
    let before = children();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    let seconds = children() - before;
    println!("{what:<44} {seconds:>7.2} s CPU {:>8.1} µs a certificate  {status}", seconds * 1e6 / count as f64);
    seconds
}

/// Kubelets' serving certificates, each of a key of its own, below one CA.
fn build(dir: &Path, count: usize) -> Vec<Vec<u8>> {
    let mut rng = Rng::system();
    let key = PrivateKey::generate(Algorithm::EcdsaP256, &mut rng);
    let now = kluis::env::now();
    let validity = |days| Validity { not_before: now.minus(Span::minutes(5)), not_after: now.plus(Span::days(days)) };
    let spec = CaSpec { common_name: "kubernetes-ca-g1", validity: validity(3650), name_constraints: None };
    let ca = issue_ca(&key, &spec, &mut rng);
    let config = ClusterConfig::parse(CLUSTER).unwrap();
    let sans = subject_alt_names(Profile::KubeletServing, &config.nodes[0], &config);
    let organizations = organizations(Profile::KubeletServing, &config);
    let keys = PrivateKey::generate_many(Algorithm::EcdsaP256, count);
    let mut files = vec![certificate_pem(&ca)];
    for (number, public) in keys.iter().enumerate() {
        let owner = format!("node-{number}");
        let spec = LeafSpec {
            profile: Profile::KubeletServing,
            owner: &owner,
            organizations: &organizations,
            sans: &sans,
            validity: validity(300),
        };
        files.push(certificate_pem(&issue_leaf(&public.spki(), &spec, &ca, &key, &mut rng).unwrap()));
    }
    for (number, pem) in files.iter().enumerate() {
        let folder = dir.join("folder").join(format!("{}", number / 1000));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{number}.crt")), pem).unwrap();
    }
    fs::write(dir.join("bundle.pem"), files.concat()).unwrap();
    files
}

fn main() {
    let count = std::env::args().find_map(|arg| arg.parse::<usize>().ok()).unwrap_or(10_000);
    let scratch = tempfile::tempdir().unwrap();
    build(scratch.path(), count);
    let kluis = |path: &str| {
        let mut kluis = Command::new(env!("CARGO_BIN_EXE_kluis"));
        kluis.env_clear().env("HOME", scratch.path()).current_dir(scratch.path()).args(["lint", path]);
        kluis
    };
    let folder = measure("kluis lint FOLDER", count, &mut kluis("folder"));
    let bundle = measure("kluis lint BUNDLE", count, &mut kluis("bundle.pem"));
    // What the system alone takes for that many files.
    let read = ["-c", "cat folder/*/*.crt"];
    measure("cat FOLDER", count, Command::new("sh").current_dir(scratch.path()).args(read));
    let mut openssl = Command::new("openssl");
    openssl.current_dir(scratch.path()).args(["storeutl", "-noout", "-text", "-certs", "bundle.pem"]);
    measure("openssl storeutl -text BUNDLE (no judgement)", count, &mut openssl);
    let one = 100.min(count);
    let script = format!("for i in $(seq 1 {one}); do openssl x509 -noout -text -in folder/0/$i.crt; done");
    measure("openssl x509, a process each", one, Command::new("sh").current_dir(scratch.path()).args(["-c", &script]));
    let limit = 0.3 * count as f64 / 10_000.0;
    println!("aim: {limit:.2} s; folder {}, bundle {}", verdict(folder, limit), verdict(bundle, limit));
}

fn verdict(seconds: f64, limit: f64) -> &'static str {
    if seconds <= limit { "within" } else { "beyond" }
}
