//! Rules on keys, signatures and serial numbers: KY001 to KY019, and RD001 on what can't be read.

use std::collections::HashMap;

use super::recognise::{Layout, What};
use super::subject::{Certificate, Content, File, Scene};
use super::{Check, Hit, Hits, Rule, hit, when};
use crate::model::{Level, Time};
use crate::pki::{KeyKind, SeenKey, SeenKeyUsage, SignatureKind};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "KY001",
        title: "an RSA key under 2048 bits",
        why: "it can be factored, and Go refuses keys under 1024 bits",
        source: "NIST SP 800-57 part 1; Go 1.24, crypto/rsa",
        remedy: "use ECDSA P-256, or RSA of at least 2048 bits",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(|one, _| {
            let bits = one.seen.key.rsa_bits()?;
            when(bits < 2048, format!("its RSA key has {bits} bits"))
        }),
    },
    Rule {
        id: "KY002",
        title: "an RSA key under 3072 bits in a CA that is valid past 2030",
        why: "its strength of 112 bits is meant to end with the year 2030",
        source: "NIST SP 800-57 part 1, revision 5, table 4",
        remedy: "use ECDSA P-256 or RSA-3072 for the next generation",
        severity: Level::Attention,
        imported: None,
        check: Check::Certificate(|one, _| {
            let weak = one.seen.key.rsa_bits().is_some_and(|bits| (2048..3072).contains(&bits));
            let late = one.seen.not_after >= Time::from_unix(END_OF_112_BITS);
            when(one.role.is_authority() && weak && late, "it is an RSA-2048 CA that is valid past 2030")
        }),
    },
    Rule {
        id: "KY003",
        title: "a key on a curve that is none of P-256, P-384 and P-521",
        why: "Go can't use it in TLS, or can't even read it",
        source: "Go, crypto/x509 and crypto/tls; rustls",
        remedy: "use P-256",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(|one, _| match &one.seen.key {
            KeyKind::OtherCurve(curve) => Some(hit(format!("its key is on the curve {curve}"))),
            _ => None,
        }),
    },
    Rule {
        id: "KY004",
        title: "a signature with SHA-1 or MD5",
        why: "collisions can be made, so that one signature fits two certificates; Go refuses it",
        source: "Go 1.18, crypto/x509; RFC 9155",
        remedy: "issue it anew with SHA-256",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(|one, _| match &one.seen.signature {
            SignatureKind::Broken(hash) => Some(hit(format!("it is signed with {hash}"))),
            _ => None,
        }),
    },
    Rule {
        id: "KY005",
        title: "an RSA key with a weak exponent, or of a broken generator",
        why: "whoever knows the public key can find the private one, or forge signatures",
        source: "CVE-2017-15361 (ROCA); NIST SP 800-56B: an odd exponent of at least 65537",
        remedy: "make a new key, and treat the old one as known",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(weak_rsa),
    },
    Rule {
        id: "KY006",
        title: "a private key that is not its certificate's",
        why: "the component does not start, or goes on with the pair that it had",
        source: "Go, crypto/tls X509KeyPair",
        remedy: "put the certificate and the key of one issuing there",
        severity: Level::Error,
        imported: None,
        check: Check::Scene(mismatch),
    },
    Rule {
        id: "KY007",
        title: "one private key in two leaf certificates",
        why: "whoever has the one can be the other; a key that leaks leaks twice",
        source: "NIST SP 800-57 part 1, 5.2",
        remedy: "issue one of them anew with a key of its own",
        severity: Level::Attention,
        imported: None,
        check: Check::Scenes(shared_key),
    },
    Rule {
        id: "KY008",
        title: "a leaf with the key of a CA",
        why: "the key that can issue anything lies with a component",
        source: "NIST SP 800-57 part 1, 5.2",
        remedy: "issue the leaf anew with a key of its own, and rotate the CA",
        severity: Level::Error,
        imported: None,
        check: Check::Scene(authority_key),
    },
    Rule {
        id: "KY009",
        title: "a private key that no component can load",
        why: "Kubernetes reads unencrypted PKCS#1, SEC1 and PKCS#8 and nothing else",
        source: "client-go, util/keyutil ParsePrivateKeyPEM",
        remedy: "openssl pkey -in KEY -out NEW",
        severity: Level::Error,
        imported: None,
        check: Check::File(unloadable),
    },
    Rule {
        id: "KY010",
        title: "a private key that others than its owner may read",
        why: "every process of the machine has it",
        source: "kubeadm writes 0600; CIS Kubernetes Benchmark, 1.1.21",
        remedy: "chmod 600 FILE",
        severity: Level::Error,
        imported: None,
        check: Check::File(readable),
    },
    Rule {
        id: "KY011",
        title: "sa.pub does not begin with the public key of sa.key",
        why: "tokens that are signed with the one are refused with the other",
        source: "kube-apiserver, --service-account-key-file; kubeadm",
        remedy: "openssl pkey -in sa.key -pubout, and the former keys behind it",
        severity: Level::Error,
        imported: None,
        check: Check::File(service_account),
    },
    Rule {
        id: "KY012",
        title: "the service-account key is a certificate's key too",
        why: "who can sign tokens can be that component, and neither can be rotated alone",
        source: "Kubernetes, managing service accounts",
        remedy: "rotate the service-account key to one of its own",
        severity: Level::Error,
        imported: None,
        check: Check::File(|file, scene| {
            let shares = |spki: &Vec<u8>| scene.certificates.iter().any(|one| one.seen.spki == *spki);
            when(is_service_account(file) && publics(file).any(shares), "its key is a certificate's too")
        }),
    },
    Rule {
        id: "KY014",
        title: "an Ed25519 service-account key",
        why: "tokens are signed with RSA or ECDSA alone; in sa.pub such a key is passed over silently",
        source: "Kubernetes, pkg/serviceaccount JWTTokenGenerator",
        remedy: "use ECDSA P-256 or RSA",
        severity: Level::Error,
        imported: None,
        check: Check::File(|file, _| {
            let ed25519 = publics(file).any(|spki| KeyKind::read(spki) == KeyKind::Ed25519);
            when(is_service_account(file) && ed25519, "it is an Ed25519 key")
        }),
    },
    Rule {
        id: "KY015",
        title: "a serial number of less than 64 bits",
        why: "it may be guessed; nothing follows from that while signatures use SHA-2",
        source: "CA/Browser Forum BR 7.1; kubeadm's have 63 bits",
        remedy: "nothing; kluis issues with 128 bits",
        severity: Level::Note,
        imported: None,
        check: Check::Certificate(|one, _| {
            // What is no serial number at all is KY016's.
            let short = match one.seen.serial.as_slice() {
                [] | [0] => false,
                [first, rest @ ..] => first & 0x80 == 0 && rest.len() < 8,
            };
            when(short, "its serial number has less than 64 bits")
        }),
    },
    Rule {
        id: "KY016",
        title: "a serial number that is zero, negative or longer than 20 octets",
        why: "Go refuses negative ones, others the rest",
        source: "RFC 5280, 4.1.2.2; Go 1.23, crypto/x509",
        remedy: "issue it anew",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(|one, _| match one.seen.serial.as_slice() {
            [] | [0] => Some(hit("its serial number is 0")),
            [first, ..] if first & 0x80 != 0 => Some(hit("its serial number is negative")),
            serial => when(serial.len() > 20, "its serial number is longer than 20 octets"),
        }),
    },
    Rule {
        id: "KY017",
        title: "two certificates of one issuer with one serial number",
        why: "a revocation list names both; etcd's looks at the serial number alone",
        source: "RFC 5280, 4.1.2.2",
        remedy: "issue one of them anew",
        severity: Level::Error,
        imported: None,
        check: Check::Scene(same_serial),
    },
    Rule {
        id: "KY018",
        title: "keyEncipherment on an elliptic key",
        why: "such a key can't encipher; harmless, and kubeadm does it",
        source: "RFC 8813, 3",
        remedy: "nothing; leave it out of the next one",
        severity: Level::Note,
        imported: None,
        check: Check::Certificate(|one, _| {
            let usage = one.seen.key_usage.filter(|_| !one.role.is_authority() && one.seen.key.is_elliptic())?;
            when(usage.allows(SeenKeyUsage::KEY_ENCIPHERMENT), "its key is elliptic and may encipher keys")
        }),
    },
    Rule {
        id: "KY019",
        title: "a key or signature that components built with Go don't know",
        why: "they can't read the certificate, or not check it",
        source: "Go, crypto/x509",
        remedy: "issue it anew with ECDSA or RSA (PKCS #1 v1.5)",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(|one, _| match (&one.seen.key, &one.seen.signature) {
            (KeyKind::Other(what), _) => Some(hit(format!("the kind of its key is not known: {what}"))),
            (_, SignatureKind::Unknown(what)) => Some(hit(format!("the kind of its signature is not known: {what}"))),
            _ => None,
        }),
    },
    Rule {
        id: "RD001",
        title: "a file or block that can't be read",
        why: "nobody can say what is in it; components fail at it, or pass it over",
        source: "RFC 7468; RFC 5280",
        remedy: "look at the file, and put a whole one there",
        severity: Level::Error,
        imported: None,
        check: Check::Scene(|scene, hits| {
            for (index, file) in scene.files.iter().enumerate() {
                file.unreadable.iter().for_each(|why| hits.file(index, hit(why.as_str())));
                // That keys are not everybody's to read is as it should be.
                if file.denied {
                    hits.file(index, hit("it was not looked at: you may not read it").weighing(Level::Note));
                }
            }
        }),
    },
];

/// 2031-01-01T00:00:00Z.
const END_OF_112_BITS: i64 = 1_924_992_000;

fn weak_rsa(one: &Certificate, _: &Scene) -> Option<Hit> {
    let KeyKind::Rsa { exponent, .. } = &one.seen.key else { return None };
    match exponent {
        Some(exponent) if exponent % 2 == 0 || *exponent < 65537 => {
            Some(hit(format!("the exponent of its RSA key is {exponent}")))
        }
        _ => when(one.seen.key.is_roca(), "its RSA key comes from a broken generator (ROCA)"),
    }
}

/// A key belongs to the certificate in its own file, or else in the file of the same name (`x.crt` and `x.key`). CA keys
/// are CA018's, keys in bundles CA016's.
fn mismatch(scene: &Scene, hits: &mut Hits) {
    let is_pem = |file: &&File| matches!(file.content, Content::Pem) && !file.certificates.is_empty();
    let named: HashMap<&str, &File> = scene.files.iter().filter(is_pem).map(|file| (file.stem(), file)).collect();
    for (index, file) in scene.files.iter().enumerate() {
        let Some(key) = file.keys.first().and_then(|key| key.spki.as_ref()) else { continue };
        if matches!(file.what, What::AuthorityKey(_) | What::Bundle(_)) || !matches!(file.content, Content::Pem) {
            continue;
        }
        let own = scene.of(file).first();
        let beside = || named.get(file.stem()).and_then(|file| scene.of(file).first());
        if let Some(certificate) = own.or_else(beside)
            && certificate.seen.spki != *key
        {
            hits.file(index, hit("its private key is not the key of its certificate"));
        }
    }
}

fn shared_key(scenes: &[Scene], _: bool, hits: &mut Hits) {
    let mut owners: HashMap<&[u8], &Certificate> = HashMap::new();
    for (index, scene) in scenes.iter().enumerate() {
        for one in scene.certificates.iter().filter(|one| !one.repeated && !one.role.is_authority()) {
            let first = *owners.entry(&one.seen.spki).or_insert(one);
            if first.seen.der != one.seen.der {
                hits.scene = index;
                hits.certificate(one, hit(format!("its key is also that of {}", first.seen.subject())));
            }
        }
    }
}

fn authority_key(scene: &Scene, hits: &mut Hits) {
    let authorities = scene.certificates.iter().filter(|one| one.role.is_authority());
    let keys: HashMap<&[u8], &Certificate> = authorities.map(|one| (one.seen.spki.as_slice(), one)).collect();
    for one in scene.certificates.iter().filter(|one| !one.role.is_authority() && !one.repeated) {
        if let Some(ca) = keys.get(one.seen.spki.as_slice()) {
            hits.certificate(one, hit(format!("its key is that of the CA {}", ca.seen.subject())));
        }
    }
}

fn unloadable(file: &File, _: &Scene) -> Option<Hit> {
    let known = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];
    let accesses = file.accesses().iter().filter_map(|access| access.key.as_ref());
    // Talos' own form is read here, and by nothing that Kubernetes is.
    let is_known = |label: &str| known.contains(&label);
    let bad = |key: &&SeenKey| key.encrypted || key.spki.is_none() || !is_known(&key.label);
    let key = file.keys.iter().chain(accesses).find(bad)?;
    Some(hit(match key {
        key if key.encrypted => "its private key is encrypted".to_owned(),
        key if !is_known(&key.label) => format!("its private key is a block {}", key.label),
        _ => "its private key is of no kind that is known".to_owned(),
    }))
}

fn readable(file: &File, scene: &Scene) -> Option<Hit> {
    // k0s gives its keys to the groups of its components.
    let others = if scene.layout == Some(Layout::K0s) { 0o037 } else { 0o077 };
    let has_key = !file.keys.is_empty() || file.accesses().iter().any(|access| access.key.is_some());
    let mode = file.mode.filter(|_| has_key)?;
    when(mode & others != 0, format!("its mode is {mode:04o}, and it has a private key"))
}

fn is_service_account(file: &File) -> bool {
    matches!(file.what, What::ServiceAccountKey | What::ServiceAccountPublic)
}

fn publics(file: &File) -> impl Iterator<Item = &Vec<u8>> {
    file.public_keys.iter().chain(file.keys.iter().filter_map(|key| key.spki.as_ref()))
}

fn service_account(file: &File, scene: &Scene) -> Option<Hit> {
    let private = scene.find(What::ServiceAccountKey).filter(|_| file.what == What::ServiceAccountPublic)?;
    let key = private.keys.first()?.spki.as_ref()?;
    match file.public_keys.iter().position(|one| one == key) {
        Some(0) => None,
        Some(_) => Some(hit("the public key of sa.key is not the first in it")),
        None => Some(hit("it has not the public key of sa.key")),
    }
}

fn same_serial(scene: &Scene, hits: &mut Hits) {
    let mut known = HashMap::new();
    for one in scene.certificates.iter().filter(|one| !one.repeated) {
        let first = *known.entry((&one.seen.issuer_dn, &one.seen.serial)).or_insert(one);
        // A root names itself: two CAs of one name and number are two issuers.
        let two_roots = one.seen.is_self_issued() && first.seen.is_self_issued();
        if !two_roots && !std::ptr::eq(first, one) {
            hits.certificate(one, hit(format!("its serial number is that of {} too", first.seen.subject())));
        }
    }
}
