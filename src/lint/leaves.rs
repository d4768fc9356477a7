//! Rules on what a leaf may be used for, how long, and who issued it: LF001 to LF014, LF026, LF036 to LF039.

use super::subject::{Certificate, Role, Scene};
use super::{Check, Hit, Rule, hit, when};
use crate::model::{Level, Profile, Span};
use crate::pki::{Seen, SeenKeyUsage, SeenUsages};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "LF001",
        title: "a serving certificate without serverAuth",
        why: "every TLS client refuses it",
        source: "RFC 5280, 4.2.1.12; Kubernetes, PKI certificates and requirements",
        remedy: "issue it anew with the extended key usage serverAuth",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(|one, _| {
            let usages = lacking(one)?;
            let own = one.role.serves() && !one.role.is_any(&[Profile::EtcdPeer]);
            when(own && !usages.server, "its extended key usages lack serverAuth")
        }),
    },
    Rule {
        id: "LF002",
        title: "a client certificate without clientAuth",
        why: "API server and etcd refuse it",
        source: "RFC 5280, 4.2.1.12; Kubernetes, PKI certificates and requirements",
        remedy: "issue it anew with the extended key usage clientAuth",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(|one, _| {
            let usages = lacking(one)?;
            when(one.role.only_calls() && !usages.client, "its extended key usages lack clientAuth")
        }),
    },
    Rule {
        id: "LF003",
        title: "an etcd server certificate without clientAuth",
        why: "etcd's gRPC gateway calls the member with its server certificate, and fails",
        source: "etcd issues 9785 and 16590; kubeadm issues both",
        remedy: "issue it anew with serverAuth and clientAuth",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(|one, _| {
            let usages = lacking(one)?;
            when(one.role.is_any(&[Profile::EtcdServer]) && !usages.client, "its extended key usages lack clientAuth")
        }),
    },
    Rule {
        id: "LF004",
        title: "an etcd peer certificate without both serverAuth and clientAuth",
        why: "peers call and are called with it: there is no quorum",
        source: "etcd, transport security model",
        remedy: "issue it anew with serverAuth and clientAuth",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(|one, _| {
            let usages = lacking(one)?;
            let both = usages.server && usages.client;
            when(
                one.role.is_any(&[Profile::EtcdPeer]) && !both,
                "its extended key usages are not both serverAuth and clientAuth",
            )
        }),
    },
    Rule {
        id: "LF005",
        title: "a client certificate with serverAuth or anyExtendedKeyUsage",
        why: "whoever has it can pose as a server of that name",
        source: "Kubernetes, certificate signing requests; k0s issues all so",
        remedy: "issue it anew with clientAuth alone",
        severity: Level::Attention,
        imported: Some(Level::Note),
        check: Check::Certificate(|one, _| {
            let usages = one.seen.usages.filter(|_| one.role.only_calls())?;
            match usages {
                SeenUsages { any: true, .. } => Some(hit("it is good for any use")),
                SeenUsages { server, .. } => when(server, "it is a client's, and has serverAuth"),
            }
        }),
    },
    Rule {
        id: "LF006",
        title: "a leaf without extended key usages",
        why: "Go takes it for anything, others for nothing",
        source: "Go, crypto/x509 Certificate.Verify; tried with kube-apiserver 1.36",
        remedy: "issue it anew with what it is used for",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(|one, _| {
            when(!one.role.is_authority() && one.seen.usages.is_none(), "it has no extended key usages")
        }),
    },
    Rule {
        id: "LF007",
        title: "a leaf whose key usage lacks digitalSignature",
        why: "Go does not look, strict stacks of TLS 1.3 refuse it",
        source: "RFC 8446, 4.4.2.2",
        remedy: "issue it anew with digitalSignature",
        severity: Level::Attention,
        imported: None,
        check: Check::Certificate(|one, _| {
            let usage = one.seen.key_usage.filter(|_| !one.role.is_authority())?;
            when(!usage.allows(SeenKeyUsage::DIGITAL_SIGNATURE), "its key usage lacks digitalSignature")
        }),
    },
    Rule {
        id: "LF008",
        title: "a leaf that may sign certificates",
        why: "whoever has its key can issue for the whole cluster",
        source: "RFC 5280, 4.2.1.3 and 4.2.1.9",
        remedy: "issue it anew with CA:FALSE, and treat its key as a CA's",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(|one, _| match () {
            () if one.role.is_authority() => None,
            () if one.seen.is_ca() => Some(hit("its basic constraints say CA:TRUE")),
            () => when(
                one.seen.key_usage.is_some_and(|usage| usage.allows(SeenKeyUsage::CERT_SIGN)),
                "its key usage has keyCertSign",
            ),
        }),
    },
    Rule {
        id: "LF009",
        title: "a leaf that ends after its CA",
        why: "it ends earlier than it says, with everything else of that CA",
        source: "RFC 5280, 6.1.3; kubeadm does not clamp",
        remedy: "rotate the CA before, or issue the leaf for a shorter time",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(|one, scene| {
            let issuer = scene.issuer(one).filter(|_| !one.role.is_authority())?;
            when(
                one.seen.not_after > issuer.seen.not_after,
                format!("its CA ends before it, on {}", issuer.seen.not_after),
            )
        }),
    },
    Rule {
        id: "LF010",
        title: "a leaf that begins before its CA",
        why: "no chain is valid at that time",
        source: "RFC 5280, 6.1.3",
        remedy: "nothing for today; issue the next one with a later beginning",
        severity: Level::Attention,
        imported: None,
        check: Check::Certificate(|one, scene| {
            let issuer = scene.issuer(one).filter(|_| !one.role.is_authority())?;
            when(
                one.seen.not_before < issuer.seen.not_before,
                format!("its CA begins after it, on {}", issuer.seen.not_before),
            )
        }),
    },
    Rule {
        id: "LF011",
        title: "a leaf that is not valid yet",
        why: "it is refused until then; a clock is wrong, here or where it was issued",
        source: "RFC 5280, 6.1.3",
        remedy: "check the clocks, and issue it anew",
        severity: Level::Attention,
        imported: None,
        check: Check::Certificate(|one, scene| {
            when(
                !one.role.is_authority() && one.seen.not_before > scene.now,
                format!("it begins on {}", one.seen.not_before),
            )
        }),
    },
    Rule {
        id: "LF012",
        title: "a leaf that has expired or ends soon",
        why: "components stop talking to one another",
        source: "Kubernetes, certificate management with kubeadm",
        remedy: "issue it anew: kluis cert renew, kubeadm certs renew",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(ends),
    },
    Rule {
        id: "LF013",
        title: "a leaf that does not name the key of its CA",
        why: "two CAs of one subject can't be told apart, and the wrong one is tried",
        source: "RFC 5280, 4.2.1.1; tried with kube-apiserver 1.36",
        remedy: "issue it anew with the authority key identifier of its CA",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(authority_identifier),
    },
    Rule {
        id: "LF014",
        title: "a leaf of another CA than that of its role",
        why: "it is refused where it is used, or taken where it should not be",
        source: "Kubernetes, PKI certificates and requirements",
        remedy: "issue it anew from the CA of its role",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(wrong_authority),
    },
    Rule {
        id: "LF026",
        title: "a break-glass certificate that lives longer than policy allows",
        why: "no binding takes it back: if it leaks, the CA has to be rotated",
        source: "Kubernetes, RBAC good practices: avoid system:masters; epoch, policy.max_break_glass",
        remedy: "kluis request new --break-glass; keep super-admin.conf off the node",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(|one, scene| {
            let own = one.role == Role::SuperAdmin || one.role.is_any(&[Profile::BreakGlass]);
            when(own && one.life() > scene.policy.break_glass.seconds(), format!("it lives for {}", days(one.life())))
        }),
    },
    Rule {
        id: "LF036",
        title: "a leaf that lives longer than policy allows",
        why: "no certificate can be revoked: its life is how long a leak lasts",
        source: "kubeadm, certificateValidityPeriod: a year; cluster.toml, [lifetime]",
        remedy: "issue it for a shorter time: people for hours, components for a year",
        severity: Level::Attention,
        imported: None,
        check: Check::Certificate(long_life),
    },
    Rule {
        id: "LF037",
        title: "places of revocation lists, OCSP or issuers in a certificate",
        why: "Kubernetes looks at none of them, and they tell names of one's network",
        source: "kube-apiserver has no revocation of client certificates (issue 18982)",
        remedy: "leave them out of the next one",
        severity: Level::Note,
        imported: None,
        check: Check::Certificate(|one, _| when(one.seen.has_urls, "it names places that Kubernetes does not look at")),
    },
    Rule {
        id: "LF038",
        title: "a critical extension that nobody knows",
        why: "Go refuses the certificate",
        source: "RFC 5280, 4.2; Go, crypto/x509 UnhandledCriticalExtensions",
        remedy: "issue it anew without the extension, or with it not critical",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(|one, _| {
            one.seen.unknown_critical.as_ref().map(|oid| hit(format!("its critical extension {oid} is not known")))
        }),
    },
    Rule {
        id: "LF039",
        title: "a file without the CA certificates between its leaf and the root",
        why: "whoever trusts the root alone can't build the chain",
        source: "RFC 8446, 4.4.2",
        remedy: "put the certificates between behind the leaf, in their order",
        severity: Level::Attention,
        imported: None,
        check: Check::Certificate(|one, scene| {
            let issuer =
                scene.issuer(one).filter(|issuer| !issuer.seen.is_self_issued() && !one.role.is_authority())?;
            let whole = scene.of(&scene.files[one.file]).iter().any(|other| other.seen.der == issuer.seen.der);
            let is_first = scene.files[one.file].certificates.start;
            let first = std::ptr::eq(one, &scene.certificates[is_first]);
            when(!whole && first && !scene.is_repository(), "its CA has a CA above it, and is not in the file")
        }),
    },
];

/// The usages of a leaf, where there are some and not all: what `LF006` and `LF005` say is not said twice.
fn lacking(one: &Certificate) -> Option<SeenUsages> {
    one.seen.usages.filter(|usages| !usages.any)
}

fn days(seconds: i64) -> String {
    if seconds < 2 * 86_400 { format!("{} hours", seconds / 3600) } else { format!("{} days", seconds / 86_400) }
}

/// People's certificates in the repository end soon on purpose, and are of the past then.
fn ends(one: &Certificate, scene: &Scene) -> Option<Hit> {
    let passing = scene.is_repository() && one.role.is_any(&[Profile::Client, Profile::BreakGlass]);
    if one.role.is_authority() || passing {
        return None;
    }
    let left = one.seen.not_after.since(scene.now);
    if left < 0 {
        return Some(hit(format!("it ended on {}", one.seen.not_after)));
    }
    let soon = left < Span::days(30).seconds() && one.life() >= Span::days(60).seconds();
    // The last quarter: by then whoever renews by a timer has missed it.
    let late = left < one.life() / 4 && !scene.copies_beginning(one);
    when(soon || late, format!("it ends on {}", one.seen.not_after)).map(|hit| hit.weighing(Level::Attention))
}

fn authority_identifier(one: &Certificate, scene: &Scene) -> Option<Hit> {
    if one.role.is_authority() || one.seen.is_self_issued() {
        return None;
    }
    let Some(named) = &one.seen.aki else { return Some(hit("it has no authority key identifier")) };
    if one.issuer.is_some() {
        return None;
    }
    let is_namesake = |ca: &&Certificate| ca.seen.is_ca() && ca.seen.subject_dn == one.seen.issuer_dn;
    let ca = scene.certificates.iter().find(is_namesake)?;
    when(ca.seen.ski.as_ref() != Some(named), format!("it names another key of {}", ca.seen.subject()))
}

fn wrong_authority(one: &Certificate, scene: &Scene) -> Option<Hit> {
    let profile = match one.role {
        Role::Leaf(profile) => profile,
        Role::SuperAdmin => Profile::Admin,
        _ => return None,
    };
    let keyset = scene.keyset_of(profile);
    let mut trusted = scene.authorities(keyset).peekable();
    trusted.peek()?;
    // A kubelet signs its own serving certificate where nobody else does.
    let own = one.issuer.is_none() && profile == Profile::KubeletServing;
    // The same CA may be here twice, under two roles; of the two certificates one is the issuer.
    let issuer = scene.issuer(one);
    let above = issuer.and_then(|issuer| scene.issuer(issuer));
    let chain: Vec<&Seen> = issuer.into_iter().chain(above).map(|ca| &ca.seen).collect();
    // Another key of that very name is LF013's.
    let is_namesake = |ca: &Seen| chain.is_empty() && ca.subject_dn == one.seen.issuer_dn;
    if own || trusted.any(|ca| is_namesake(&ca.seen) || chain.iter().any(|link| link.spki == ca.seen.spki)) {
        return None;
    }
    Some(match scene.issuer(one).map(|issuer| issuer.role) {
        Some(Role::Authority(Some(other))) => hit(format!("it is of the CA of {other}, and its role is {keyset}'s")),
        _ => hit(format!("it is of no CA of {keyset} that is here")),
    })
}

fn long_life(one: &Certificate, scene: &Scene) -> Option<Hit> {
    let longest = match one.role {
        Role::Leaf(Profile::Admin) => scene.policy.admin,
        // LF026, and policy.max_client, which verify judges.
        Role::SuperAdmin | Role::Leaf(Profile::BreakGlass | Profile::Client) | Role::Authority(_) => return None,
        _ => scene.policy.component,
    };
    let life = scene.lifetime(one);
    when(life > longest.seconds(), format!("it lives for {}", days(life)))
}
