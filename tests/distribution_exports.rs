//! Exports for k3s, RKE2 and k0s, and of PEM for whole clusters, in each phase of a rotation: held with openssl against what
//! the distribution does with them (kubernetes-pki B and C.2).

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod ground;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use ground::Ground;

const CONFIRMED: &str = "--confirm nodes-have-leaves --confirm clients-moved --confirm secrets-rewritten";

fn edge(distribution: &str) -> Ground {
    let ground = Ground::new(&["alice"], 1, 1);
    let words = format!(
        "cluster new edge --distribution {distribution} --endpoint https://edge.example.org:6443 --kubernetes 1.36 \
         --node s-1=10.0.0.11:control-plane,etcd --node a-1=10.0.0.21:worker --yes"
    );
    ground.run("alice", &words).ends(0);
    ground
}

/// Exports with these words into a folder of this name.
fn export(ground: &Ground, words: &str, name: &str) -> PathBuf {
    let out = ground.dir.path().join(name);
    ground.run("alice", &format!("export {words} -c edge --out {}", out.display())).ends(0);
    out
}

fn openssl(args: &[&str]) -> Result<String, String> {
    let output = Command::new("openssl").args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The blocks of a PEM file.
fn blocks(text: &str) -> Vec<String> {
    let end = "-----END ";
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(end) {
        let stop = at + rest[at..].find('\n').unwrap() + 1;
        blocks.push(rest[..stop].to_owned());
        rest = &rest[stop..];
    }
    blocks
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Whether a key is that of a certificate: the first, where the file has several.
#[track_caller]
fn fits(certificate: &Path, key: &Path) {
    let of_certificate = openssl(&["x509", "-in", path(certificate), "-noout", "-pubkey"]).unwrap();
    let of_key = openssl(&["pkey", "-in", path(key), "-pubout"]).unwrap();
    assert_eq!(of_certificate, of_key, "{}", certificate.display());
}

/// Whether the first certificate of `new` comes from what `old` trusts, as `k3s certificate rotate-ca` asks it.
fn comes_from(new: &Path, old: &Path) -> bool {
    let first = new.with_extension("first");
    fs::write(&first, &blocks(&read(new))[0]).unwrap();
    openssl(&["verify", "-CAfile", path(old), path(&first)]).is_ok()
}

const CAS: [&str; 5] = ["client-ca", "server-ca", "request-header-ca", "etcd/server-ca", "etcd/peer-ca"];

#[test]
fn k3s_and_rke2_take_each_phase_of_a_rotation_and_only_the_last_by_force() {
    for distribution in ["k3s", "rke2"] {
        let ground = edge(distribution);
        let of_server = format!("{distribution} --node s-1");
        let mut phases = vec![("steady", 1, export(&ground, &of_server, "steady"))];
        ground.run("alice", "rotate start -c edge --yes").ends(0);
        let staged = export(&ground, &of_server, "staged");
        assert_eq!(read(&staged.join("tls/client-ca.crt")), read(&phases[0].2.join("tls/client-ca.crt")));
        ground.run("alice", "rotate trust -c edge --yes").ends(0);
        phases.push(("trusted", 2, export(&ground, &of_server, "trusted")));
        ground.run("alice", "rotate promote -c edge --yes").ends(0);
        phases.push(("promoted", 2, export(&ground, &of_server, "promoted")));
        ground.run("alice", &format!("rotate distrust -c edge --yes {CONFIRMED}")).ends(0);
        phases.push(("distrusted", 1, export(&ground, &of_server, "distrusted")));
        for (phase, count, dir) in &phases {
            let tls = dir.join("tls");
            for ca in CAS {
                let (certificate, key) = (tls.join(format!("{ca}.crt")), tls.join(format!("{ca}.key")));
                assert_eq!(blocks(&read(&certificate)).len(), *count, "{phase} {ca}");
                fits(&certificate, &key);
                assert!(read(&key).starts_with("-----BEGIN EC PRIVATE KEY-----\n"), "{phase} {ca}");
                assert_eq!((mode(&certificate), mode(&key)), (0o644, 0o600));
                openssl(&["verify", "-x509_strict", "-CAfile", path(&certificate), path(&certificate)]).unwrap();
            }
            let keys = blocks(&read(&tls.join("service.key")));
            assert_eq!(keys.len(), *count, "{phase}");
            assert!(keys.iter().all(|key| key.starts_with("-----BEGIN RSA PRIVATE KEY-----\n")), "{phase}");
        }
        for two in phases.windows(2) {
            let ((_, _, old), (phase, count, new)) = (&two[0], &two[1]);
            for ca in CAS {
                let of = |dir: &Path| dir.join(format!("tls/{ca}.crt"));
                assert!(comes_from(&of(new), &of(old)), "{phase} {ca}");
                // One certificate alone is what it refuses without --force.
                assert_eq!(*count == 1, *phase == "distrusted", "{phase}");
            }
            let first = &blocks(&read(&old.join("tls/service.key")))[0];
            assert!(blocks(&read(&new.join("tls/service.key"))).contains(first), "{phase}");
        }
        let of = |dir: &PathBuf, ca: &str| blocks(&read(&dir.join(format!("tls/{ca}.crt"))));
        let (trusted, promoted) = (&phases[1].2, &phases[2].2);
        for ca in CAS {
            let (mut before, after) = (of(trusted, ca), of(promoted, ca));
            before.reverse();
            assert_eq!(before, after, "{ca}: the one that issues comes first");
        }
    }
}

#[test]
fn an_agent_gets_a_token_that_no_server_is_let_in_with() {
    let ground = edge("k3s");
    let server = read(&export(&ground, "k3s --node s-1", "server").join("config.yaml.d/kluis.yaml"));
    let agent = export(&ground, "k3s --node a-1", "agent");
    let found = read(&agent.join("config.yaml.d/kluis.yaml"));
    let token = |text: &str, key: &str| {
        let value: serde_yaml_ng::Value = serde_yaml_ng::from_str(text).unwrap();
        value[key].as_str().unwrap_or_else(|| panic!("no {key} in {text}")).to_owned()
    };
    assert_eq!(token(&found, "token"), token(&server, "agent-token"));
    assert_ne!(token(&server, "token"), token(&server, "agent-token"));
    assert_eq!(token(&server, "token").len(), 32);
    assert!(server.contains("tls-san:\n- \"edge.example.org\"\n"));
    let files: Vec<_> = fs::read_dir(&agent).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files.len(), 2, "{files:?}");
}

#[test]
fn the_report_says_that_ca_keys_are_there_whoever_asked() {
    let ground = edge("k3s");
    let out = ground.dir.path().join("s-1");
    let words = format!("export k3s -c edge --node s-1 --out {}", out.display());
    ground.run("alice", &format!("{words} --dry-run")).ends(0).says("would open ca.etcd-peer.g1");
    assert!(!out.exists());
    ground.run("alice", &words).ends(0).says("CA KEYS ARE AMONG THESE FILES");
    let report = ground.run("alice", &format!("{words} -o json")).ends(0).json();
    assert_eq!(report["data"]["ca_keys"], true);
    let note = report["data"]["parts"][0]["notes"][0].as_str().unwrap();
    assert!(note.contains("whoever is root on s-1 can make themself system:masters, on no record"), "{note}");
    let all = ground.dir.path().join("all");
    ground.run("alice", &format!("export k3s -c edge --all-nodes --out {}", all.display())).ends(0);
    assert!(all.join("s-1/tls/client-ca.key").exists() && !all.join("a-1/tls").exists());
}

#[test]
fn a_layout_of_another_distribution_is_refused_before_anything_is_opened() {
    let ground = edge("k3s");
    for layout in ["kubeadm", "k0s", "rke2"] {
        let said = ground.run("alice", &format!("export {layout} -c edge --node s-1 --out /nowhere")).ends(3);
        said.says("runs on k3s").says("kluis export k3s -c edge --all-nodes --out DIR");
    }
    ground.run("alice", "export k3s -c edge --out /nowhere").ends(2).says("--node NAME or --all-nodes");
    ground.run("alice", "export kubeadm-config -c edge").ends(3).says("kluis export k3s -c edge");
}

#[test]
fn k0s_finds_every_leaf_that_it_would_sign_and_no_ca_key() {
    let ground = edge("k0s");
    let dir = export(&ground, "k0s --node s-1", "s-1");
    let pki = dir.join("pki");
    for (ca, leaves) in [
        ("ca.crt", &["server", "k0s-api", "admin", "ccm", "scheduler", "konnectivity", "apiserver-kubelet-client"][..]),
        ("front-proxy-ca.crt", &["front-proxy-client"]),
        ("etcd/ca.crt", &["apiserver-etcd-client", "etcd/server", "etcd/peer"]),
    ] {
        let authority = pki.join(ca);
        for leaf in leaves {
            let (certificate, key) = (pki.join(format!("{leaf}.crt")), pki.join(format!("{leaf}.key")));
            openssl(&["verify", "-x509_strict", "-CAfile", path(&authority), path(&certificate)]).unwrap();
            fits(&certificate, &key);
            assert_eq!((mode(&certificate), mode(&key)), (0o644, 0o640), "{leaf}");
        }
        // With one of these three names it would want the key and make them anew (kubernetes-pki B.2).
        let subject = openssl(&["x509", "-in", path(&authority), "-noout", "-subject", "-nameopt", "RFC2253"]).unwrap();
        for name in ["CN=kubernetes-ca\n", "CN=kubernetes-front-proxy-ca\n", "CN=etcd-ca\n"] {
            assert!(!subject.ends_with(name), "{subject}");
        }
        assert!(!authority.with_extension("key").exists());
    }
    let masters = |leaf: &str| {
        let certificate = pki.join(format!("{leaf}.crt"));
        openssl(&["x509", "-in", path(&certificate), "-noout", "-subject"]).unwrap().contains("system:masters")
    };
    assert!(!["admin", "konnectivity", "apiserver-kubelet-client"].into_iter().any(masters));
    let public = openssl(&["pkey", "-in", path(&pki.join("sa.key")), "-pubout"]).unwrap();
    assert_eq!(read(&pki.join("sa.pub")), public);
    assert!(read(&pki.join("sa.key")).starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));
    let worker = export(&ground, "k0s --node a-1", "a-1");
    fits(&worker.join("kubelet/pki/kubelet.crt"), &worker.join("kubelet/pki/kubelet.key"));
    assert!(!worker.join("pki/sa.key").exists());
    ground.run("alice", "export k0s -c edge --node a-1 --with-ca-keys --out /nowhere").ends(3);
}

#[test]
fn k0s_with_ca_keys_signs_with_one_certificate_while_two_are_trusted() {
    let ground = edge("k0s");
    ground.run("alice", "rotate start -c edge --yes").ends(0);
    ground.run("alice", "rotate trust -c edge --yes").ends(0);
    let dir = export(&ground, "k0s --node s-1 --with-ca-keys", "s-1");
    assert_eq!(blocks(&read(&dir.join("pki/ca.crt"))).len(), 2);
    assert_eq!(blocks(&read(&dir.join("pki/ca-signing.crt"))).len(), 1);
    fits(&dir.join("pki/ca-signing.crt"), &dir.join("pki/ca.key"));
    fits(&dir.join("pki/ca.crt"), &dir.join("pki/ca.key"));
    assert!(read(&dir.join("k0s.yaml")).contains("/var/lib/k0s/pki/ca-signing.crt"));
    assert_eq!(blocks(&read(&dir.join("pki/sa.pub"))).len(), 2);
}

#[test]
fn pem_has_what_a_whole_cluster_trusts_and_keys_on_request() {
    for (distribution, cas) in [("kubeadm", 3), ("k3s", 5), ("talos", 4)] {
        let ground = edge(distribution);
        let trust = export(&ground, "pem", "trust");
        assert_eq!(fs::read_dir(trust.join("ca")).unwrap().count(), cas, "{distribution}");
        assert!(trust.join("service-account.pub").exists() && !trust.join("service-account.key").exists());
        let keys = export(&ground, "pem --with-ca-keys", "keys");
        assert_eq!(fs::read_dir(keys.join("ca")).unwrap().count(), 3 * cas, "{distribution}");
        fits(&keys.join("ca/kubernetes-signing.crt"), &keys.join("ca/kubernetes.key"));
        assert!(read(&keys.join("service-account.key")).starts_with("-----BEGIN PRIVATE KEY-----\n"));
        let one = export(&ground, "pem --keyset front-proxy", "one");
        assert_eq!(fs::read_dir(one.join("ca")).unwrap().count(), 1, "{distribution}");
    }
}

#[test]
fn a_tar_has_the_modes_of_each_layout() {
    let ground = edge("k0s");
    let answered = ground.run("alice", "export k0s -c edge --node a-1 --tar");
    // Not text: the terminal of a test takes the bytes as they come.
    assert_eq!(answered.exit, 0, "{}", answered.err);
    assert!(answered.out.contains("kubelet/pki/kubelet.key") && answered.out.contains("0000640"));
}

#[test]
fn lint_finds_no_error_in_what_is_exported() {
    for (distribution, folder, flag) in [("k3s", "tls", ""), ("k0s", "pki", "--external-ca")] {
        let ground = edge(distribution);
        ground.run("alice", "rotate start -c edge --yes").ends(0);
        ground.run("alice", "rotate trust -c edge --yes").ends(0);
        let dir = export(&ground, &format!("{distribution} --node s-1"), "s-1").join(folder);
        let said = ground.run("alice", &format!("lint {flag} {} -o json", dir.display()));
        let report = said.json();
        let errors = report["findings"].as_array().unwrap().iter().filter(|one| one["level"] == "error");
        assert_eq!(errors.collect::<Vec<_>>(), Vec::<&serde_json::Value>::new(), "{distribution}");
    }
}
