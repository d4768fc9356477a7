//! KC001 to KC007, LY001 to LY005, EN001 to EN004, and inputs of every form.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::pki::{AUTHORITY, LEAF, Make, P256, Pki, encryption};
use crate::{breaks, breaks_with};

fn edit(place: &'static str, from: &'static str, to: &'static str) -> impl Fn(&Pki) {
    move |pki| {
        let text = pki.read(place);
        assert!(text.contains(from), "{text}");
        pki.write(place, &text.replacen(from, to, 1));
    }
}

#[test]
fn kc001_and_kc002_cas_in_kubeconfigs() {
    // Another CA issued the whole file: what it trusts is not what the cluster does.
    breaks(&["KC001 error", "KC002 attention"], |pki| {
        let own = pki.read("pki/ca.crt");
        pki.make("another", &Make { subject: "/CN=another", ..AUTHORITY });
        pki.write("pki/ca.crt", &pki.read("another.crt"));
        pki.make("new", &Make { subject: "/CN=system:kube-scheduler", ..LEAF_OF_ANOTHER });
        pki.kubeconfig("scheduler.conf", "https://10.0.0.11:6443", "new");
        pki.write("pki/ca.crt", &own);
        pki.access(
            "scheduler.conf.new",
            "https://10.0.0.11:6443",
            &Make { subject: "/CN=system:kube-scheduler", ..LEAF },
        );
        let client =
            |text: &str| text.lines().filter(|line| line.contains("client-")).map(str::to_owned).collect::<Vec<_>>();
        let (wrong, right) = (pki.read("scheduler.conf"), pki.read("scheduler.conf.new"));
        let mut text = wrong.clone();
        for (from, to) in client(&wrong).iter().zip(client(&right)) {
            text = text.replace(from, &to);
        }
        pki.write("scheduler.conf", &text);
        ["scheduler.conf.new", "another.crt", "another.key"].iter().for_each(|file| pki.remove(file));
    });
}

const LEAF_OF_ANOTHER: Make<'_> = Make { issuer: Some("another"), ..LEAF };

#[test]
fn kc003_to_kc007_servers_and_keys() {
    breaks(&["KC003 error"], edit("admin.conf", "    server:", "    insecure-skip-tls-verify: true\n    server:"));
    breaks(&["KC004 error"], edit("admin.conf", "api.example.org", "other.example.org"));
    breaks(&["KC005 error"], |pki| {
        let (admin, scheduler) = (pki.read("admin.conf"), pki.read("scheduler.conf"));
        let key = |text: &str| text.lines().find(|line| line.contains("client-key-data")).unwrap().to_owned();
        pki.write("admin.conf", &admin.replace(&key(&admin), &key(&scheduler)));
    });
    breaks(&["KC005 note"], |pki| {
        let text = pki.read("scheduler.conf");
        let key = text.lines().find(|line| line.contains("client-key-data")).unwrap();
        pki.write("scheduler.conf", &text.replace(key, "    client-key: /etc/kubernetes/scheduler.key"));
    });
    breaks(&["KC007 attention"], edit("scheduler.conf", "10.0.0.11", "api.example.org"));
    breaks(&[], edit("scheduler.conf", "10.0.0.11", "127.0.0.1"));
}

#[test]
fn ly001_nodes_that_differ() {
    let (one, other) = (Pki::good(), Pki::good());
    let found = || one.found_in("--nodes --rule LY001", &[&one.root(), &other.root()]);
    assert!(found().is_empty());
    other.openssl(&format!("{P256} -out pki/sa.key"));
    other.openssl("pkey -in pki/sa.key -pubout -out pki/sa.pub");
    assert!(found().contains("LY001 error"));
}

#[test]
fn ly002_missing_files() {
    for place in ["pki/apiserver.key", "pki/sa.pub", "pki/etcd/peer.crt", "scheduler.conf", "pki/front-proxy-ca.crt"] {
        let pki = Pki::good();
        pki.remove(place);
        assert!(pki.found("").contains("LY002 error"), "{place}");
    }
    // A worker has little.
    let pki = Pki::good();
    let worker = pki.at("worker/pki");
    std::fs::create_dir_all(&worker).unwrap();
    std::fs::copy(pki.at("pki/ca.crt"), worker.join("ca.crt")).unwrap();
    assert!(pki.found_in("", &[&pki.at("worker")]).is_empty());
}

#[test]
fn ly003_k3s_without_etcd() {
    let pki = Pki::good();
    for (name, subject) in [("client-ca", "/CN=a"), ("server-ca", "/CN=b"), ("request-header-ca", "/CN=c")] {
        pki.make(&format!("tls/{name}"), &Make { subject, ..AUTHORITY });
    }
    pki.openssl("genpkey -algorithm RSA -out tls/service.key");
    assert_eq!(pki.found_in("", &[&pki.at("tls")]).into_iter().collect::<Vec<_>>(), ["LY003 error"]);
    for (name, subject) in [("server-ca", "/CN=d"), ("peer-ca", "/CN=e")] {
        pki.make(&format!("tls/etcd/{name}"), &Make { subject, ..AUTHORITY });
    }
    assert_eq!(pki.found_in("", &[&pki.at("tls")]), Default::default());
}

#[test]
fn ly004_and_ly005_external_cas() {
    let take_keys =
        |pki: &Pki| ["pki/ca.key", "pki/etcd/ca.key", "pki/front-proxy-ca.key"].iter().for_each(|key| pki.remove(key));
    breaks_with("--external-ca", &["LY004 error"], |_| {});
    breaks_with("--external-ca", &[], take_keys);
    breaks_with("--external-ca", &["LY005 error"], |pki| {
        take_keys(pki);
        pki.remove("super-admin.conf");
    });
}

#[test]
fn en001_to_en004_encryption_at_rest() {
    let place = "pki/encryption-config.yaml";
    breaks(&["EN001 error"], |pki| pki.write(place, &encryption("secretbox", &[7; 16])));
    breaks(&["EN003 attention"], |pki| pki.write(place, &encryption("aescbc", &[7; 32])));
    breaks(&["EN002 error"], edit(place, "  - secretbox", "  - identity: {}\n  - secretbox"));
    breaks(&["EN004 error"], |pki| {
        let (one, other) = (encryption("secretbox", &[7; 32]), encryption("secretbox", &[8; 32]));
        let key = |text: &str| text.split_once("keys: [").unwrap().1.split_once(']').unwrap().0.to_owned();
        pki.write(place, &one.replace(&key(&one), &format!("{}, {}", key(&one), key(&other))));
    });
}

#[test]
fn text_of_s_client_is_read_from_stdin() {
    let pki = Pki::good();
    pki.make(
        "pki/apiserver",
        &Make { subject: "/CN=kube-apiserver", extensions: &crate::pki::server("DNS:x"), ..LEAF },
    );
    let text =
        format!("CONNECTED(00000003)\r\n---\r\nServer certificate\r\n{}---\r\nDONE\r\n", pki.read("pki/apiserver.crt"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_kluis"))
        .args(["lint", "-", "-o", "json"])
        .current_dir(pki.root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(3), "{report}");
    assert!(report["findings"].as_array().unwrap().iter().any(|one| one["code"] == "LF016"), "{report}");
    assert_eq!(report["findings"][0]["path"], "stdin", "{report}");
}

#[test]
fn no_form_of_report_shows_a_key() {
    let pki = Pki::good();
    pki.write("both.pem", &format!("{}{}", pki.read("pki/ca.crt"), pki.read("pki/apiserver.key")));
    let secret: String = pki.read("pki/apiserver.key").lines().nth(1).unwrap().to_owned();
    for form in ["human", "json", "markdown", "sarif", "github"] {
        let (_, out) = pki.run(&format!("-o {form}"), &[&pki.root()]);
        assert!(out.contains("KY006") && !out.contains(&secret[..20]), "{form}: {out}");
    }
}

#[test]
fn rules_are_listed_and_chosen() {
    let pki = Pki::good();
    let (exit, out) = pki.run("--list", &[]);
    assert_eq!(exit, 0);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["data"]["rules"].as_array().unwrap().len(), kluis::lint::rules().len());
    let (_, out) = pki.run("--list --rule ca014 -o human", &[]);
    assert!(out.contains("why       a client certificate with an allowed CN"), "{out}");
    assert_eq!(pki.run("--rule XX001", &[&pki.root()]).0, 2);
    assert_eq!(pki.run("", &[&pki.at("not-there")]).0, 2);
}
