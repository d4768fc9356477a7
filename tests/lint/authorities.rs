//! CA001 to CA028.

use crate::breaks;
use crate::pki::{AUTHORITY, CA, CLIENT, LEAF, Make, P256, Pki, SERVER_NAMES, server};

/// A CA in place of etcd's, with the leaves issued anew by it.
fn etcd(pki: &Pki, make: &Make<'_>) {
    pki.make("pki/etcd/ca", &Make { subject: "/CN=etcd-ca-g1", ..*make });
    reissue_etcd(pki, make.life.1.min(24 * 364));
}

fn reissue_etcd(pki: &Pki, until: i64) {
    let life = (0, until);
    let member = crate::pki::member();
    let etcd = Make { subject: "/CN=cp-1", extensions: &member, issuer: Some("pki/etcd/ca"), life, ..LEAF };
    pki.make("pki/etcd/server", &etcd);
    pki.make("pki/etcd/peer", &etcd);
    let client = |subject| Make { subject, issuer: Some("pki/etcd/ca"), life, ..LEAF };
    pki.make("pki/etcd/healthcheck-client", &client("/CN=kube-etcd-healthcheck-client"));
    pki.make("pki/apiserver-etcd-client", &client("/CN=kube-apiserver-etcd-client"));
}

fn extensions(change: impl Fn(&str) -> String) -> impl Fn(&Pki) {
    move |pki| etcd(pki, &Make { extensions: &change(CA), ..AUTHORITY })
}

#[test]
fn ca001_basic_constraints() {
    breaks(&["CA001 error"], |pki| {
        pki.make(
            "pki/etcd/ca",
            &Make { subject: "/CN=etcd-ca-g1", extensions: &CA.replace("critical,CA:TRUE", "CA:TRUE"), ..AUTHORITY },
        );
        reissue_etcd(pki, 24 * 364);
    });
    let pki = Pki::good();
    pki.make(
        "pki/etcd/ca",
        &Make { subject: "/CN=etcd-ca-g1", extensions: &CA.replace("CA:TRUE", "CA:FALSE"), key: None, ..AUTHORITY },
    );
    assert!(pki.found("").contains("CA001 error"));
}

#[test]
fn ca002_key_usage() {
    breaks(&["CA002 error"], extensions(|all| all.replace("critical,keyCertSign", "keyCertSign")));
    breaks(&["CA002 error"], extensions(|all| all.replace("keyCertSign,", "")));
    breaks(&["CA002 error"], extensions(|all| all.replace("keyUsage=critical,keyCertSign,cRLSign\n", "")));
}

#[test]
fn ca003_revocation_lists_of_etcd() {
    breaks(&["CA003 note"], extensions(|all| all.replace(",cRLSign", "")));
}

#[test]
fn ca004_and_ca005_path_lengths() {
    breaks(&["CA005 attention"], extensions(|all| all.replace("CA:TRUE", "CA:TRUE,pathlen:1")));
    breaks(&["CA004 error", "CA005 attention", "LF014 error", "LF039 attention"], |pki| {
        pki.make(
            "pki/etcd/ca",
            &Make { subject: "/CN=etcd-ca-g1", extensions: &CA.replace("CA:TRUE", "CA:TRUE,pathlen:0"), ..AUTHORITY },
        );
        reissue_etcd(pki, 24 * 364);
        let below = format!("{CA}\nauthorityKeyIdentifier=keyid");
        pki.make("pki/below", &Make { subject: "/CN=below", extensions: &below, issuer: Some("pki/ca"), ..AUTHORITY });
        pki.make(
            "pki/etcd/below",
            &Make { subject: "/CN=etcd-below", extensions: &below, issuer: Some("pki/etcd/ca"), ..AUTHORITY },
        );
        pki.make(
            "pki/front-proxy-client",
            &Make { subject: "/CN=front-proxy-client", issuer: Some("pki/below"), ..LEAF },
        );
    });
}

#[test]
fn ca006_usages_of_a_ca() {
    breaks(&["CA006 error"], extensions(|all| format!("{all}\nextendedKeyUsage=clientAuth")));
    breaks(&[], extensions(|all| format!("{all}\nextendedKeyUsage=clientAuth,serverAuth")));
}

#[test]
fn ca007_name_constraints() {
    let constrained = |names: &str| format!("{CA}\nnameConstraints=critical,{names}");
    let make = |names: &'static str| move |pki: &Pki| etcd(pki, &Make { extensions: &constrained(names), ..AUTHORITY });
    breaks(&["CA007 error"], make("permitted;DNS:example.org"));
    breaks(&["CA007 error"], make("excluded;IP:10.0.0.0/255.0.0.0"));
    breaks(&[], make("permitted;DNS:cp-1,permitted;DNS:localhost"));
}

#[test]
fn ca008_and_ca009_key_identifiers() {
    let bare = |pki: &Pki| etcd_bare(pki);
    breaks(&["CA008 error", "LF013 error"], bare);
    breaks(&["CA009 attention"], |pki| {
        // The former root of the same name signs the new key: its authority key identifier is the former's.
        pki.make("former", &Make { subject: "/CN=etcd-ca-g1", ..AUTHORITY });
        let make = Make { subject: "/CN=etcd-ca-g1", issuer: Some("former"), ..AUTHORITY };
        pki.make("pki/etcd/ca", &Make { extensions: &format!("{CA}\nauthorityKeyIdentifier=keyid"), ..make });
        pki.remove("former.crt");
        pki.remove("former.key");
        reissue_etcd(pki, 24 * 364);
    });
}

/// A CA without identifier, whose leaves can't name it.
fn etcd_bare(pki: &Pki) {
    pki.make(
        "pki/etcd/ca",
        &Make { subject: "/CN=etcd-ca-g1", extensions: &CA.replace("Identifier=hash", "Identifier=none"), ..AUTHORITY },
    );
    let member = crate::pki::member().replace("authorityKeyIdentifier=keyid", "authorityKeyIdentifier=none");
    let client = CLIENT.replace("authorityKeyIdentifier=keyid", "authorityKeyIdentifier=none");
    let make =
        |subject, extensions| Make { subject, extensions, issuer: Some("pki/etcd/ca"), life: (0, 24 * 364), ..LEAF };
    pki.make("pki/etcd/server", &make("/CN=cp-1", &member));
    pki.make("pki/etcd/peer", &make("/CN=cp-1", &member));
    pki.make("pki/etcd/healthcheck-client", &make("/CN=kube-etcd-healthcheck-client", &client));
    pki.make("pki/apiserver-etcd-client", &make("/CN=kube-apiserver-etcd-client", &client));
}

#[test]
fn ca010_an_empty_subject() {
    let pki = Pki::good();
    pki.openssl(&format!("{P256} -out x.key"));
    pki.openssl(
        "req -x509 -new -key x.key -subj / -days 3650 -out x.crt -addext keyUsage=critical,keyCertSign,cRLSign",
    );
    assert!(pki.found_in("", &[&pki.at("x.crt")]).contains("CA010 attention"));
    assert!(pki.found_in("--imported", &[&pki.at("x.crt")]).contains("CA010 note"));
    assert!(!pki.found_in("", &[&pki.at("pki/ca.crt")]).contains("CA010 attention"));
}

#[test]
fn ca011_ca016_ca019_ca025_and_rt002_bundles() {
    let another = |pki: &Pki, subject: &str| {
        pki.make("another", &Make { subject, ..AUTHORITY });
        let text = pki.read("another.crt");
        pki.remove("another.crt");
        pki.remove("another.key");
        text
    };
    let append =
        |pki: &Pki, text: &str| pki.write("pki/etcd/ca.crt", &format!("{}{text}", pki.read("pki/etcd/ca.crt")));
    breaks(&[], |pki| append(pki, &another(pki, "/CN=etcd-ca-g2")));
    breaks(&["CA011 attention"], |pki| append(pki, &another(pki, "/CN=etcd-ca-g1")));
    breaks(&["CA025 attention"], |pki| {
        append(pki, &another(pki, "/CN=etcd-ca-g2"));
        append(pki, &another(pki, "/CN=etcd-ca-g3"));
    });
    breaks(&["CA016 error"], |pki| append(pki, &pki.read("pki/etcd/ca.crt")));
    breaks(&["CA016 error"], |pki| append(pki, &pki.read("pki/etcd/server.crt")));
    breaks(&["CA016 error", "KY010 error"], |pki| append(pki, &pki.read("pki/etcd/server.key")));
    breaks(&["RT002 attention", "CA018 error"], |pki| {
        let own = pki.read("pki/etcd/ca.crt");
        pki.write("pki/etcd/ca.crt", &format!("{}{own}", another(pki, "/CN=etcd-ca-g2")));
    });
    breaks(&["CA019 error", "KC001 error"], |pki| {
        let own = pki.read("pki/ca.crt");
        pki.write("pki/ca.crt", &format!("{own}{}", another(pki, "/CN=kubernetes-ca-g2")));
    });
    // With a file for kube-controller-manager the bundle may be one.
    breaks(&["KC001 error"], |pki| {
        let own = pki.read("pki/ca.crt");
        pki.write("pki/ca-signing.crt", &own);
        pki.write("pki/ca.crt", &format!("{own}{}", another(pki, "/CN=kubernetes-ca-g2")));
    });
    breaks(&["CA017 error"], |pki| pki.write("pki/ca-signing.crt", &pki.read("pki/ca.crt").repeat(2)));
    breaks(&["CA018 error", "CA023 error"], |pki| {
        let text = another(pki, "/CN=kubernetes-ca-g2");
        pki.write("pki/ca-signing.crt", &text);
    });
}

#[test]
fn ca012_ca013_and_ca014_shared_keys() {
    let copy = |pki: &Pki, from: &str, to: &str| {
        for ending in ["crt", "key"] {
            pki.write(&format!("{to}.{ending}"), &pki.read(&format!("{from}.{ending}")));
        }
    };
    let proxy = |pki: &Pki| {
        let make = Make { subject: "/CN=front-proxy-client", issuer: Some("pki/front-proxy-ca"), ..LEAF };
        pki.make("pki/front-proxy-client", &make);
    };
    breaks(&["CA012 error"], |pki| {
        pki.write("pki/front-proxy-ca.key", &pki.read("pki/etcd/ca.key"));
        pki.make("pki/front-proxy-ca", &Make { subject: "/CN=front-proxy-ca-g1", key: None, ..AUTHORITY });
        proxy(pki);
    });
    breaks(&["CA013 error"], |pki| {
        pki.write("pki/etcd/ca.key", &pki.read("pki/ca.key"));
        pki.make("pki/etcd/ca", &Make { subject: "/CN=etcd-ca-g1", key: None, ..AUTHORITY });
        reissue_etcd(pki, 24 * 364);
    });
    breaks(&["CA014 error"], |pki| {
        copy(pki, "pki/ca", "pki/front-proxy-ca");
        proxy(pki);
    });
}

#[test]
fn ca015_clusters_that_share_a_ca() {
    let (one, other) = (Pki::good(), Pki::good());
    let found = one.found_in("", &[&one.root(), &other.root()]);
    assert!(found.contains("CA015 attention"), "{found:?}");
    let nodes = one.found_in("--nodes", &[&one.root(), &other.root()]);
    assert!(!nodes.contains("CA015 attention"), "{nodes:?}");
}

#[test]
fn ca018_a_key_of_another_ca() {
    breaks(&["CA018 error"], |pki| pki.openssl(&format!("{P256} -out pki/etcd/ca.key")));
}

#[test]
fn ca020_ca021_and_ca022_lives() {
    let live = |from: i64, until: i64| move |pki: &Pki| etcd(pki, &Make { life: (from, until), ..AUTHORITY });
    breaks(&["CA020 error", "LF012 error"], live(-100, -1));
    breaks(&["CA021 attention"], live(-1, 24 * 300));
    breaks(&["CA021 attention"], live(-1, 24 * 500));
    breaks(&["CA022 note"], live(-1, 24 * 3700));
}

#[test]
fn ca026_ed25519() {
    breaks(&["CA026 error"], |pki| {
        let make =
            Make { subject: "/CN=kube-apiserver-kubelet-client", key: Some("genpkey -algorithm ED25519"), ..LEAF };
        pki.make("pki/apiserver-kubelet-client", &make);
    });
}

#[test]
fn ca028_a_ca_of_k0s_without_its_key() {
    let k0s = |name: &str, with_key: bool| {
        let pki = Pki::good();
        let folder = "k0s/pki";
        pki.make("k0s/pki/ca", &Make { subject: &format!("/CN={name}"), ..AUTHORITY });
        let serving = server(SERVER_NAMES);
        let make = Make { subject: "/CN=kubernetes", extensions: &serving, issuer: Some("k0s/pki/ca"), ..LEAF };
        pki.make("k0s/pki/server", &make);
        pki.make("k0s/pki/k0s-api", &make);
        if !with_key {
            pki.remove("k0s/pki/ca.key");
        }
        pki.found_in("", &[&pki.at(folder)])
    };
    assert!(k0s("kubernetes-ca", false).contains("CA028 error"));
    assert!(!k0s("kubernetes-ca", true).contains("CA028 error"));
    assert!(!k0s("corp-ca", false).contains("CA028 error"));
}
