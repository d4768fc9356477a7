//! LF001 to LF040.

use crate::breaks;
use crate::breaks_with;
use crate::pki::{AUTHORITY, CA, CLIENT, LEAF, MEMBER_NAMES, Make, Pki, SERVER_NAMES, member, server};

fn apiserver(extensions: &str) -> impl Fn(&Pki) + '_ {
    move |pki| pki.make("pki/apiserver", &Make { subject: "/CN=kube-apiserver", extensions, ..LEAF })
}

fn kubelet_client(extensions: &str) -> impl Fn(&Pki) + '_ {
    let make = Make { subject: "/CN=kube-apiserver-kubelet-client", ..LEAF };
    move |pki| pki.make("pki/apiserver-kubelet-client", &Make { extensions, ..make })
}

fn etcd<'a>(place: &'a str, extensions: &'a str) -> impl Fn(&Pki) + 'a {
    move |pki| pki.make(place, &Make { subject: "/CN=cp-1", extensions, issuer: Some("pki/etcd/ca"), ..LEAF })
}

/// A person's certificate beside the others.
fn person(subject: &'static str) -> impl Fn(&Pki) {
    move |pki| pki.make("erin", &Make { subject, ..LEAF })
}

#[test]
fn lf001_to_lf006_extended_key_usages() {
    breaks(&["LF001 error"], apiserver(&server(SERVER_NAMES).replace("serverAuth", "clientAuth")));
    breaks(&["LF002 error", "LF005 attention"], kubelet_client(&CLIENT.replace("clientAuth", "serverAuth")));
    breaks(&["LF003 error"], etcd("pki/etcd/server", &member().replace("serverAuth,clientAuth", "serverAuth")));
    breaks(&["LF004 error"], etcd("pki/etcd/peer", &member().replace("serverAuth,clientAuth", "serverAuth")));
    breaks(&["LF004 error"], etcd("pki/etcd/peer", &member().replace("serverAuth,clientAuth", "clientAuth")));
    breaks(&["LF005 attention"], kubelet_client(&CLIENT.replace("clientAuth", "clientAuth,serverAuth")));
    breaks(&["LF005 attention"], kubelet_client(&CLIENT.replace("clientAuth", "clientAuth,anyExtendedKeyUsage")));
    breaks_with("--imported", &["LF005 note"], kubelet_client(&CLIENT.replace("clientAuth", "clientAuth,serverAuth")));
    breaks(&["LF006 error"], kubelet_client(&CLIENT.replace("extendedKeyUsage=clientAuth\n", "")));
}

#[test]
fn lf007_and_lf008_key_usages() {
    breaks(&["LF007 attention"], kubelet_client(&CLIENT.replace("digitalSignature", "keyAgreement")));
    breaks(&["LF008 error"], kubelet_client(&CLIENT.replace("digitalSignature", "digitalSignature,keyCertSign")));
    breaks(&["LF008 error"], kubelet_client(&CLIENT.replace("CA:FALSE", "CA:TRUE")));
}

#[test]
fn lf009_to_lf012_lives() {
    let lives = |from: i64, until: i64| {
        let make = Make { subject: "/CN=kube-apiserver-kubelet-client", life: (from, until), ..LEAF };
        move |pki: &Pki| pki.make("pki/apiserver-kubelet-client", &make)
    };
    breaks(&["LF009 error", "LF036 attention", "CA021 attention"], lives(0, 24 * 3660));
    breaks(&["LF010 attention"], lives(-2, 24 * 300));
    breaks(&["LF011 attention"], lives(3, 24 * 300));
    breaks(&["LF012 error", "LF010 attention"], lives(-200, -1));
    breaks(&["LF012 attention", "LF010 attention"], lives(-24 * 300, 24 * 20));
    breaks(&["LF012 attention", "LF010 attention"], lives(-20, 1));
    breaks(&[], lives(-1, 24 * 20));
    // As kubeadm up to 1.30: a leaf that begins with its CA, years ago, and was issued yesterday for a year.
    breaks(&[], |pki| {
        pki.make("pki/etcd/ca", &Make { subject: "/CN=etcd-ca-g1", life: (-24 * 2000, 24 * 1600), ..AUTHORITY });
        for (place, subject) in [("pki/etcd/server", "/CN=cp-1"), ("pki/etcd/peer", "/CN=cp-1")] {
            let life = (-24 * 2000, 24 * 360);
            pki.make(place, &Make { subject, extensions: &member(), issuer: Some("pki/etcd/ca"), life, ..LEAF });
        }
        for place in ["pki/etcd/healthcheck-client", "pki/apiserver-etcd-client"] {
            let subject = format!("/CN=kube-{}", place.rsplit_once("pki/").unwrap().1.replace('/', "-"));
            pki.make(place, &Make { subject: &subject, issuer: Some("pki/etcd/ca"), life: (0, 24 * 360), ..LEAF });
        }
    });
}

#[test]
fn lf013_and_lf014_issuers() {
    breaks(&["LF013 error"], kubelet_client(&CLIENT.replace("Identifier=keyid", "Identifier=none")));
    breaks(&["LF013 error"], |pki| {
        pki.make("another", &AUTHORITY);
        let make = Make { subject: "/CN=kube-apiserver-kubelet-client", issuer: Some("another"), ..LEAF };
        pki.make("pki/apiserver-kubelet-client", &make);
        pki.remove("another.crt");
        pki.remove("another.key");
    });
    breaks(&["LF014 error"], |pki| {
        pki.make("pki/apiserver-etcd-client", &Make { subject: "/CN=kube-apiserver-etcd-client", ..LEAF });
    });
}

#[test]
fn lf015_to_lf019_names_of_the_api_server() {
    let without = |name: &str| server(&SERVER_NAMES.replace(name, ""));
    breaks(
        &["LF015 error", "LF017 error", "LF018 error", "LF019 note", "KC004 error"],
        apiserver(&CLIENT.replace("clientAuth", "serverAuth")),
    );
    breaks(&["LF016 error"], apiserver(&without("DNS:kubernetes.default.svc.cluster.local,")));
    breaks(&["LF016 error"], apiserver(&without("DNS:kubernetes,")));
    breaks(&["LF017 error"], apiserver(&without("IP:10.96.0.1,")));
    breaks(&["LF018 error", "KC004 error"], apiserver(&without("IP:10.0.0.11,")));
    breaks(&["LF019 note"], apiserver(&without("IP:::1,")));
    breaks(&["LF017 attention"], |pki| {
        let manifest = pki.read("manifests/kube-apiserver.yaml").replace("10.96.0.0/12", "10.96.0.0/12,fd00:96::/112");
        pki.write("manifests/kube-apiserver.yaml", &manifest);
    });
}

#[test]
fn lf020_names_of_etcd_members() {
    for name in ["DNS:localhost,", "IP:127.0.0.1,", "IP:::1,"] {
        breaks(
            &["LF020 error"],
            etcd("pki/etcd/peer", &member().replace(MEMBER_NAMES, &MEMBER_NAMES.replace(name, ""))),
        );
    }
}

#[test]
fn lf021_to_lf023_odd_names() {
    let with = |name: &str| server(&format!("{SERVER_NAMES},{name}"));
    breaks(&["LF021 attention"], apiserver(&with("DNS:*.example.org")));
    for (name, level) in [
        ("DNS:10.0.0.1", "LF022 error"),
        ("DNS:a.example.org.", "LF022 attention"),
        ("DNS:A.example.org", "LF022 error"),
        ("DNS:a_b.example.org", "LF022 error"),
        ("DNS:a.example.org:6443", "LF022 error"),
    ] {
        breaks(&[level], apiserver(&with(name)));
    }
    for name in ["IP:0.0.0.0", "IP:169.254.169.254", "IP:::", "DNS:metadata.google.internal"] {
        breaks(&["LF023 attention"], apiserver(&with(name)));
    }
    breaks(&[], apiserver(&with("DNS:b.example.org,IP:192.0.2.1")));
}

#[test]
fn lf024_the_name_of_the_front_proxy() {
    breaks(&["LF024 error"], |pki| {
        let make = Make { subject: "/CN=system:auth-proxy", issuer: Some("pki/front-proxy-ca"), ..LEAF };
        pki.make("pki/front-proxy-client", &make);
    });
}

#[test]
fn lf025_to_lf027_masters() {
    breaks(&["LF025 error"], |pki| {
        let make = Make { subject: "/O=system:masters/CN=kube-apiserver-kubelet-client", ..LEAF };
        pki.make("pki/apiserver-kubelet-client", &make);
    });
    breaks(&["LF025 error"], person("/O=system:masters/CN=erin"));
    breaks_with("--imported", &["LF025 attention"], person("/O=system:masters/CN=erin"));
    breaks(&["LF026 error"], |pki| {
        let make = Make { subject: "/O=system:masters/CN=kubernetes-super-admin", ..LEAF };
        pki.access("super-admin.conf", "https://api.example.org:6443", &make);
    });
    breaks(&["LF027 note"], |pki| {
        let subject = "/O=system:masters/CN=kube-apiserver-etcd-client";
        pki.make("pki/apiserver-etcd-client", &Make { subject, issuer: Some("pki/etcd/ca"), ..LEAF });
    });
}

#[test]
fn lf028_to_lf032_nodes() {
    let local = "https://10.0.0.11:6443";
    let kubelet = |subject: &'static str| move |pki: &Pki| pki.access("kubelet.conf", local, &Make { subject, ..LEAF });
    breaks(&["LF028 error"], kubelet("/O=system:nodes/CN=cp-1"));
    breaks(&["LF028 error"], kubelet("/O=system:nodes/CN=system:node:CP_1"));
    breaks(&["LF028 error"], kubelet("/O=system:nodes/O=dev/CN=system:node:cp-1"));
    breaks(&["LF028 error"], kubelet("/CN=system:node:cp-1"));
    breaks(&["LF029 error"], person("/O=system:nodes/CN=erin"));
    breaks(&["LF029 error"], |pki| {
        let make = Make { subject: "/CN=system:node:cp-1", ..LEAF };
        pki.make("pki/apiserver-kubelet-client", &make);
    });
    breaks(&["LF030 error"], person("/CN=system:serviceaccount:kube-system:default"));
    breaks(&[], person("/O=dev/CN=erin"));
    let serving = |names: &'static str| {
        move |pki: &Pki| {
            let extensions = server(names);
            let subject = "/O=system:nodes/CN=system:node:cp-1";
            pki.make("kubelet/kubelet", &Make { subject, extensions: &extensions, ..LEAF });
        }
    };
    breaks(&["LF031 error"], serving("DNS:cp-1,email:a@example.org"));
    breaks(&["LF031 error"], serving("URI:https://cp-1"));
    breaks(&["LF031 error"], |pki| {
        let extensions = CLIENT.replace("clientAuth", "serverAuth");
        pki.make(
            "kubelet/kubelet",
            &Make { subject: "/O=system:nodes/CN=system:node:cp-1", extensions: &extensions, ..LEAF },
        );
    });
    breaks(&["LF032 attention"], |pki| {
        let extensions = format!("{CLIENT}\nsubjectAltName=DNS:cp-1");
        pki.access(
            "kubelet.conf",
            local,
            &Make { subject: "/O=system:nodes/CN=system:node:cp-1", extensions: &extensions, ..LEAF },
        );
    });
}

#[test]
fn lf033_to_lf036_identities() {
    let local = "https://10.0.0.11:6443";
    breaks(&["LF033 error"], |pki| {
        pki.access("scheduler.conf", local, &Make { subject: "/CN=kube-scheduler", ..LEAF })
    });
    breaks(&["LF034 error"], person("/O=dev"));
    breaks(&["LF034 error"], person("/CN=erin/CN=alice"));
    breaks(&["LF035 attention"], |pki| {
        pki.make("one", &Make { subject: "/O=dev/CN=erin", ..LEAF });
        pki.make("two", &Make { subject: "/O=dev/CN=erin", ..LEAF });
    });
    breaks(&[], |pki| {
        pki.make("one", &Make { subject: "/O=dev/CN=erin", ..LEAF });
        pki.make("two", &Make { subject: "/O=dev/CN=alice", ..LEAF });
    });
    breaks(&["LF036 attention"], |pki| {
        let make = Make { subject: "/O=kubeadm:cluster-admins/CN=kubernetes-admin", ..LEAF };
        pki.access("admin.conf", "https://api.example.org:6443", &make);
    });
    breaks(&["LF036 attention"], |pki| {
        let make = Make { subject: "/CN=kube-apiserver-kubelet-client", life: (0, 24 * 400), ..LEAF };
        pki.make("pki/apiserver-kubelet-client", &make);
    });
}

#[test]
fn lf037_and_lf038_extensions() {
    breaks(
        &["LF037 note"],
        kubelet_client(&format!("{CLIENT}\ncrlDistributionPoints=URI:http://pki.example.org/x.crl")),
    );
    breaks(&["LF037 note"], kubelet_client(&format!("{CLIENT}\nauthorityInfoAccess=OCSP;URI:http://pki.example.org")));
    breaks(&["LF038 error"], kubelet_client(&format!("{CLIENT}\n1.2.3.4=critical,ASN1:NULL")));
    breaks(&[], kubelet_client(&format!("{CLIENT}\n1.2.3.4=ASN1:NULL")));
}

#[test]
fn lf039_chains() {
    let below = format!("{CA}\nauthorityKeyIdentifier=keyid");
    let make = |pki: &Pki, whole: bool| {
        pki.make(
            "pki/below",
            &Make {
                subject: "/CN=below",
                extensions: &below,
                issuer: Some("pki/ca"),
                life: (0, 24 * 3649),
                ..AUTHORITY
            },
        );
        let leaf = Make {
            subject: "/CN=kube-apiserver-kubelet-client",
            issuer: Some("pki/below"),
            life: (0, 24 * 364),
            ..LEAF
        };
        pki.make("pki/apiserver-kubelet-client", &leaf);
        if whole {
            let chain = format!("{}{}", pki.read("pki/apiserver-kubelet-client.crt"), pki.read("pki/below.crt"));
            pki.write("pki/apiserver-kubelet-client.crt", &chain);
        }
    };
    breaks(&["LF039 attention"], |pki| make(pki, false));
    breaks(&[], |pki| make(pki, true));
}

#[test]
fn lf040_the_api_server_as_cluster_admin() {
    let admin = |pki: &Pki| {
        let make = Make { subject: "/O=kubeadm:cluster-admins/CN=kube-apiserver-kubelet-client", ..LEAF };
        pki.make("pki/apiserver-kubelet-client", &make);
    };
    breaks(&["LF040 attention"], admin);
    breaks_with("--imported", &["LF040 note"], admin);
    breaks(&[], |pki| {
        admin(pki);
        let manifest = pki.read("manifests/kube-apiserver.yaml").replace("v1.36.3", "v1.35.1");
        pki.write("manifests/kube-apiserver.yaml", &manifest);
    });
}
