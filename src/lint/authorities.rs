//! Rules on what a CA certificate says: CA001 to CA010, CA020 to CA026. `bundles` has those on CAs among one another.

use super::recognise::Layout;
use super::subject::{Certificate, Role, Scene};
use super::{Check, Hit, Hits, Rule, hit, when};
use crate::model::{Distribution, Keyset, Level, Profile, Span, State};
use crate::pki::{KeyKind, SeenKeyUsage};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "CA001",
        title: "a CA certificate without critical basic constraints that say CA:TRUE",
        why: "no verifier takes what it signed, and kubeadm says that it is not a CA",
        source: "RFC 5280, 4.2.1.9; kubeadm, pkiutil.TryLoadCertFromDisk",
        remedy: "make the CA again with critical basicConstraints CA:TRUE, and reissue its leaves",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(constraints),
    },
    Rule {
        id: "CA002",
        title: "a CA certificate whose key usage does not critically allow keyCertSign",
        why: "OpenSSL and rustls refuse every certificate that it signed",
        source: "RFC 5280, 4.2.1.3",
        remedy: "make the CA again with critical keyUsage keyCertSign (and cRLSign)",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(key_usage),
    },
    Rule {
        id: "CA003",
        title: "an etcd CA that may not sign revocation lists",
        why: "a revocation list of it is not well-formed, should etcd's client-crl-file ever be used",
        source: "RFC 5280, 4.2.1.3; kubeadm's CAs lack it",
        remedy: "nothing, unless revocation lists are wanted: then a new generation with cRLSign",
        severity: Level::Note,
        imported: None,
        check: Check::Certificate(|one, _| {
            let lacks = one.seen.key_usage.is_some_and(|usage| !usage.allows(SeenKeyUsage::CRL_SIGN));
            let etcd = matches!(one.role, Role::Authority(Some(Keyset::Etcd | Keyset::EtcdPeer)));
            when(etcd && lacks, "its key usage lacks cRLSign")
        }),
    },
    Rule {
        id: "CA004",
        title: "a path length of 0 on a CA that has CAs below it",
        why: "no chain through the lower CA is valid",
        source: "RFC 5280, 4.2.1.9",
        remedy: "make the upper CA again without a path length",
        severity: Level::Error,
        imported: None,
        check: Check::Scene(path_length_zero),
    },
    Rule {
        id: "CA005",
        title: "a path length on a root",
        why: "it can't be cross-signed in a rotation, or not have a CA below it later",
        source: "RFC 5280, 4.2.1.9; kubeadm sets none",
        remedy: "leave pathLenConstraint out of the next generation",
        severity: Level::Attention,
        imported: None,
        check: Check::Certificate(|one, _| {
            let length = one.seen.constraints.and_then(|constraints| constraints.path_length)?;
            when(
                one.role.is_authority() && one.seen.is_self_issued(),
                format!("it is a root with a path length of {length}"),
            )
        }),
    },
    Rule {
        id: "CA006",
        title: "extended key usages on a CA that exclude what its leaves are for",
        why: "Go and others nest them: a usage that the CA lacks is none that its leaves have",
        source: "Go, crypto/x509 Certificate.Verify; CA/Browser Forum BR 7.1.2.10.6",
        remedy: "make the CA again without extended key usages, or with both serverAuth and clientAuth",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(usages),
    },
    Rule {
        id: "CA007",
        title: "name constraints that exclude a name of a certificate below",
        why: "that certificate is valid nowhere",
        source: "RFC 5280, 4.2.1.10",
        remedy: "widen the constraints in a new generation, or take the name out of the leaf",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(name_constraints),
    },
    Rule {
        id: "CA008",
        title: "a CA certificate without a subject key identifier",
        why: "leaves can't name their CA by key, so two generations of one name can't be told apart",
        source: "RFC 5280, 4.2.1.2",
        remedy: "make the CA again with subjectKeyIdentifier=hash",
        severity: Level::Error,
        imported: Some(Level::Attention),
        check: Check::Certificate(|one, _| {
            when(one.role.is_authority() && one.seen.ski.is_none(), "it has no subject key identifier")
        }),
    },
    Rule {
        id: "CA009",
        title: "a root whose authority key identifier is not its own key's",
        why: "verifiers look for an issuer that there is not",
        source: "RFC 5280, 4.2.1.1",
        remedy: "make the CA again with both identifiers of its own key, or no authority key identifier",
        severity: Level::Attention,
        imported: None,
        check: Check::Certificate(|one, _| {
            let differs = matches!((&one.seen.aki, &one.seen.ski), (Some(named), Some(own)) if named != own);
            let root = one.role.is_authority() && one.seen.is_self_issued();
            when(root && differs, "it names itself as its issuer, and another key")
        }),
    },
    Rule {
        id: "CA010",
        title: "a CA certificate with an empty subject",
        why: "strict verifiers refuse it, and a chain can't be followed by name",
        source: "RFC 5280, 4.1.2.6; Talos' aggregation CA has one",
        remedy: "give the next generation a CN of its own",
        severity: Level::Attention,
        imported: Some(Level::Note),
        check: Check::Certificate(|one, _| {
            when(one.role.is_authority() && one.seen.subject_dn.len() <= 2, "its subject is empty")
        }),
    },
    Rule {
        id: "CA020",
        title: "a CA certificate that has expired or is not valid yet",
        why: "everything below it is refused",
        source: "RFC 5280, 6.1.3",
        remedy: "kluis rotate start, or the distribution's own rotation of CAs",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(|one, scene| {
            if !counts(one) || one.seen.not_before <= scene.now && scene.now <= one.seen.not_after {
                return None;
            }
            let ended = one.seen.not_after < scene.now;
            Some(hit(if ended {
                format!("it ended on {}", one.seen.not_after)
            } else {
                format!("it begins on {}", one.seen.not_before)
            }))
        }),
    },
    Rule {
        id: "CA021",
        title: "a CA certificate that ends within a year, or before two lives of its leaves",
        why: "a rotation takes as long as the slowest client; its leaves are cut short from now on",
        source: "Kubernetes, manual rotation of CA certificates",
        remedy: "begin a rotation now",
        severity: Level::Attention,
        imported: None,
        check: Check::Certificate(ends_soon),
    },
    Rule {
        id: "CA022",
        title: "a CA certificate that lives longer than policy allows",
        why: "a key that leaks is good for as long; kubeadm warns of it",
        source: "kubeadm, caCertificateValidityPeriod: 10 years; cluster.toml, lifetime.authority",
        remedy: "give the next generation a shorter life",
        severity: Level::Note,
        imported: None,
        check: Check::Certificate(|one, scene| {
            let life = one.life();
            let longest = scene.policy.authority.seconds();
            when(counts(one) && life > longest, format!("it lives for {} days", life / 86_400))
        }),
    },
    Rule {
        id: "CA024",
        title: "a leaf of a generation that is trusted no more",
        why: "it is refused wherever the rotation has come through",
        source: "Kubernetes, manual rotation of CA certificates",
        remedy: "issue it anew from the generation that issues",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(|one, scene| {
            let issuer = scene.issuer(one).filter(|_| !one.role.is_authority())?;
            when(issuer.state == Some(State::Distrusted), "its CA is trusted no more")
        }),
    },
    Rule {
        id: "CA026",
        title: "an Ed25519 key where the distribution loads none",
        why: "kubeadm takes the key for one that is not there; k0s and k3s are untested",
        source: "kubeadm, pkiutil.TryLoadKeyFromDisk; tried with 1.36",
        remedy: "use ECDSA P-256, P-384 or RSA",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(|one, scene| {
            let target = scene.layout.map(Layout::distribution)?;
            let loads =
                matches!(target, Distribution::Kubeadm | Distribution::K0s | Distribution::K3s | Distribution::Rke2);
            when(loads && one.seen.key == KeyKind::Ed25519, format!("its key is Ed25519, and {target} loads none"))
        }),
    },
];

/// Whether it is a CA certificate that something may still depend on.
pub(super) fn counts(one: &Certificate) -> bool {
    one.role.is_authority() && !matches!(one.state, Some(State::Distrusted | State::Staged))
}

fn constraints(one: &Certificate, _: &Scene) -> Option<Hit> {
    if !one.role.is_authority() {
        return None;
    }
    match one.seen.constraints {
        None => Some(hit("it has no basic constraints")),
        Some(constraints) if !constraints.is_ca => Some(hit("its basic constraints say CA:FALSE")),
        Some(constraints) => when(!constraints.critical, "its basic constraints are not critical"),
    }
}

fn key_usage(one: &Certificate, _: &Scene) -> Option<Hit> {
    if !one.role.is_authority() {
        return None;
    }
    match one.seen.key_usage {
        None => Some(hit("it has no key usage")),
        Some(usage) if !usage.allows(SeenKeyUsage::CERT_SIGN) => Some(hit("its key usage lacks keyCertSign")),
        Some(usage) => when(!usage.critical, "its key usage is not critical"),
    }
}

fn usages(one: &Certificate, _: &Scene) -> Option<Hit> {
    let Role::Authority(keyset) = one.role else { return None };
    let usages = one.seen.usages.filter(|usages| !usages.any)?;
    let (server, client) = match keyset? {
        Keyset::FrontProxy | Keyset::KubernetesClient => (false, true),
        _ => (true, true),
    };
    match (server && !usages.server, client && !usages.client) {
        (false, false) => None,
        (true, false) => Some(hit("its extended key usages lack serverAuth")),
        (false, true) => Some(hit("its extended key usages lack clientAuth")),
        (true, true) => Some(hit("its extended key usages lack serverAuth and clientAuth")),
    }
}

fn path_length_zero(scene: &Scene, hits: &mut Hits) {
    for (index, upper) in scene.certificates.iter().enumerate() {
        let zero = upper.seen.constraints.is_some_and(|constraints| constraints.path_length == Some(0));
        let is_below = |one: &&Certificate| one.issuer == Some(index) && one.seen.is_ca() && !one.seen.is_self_issued();
        if zero && let Some(below) = scene.certificates.iter().find(is_below) {
            hits.certificate(
                upper,
                hit(format!("its path length is 0, and {} is a CA below it", below.seen.subject())),
            );
        }
    }
}

/// Judges the leaf, which names the constraints of its CA.
fn name_constraints(one: &Certificate, scene: &Scene) -> Option<Hit> {
    let constraints = scene.issuer(one)?.seen.name_constraints.as_ref()?;
    let bad = one.seen.sans.iter().find(|name| !constraints.permits(name))?;
    Some(hit(format!("the name constraints of its CA exclude {}", super::names::shown(bad))))
}

fn ends_soon(one: &Certificate, scene: &Scene) -> Option<Hit> {
    let left = one.seen.not_after.since(scene.now);
    if !counts(one) || left < 0 {
        return None;
    }
    if left < Span::days(365).seconds() {
        return Some(hit(format!("it ends on {}", one.seen.not_after)));
    }
    let before = format!("it ends on {}, before two lives of its leaves", one.seen.not_after);
    when(left < 2 * one.longest_leaf, before)
}

/// The profiles whose leaves say which generation issues.
pub(super) const COMPONENTS: &[Profile] = &[Profile::Apiserver, Profile::ApiserverKubeletClient, Profile::EtcdServer];
