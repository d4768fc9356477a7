//! Rules on CAs among one another, and on their bundles and keys: CA011 to CA019, CA023, CA025, CA028.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::authorities::counts;
use super::recognise::{Layout, What};
use super::subject::{Certificate, File, Role, Scene};
use super::{Check, Hit, Hits, Rule, hit, when};
use crate::model::{Keyset, Level};
use crate::pki::Seen;

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "CA011",
        title: "two trusted generations of a CA with one subject",
        why: "which of them is tried depends on their order where a certificate names no key",
        source: "RFC 5280, 4.2.1.1; tried with kube-apiserver 1.36",
        remedy: "give every generation a subject of its own (CN=kubernetes-ca-g2)",
        severity: Level::Attention,
        imported: None,
        check: Check::Scene(one_subject),
    },
    Rule {
        id: "CA012",
        title: "one key in the CAs of two roles",
        why: "who may issue for one may issue for the other",
        source: "Kubernetes, PKI certificates and requirements",
        remedy: "give each CA a key of its own, by a rotation of one of them",
        severity: Level::Error,
        imported: None,
        check: Check::Scene(|scene, hits| shared(scene, hits, "CA012")),
    },
    Rule {
        id: "CA013",
        title: "the etcd CA is the cluster's CA",
        why: "every client certificate of the cluster, a kubelet's too, is root in etcd",
        source: "etcd, transport security model; Kubernetes, PKI certificates and requirements",
        remedy: "make a CA for etcd alone and rotate etcd to it",
        severity: Level::Error,
        imported: None,
        check: Check::Scene(|scene, hits| shared(scene, hits, "CA013")),
    },
    Rule {
        id: "CA014",
        title: "the front-proxy CA is trusted for clients",
        why: "a client certificate with an allowed CN can name itself anybody in request headers",
        source: "Kubernetes, configure the aggregation layer: do not reuse a CA",
        remedy: "make a CA for the front proxy alone and rotate to it",
        severity: Level::Error,
        imported: None,
        check: Check::Scene(|scene, hits| shared(scene, hits, "CA014")),
    },
    Rule {
        id: "CA015",
        title: "two clusters share a CA",
        why: "certificates of one cluster are taken in the other: its admin is admin there",
        source: "k3s, certificate: using custom CA certificates",
        remedy: "give each cluster CAs of its own; trust the cluster's own CA and no root above it",
        severity: Level::Attention,
        imported: None,
        check: Check::Scenes(shared_by_clusters),
    },
    Rule {
        id: "CA016",
        title: "a trust bundle with something else in it than different CA certificates",
        why: "tools refuse such bundles; a leaf in it is trusted as if it were a CA, and a key in it leaks",
        source: "Kubernetes, ClusterTrustBundle validation",
        remedy: "leave in it the CA certificates that are trusted, each once, and nothing else",
        severity: Level::Error,
        imported: None,
        check: Check::File(bundle),
    },
    Rule {
        id: "CA017",
        title: "a signing certificate file that does not hold exactly one certificate",
        why: "kube-controller-manager exits at its start, and a running one signs nothing",
        source: "kube-controller-manager, --cluster-signing-cert-file; tried with 1.36",
        remedy: "put the one issuing CA certificate there; the bundle belongs into another file",
        severity: Level::Error,
        imported: None,
        check: Check::File(|file, _| {
            let count = file.certificates.len();
            when(matches!(file.what, What::Signing(_)) && count != 1, format!("it holds {count} certificates"))
        }),
    },
    Rule {
        id: "CA018",
        title: "a CA key that is not the key of the first certificate beside it",
        why: "kubeadm refuses to sign; k3s signs with a pair that does not fit",
        source: "kubeadm: PrivateKey doesn't match parent's PublicKey; tried",
        remedy: "put the issuing CA first, or the key that belongs to it there",
        severity: Level::Error,
        imported: None,
        check: Check::File(wrong_key),
    },
    Rule {
        id: "CA019",
        title: "a bundle in ca.crt while CSRs are signed with it",
        why: "no CSR is signed from that moment, and kube-controller-manager crashes at its next start",
        source: "kube-controller-manager, --cluster-signing-cert-file; tried with 1.36",
        remedy: "give kube-controller-manager a file of its own with the one issuing CA (ca-signing.crt)",
        severity: Level::Error,
        imported: None,
        check: Check::File(|file, scene| {
            let is_layout = matches!(scene.layout, Some(Layout::Kubeadm | Layout::K0s));
            let is_bundle = file.what == What::Bundle(Keyset::Kubernetes) && file.certificates.len() > 1;
            let signs = scene.find(What::AuthorityKey(Keyset::Kubernetes)).is_some()
                && scene.find(What::Signing(Keyset::Kubernetes)).is_none();
            when(is_layout && is_bundle && signs, "it is a bundle, and ca.key beside it signs CSRs")
        }),
    },
    Rule {
        id: "CA023",
        title: "the CA that issues is not in the bundle that is trusted",
        why: "everything that is issued from now on is refused at once",
        source: "Kubernetes, manual rotation of CA certificates: trust first, issue then",
        remedy: "put the issuing CA into the bundle, on every node, before it issues",
        severity: Level::Error,
        imported: None,
        check: Check::File(not_trusted),
    },
    Rule {
        id: "CA025",
        title: "more than two generations of a CA are trusted",
        why: "a rotation was begun and forgotten: old keys can still issue",
        source: "Kubernetes, manual rotation of CA certificates",
        remedy: "finish the rotation: distrust what issues no more",
        severity: Level::Attention,
        imported: None,
        check: Check::Scene(many_generations),
    },
    Rule {
        id: "CA028",
        title: "a CA of k0s' own name without its key",
        why: "k0s wants to reissue every leaf of such a CA at its start, and fails without the key",
        source: "k0s, pkg/certificate: the CN decides who renews",
        remedy: "give the CA another CN, which k0s then leaves alone, or put its key there",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(|one, scene| {
            let Role::Authority(Some(keyset)) = one.role else { return None };
            let own = ["kubernetes-ca", "kubernetes-front-proxy-ca", "etcd-ca"];
            let is_own = one.seen.common_names.iter().any(|name| own.contains(&name.as_str()));
            let lacks = scene.find(What::AuthorityKey(keyset)).is_none();
            let why = "its CN is one that k0s renews with, and its key is missing";
            when(scene.layout == Some(Layout::K0s) && is_own && lacks, why)
        }),
    },
];

fn one_subject(scene: &Scene, hits: &mut Hits) {
    for keyset in Keyset::ALL {
        let mut known = HashMap::new();
        for one in scene.authorities(*keyset).filter(|one| counts(one)) {
            let first = *known.entry(&one.seen.subject_dn).or_insert(&one.seen.spki);
            if *first != one.seen.spki {
                let why = format!("another trusted CA of {keyset} is called {} too", one.seen.subject());
                hits.certificate(one, hit(why));
            }
        }
    }
}

fn many_generations(scene: &Scene, hits: &mut Hits) {
    for keyset in Keyset::ALL {
        let roots: Vec<&Certificate> =
            scene.authorities(*keyset).filter(|one| counts(one) && one.seen.is_self_issued()).collect();
        let keys: BTreeSet<&Vec<u8>> = roots.iter().map(|one| &one.seen.spki).collect();
        if let (true, Some(first)) = (keys.len() > 2, roots.first()) {
            hits.file(first.file, hit(format!("{} roots of {keyset} are trusted", keys.len())));
        }
    }
}

/// Pairs of keysets whose CAs have to be different, and the rule that says so: the most dangerous one alone.
fn shared(scene: &Scene, hits: &mut Hits, id: &str) {
    use Keyset::{Etcd, EtcdPeer, FrontProxy, Kubernetes, KubernetesClient};
    let pairs = [
        ("CA013", Kubernetes, Etcd),
        ("CA013", KubernetesClient, Etcd),
        ("CA013", Kubernetes, EtcdPeer),
        ("CA014", Kubernetes, FrontProxy),
        ("CA014", KubernetesClient, FrontProxy),
        ("CA012", Etcd, FrontProxy),
    ];
    for (_, one, other) in pairs.iter().filter(|(rule, ..)| *rule == id) {
        // The same certificate in two files is kept once, so files are compared.
        let keys = |keyset: Keyset| {
            let of = move |file: &&File| file.what.authority() == Some(keyset);
            scene.files.iter().filter(of).flat_map(|file| scene.of(file))
        };
        let first: HashSet<&Vec<u8>> = keys(*one).map(|ca| &ca.seen.spki).collect();
        for twin in keys(*other).filter(|twin| first.contains(&twin.seen.spki)) {
            hits.certificate(twin, hit(format!("its key is the key of the CA of {one} too")));
        }
    }
}

fn shared_by_clusters(scenes: &[Scene], nodes: bool, hits: &mut Hits) {
    if nodes {
        return;
    }
    let mut owners = HashMap::new();
    for (index, scene) in scenes.iter().enumerate() {
        for one in scene.certificates.iter().filter(|one| matches!(one.role, Role::Authority(Some(_))) && !one.repeated)
        {
            let owner = *owners.entry(&one.seen.spki).or_insert(index);
            if owner != index {
                let why = format!("its key is a CA's in {} too", scenes[owner].root);
                hits.scene = index;
                hits.certificate(one, hit(why));
            }
        }
    }
}

fn bundle(file: &File, scene: &Scene) -> Option<Hit> {
    let What::Bundle(_) = file.what else { return None };
    let all = scene.of(file);
    let different: HashSet<&Vec<u8>> = all.iter().map(|one| &one.seen.der).collect();
    match () {
        () if !file.keys.is_empty() => Some(hit("it has a private key in it")),
        () if all.iter().any(|one| !one.seen.is_ca()) => Some(hit("it has a certificate in it that is no CA's")),
        () if different.len() < all.len() => Some(hit("it has a certificate twice")),
        () => when(file.has_headers, "its PEM blocks have headers"),
    }
}

fn wrong_key(file: &File, scene: &Scene) -> Option<Hit> {
    let What::AuthorityKey(keyset) = file.what else { return None };
    let beside = scene.find(What::Signing(keyset)).or_else(|| scene.find(What::Bundle(keyset)))?;
    let key = file.keys.first()?.spki.as_ref()?;
    let first = scene.of(beside).first()?;
    when(first.seen.spki != *key, format!("it is not the key of the first certificate in {}", beside.place))
}

fn not_trusted(file: &File, scene: &Scene) -> Option<Hit> {
    let What::Signing(keyset) = file.what else { return None };
    let bundle = scene.find(What::Bundle(keyset))?;
    let issuing: &Seen = &scene.of(file).first()?.seen;
    when(scene.of(bundle).iter().all(|one| one.seen.spki != issuing.spki), format!("its CA is not in {}", bundle.place))
}
