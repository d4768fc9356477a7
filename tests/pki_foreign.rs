//! What other programs think of our keys, certificates and requests, and we of theirs: OpenSSL (by its
//! command line) and webpki. Nothing here is judged by our own reader alone.

#![expect(clippy::unwrap_used, reason = "a test that can't go on stops")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kluis::env::Rng;
use kluis::model::{Algorithm, ClusterConfig, Host, KeyUse, Profile, Span, Time};
use kluis::pki::{
    CaSpec, Facts, LeafSpec, PrivateKey, Validity, build_csr, certificate_pem, check_csr_pop, issue_ca, issue_leaf,
    organizations, parse_pem, public_pem, read_csr, spki_strength, subject_alt_names,
};
use kluis::secret::Secret;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

const CLUSTER: &str = r#"
distribution = "kubeadm"
kubernetes = "1.36"
endpoint = "https://api.example.org:6443"
[[node]]
name = "cp-1"
roles = ["control-plane", "etcd"]
addresses = ["10.0.0.11"]
"#;

const P256: &str = "ecparam -name prime256v1 -genkey -noout";
const P384: &str = "ecparam -name secp384r1 -genkey -noout";

fn issued_at() -> Time {
    Time::parse("2026-11-20T18:00:00Z").unwrap()
}

fn life(span: Span) -> Validity {
    Validity { not_before: issued_at().minus(Span::parse("5m").unwrap()), not_after: issued_at().plus(span) }
}

/// Runs OpenSSL in `dir`: whether it succeeded, and what it said.
fn openssl(dir: &Path, args: &str) -> (bool, String) {
    let words = args.split_whitespace();
    let output = Command::new("openssl").current_dir(dir).args(words).output().expect("openssl is installed");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

fn succeeds(dir: &Path, args: &str) -> String {
    let (succeeded, said) = openssl(dir, args);
    assert!(succeeded, "openssl {args}: {said}");
    said
}

fn fails(dir: &Path, args: &str) {
    let (succeeded, said) = openssl(dir, args);
    assert!(!succeeded, "openssl {args}: {said}");
}

fn read(dir: &Path, name: &str) -> Vec<u8> {
    std::fs::read(dir.join(name)).unwrap()
}

fn write(dir: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(dir.join(name), bytes).unwrap();
}

fn new_key(algorithm: Algorithm) -> PrivateKey {
    PrivateKey::generate_many(algorithm, 1).remove(0)
}

struct Authority {
    key: PrivateKey,
    der: Vec<u8>,
}

fn authority(algorithm: Algorithm) -> Authority {
    let key = new_key(algorithm);
    let spec = CaSpec { common_name: "kubernetes-ca-g1", validity: life(Span::days(3650)), name_constraints: None };
    let der = issue_ca(&key, &spec, &mut Rng::system());
    Authority { key, der }
}

fn leaf(profile: Profile, public: &PrivateKey, ca: &Authority) -> Vec<u8> {
    let config = ClusterConfig::parse(CLUSTER).unwrap();
    let mut organizations = organizations(profile, &config);
    if profile == Profile::Client {
        organizations.extend(["b".to_owned(), "a".to_owned()]);
    }
    let sans = subject_alt_names(profile, &config.nodes[0], &config);
    let owner = if profile.is_person() { "erin" } else { "cp-1" };
    let validity = life(Span::days(30));
    let spec = LeafSpec { profile, owner, organizations: &organizations, sans: &sans, validity };
    issue_leaf(&public.spki(), &spec, &ca.der, &ca.key, &mut Rng::system()).unwrap()
}

fn webpki(leaf: &[u8], ca: &[u8], server: bool, at: Time) -> Result<(), webpki::Error> {
    let (leaf, ca) = (CertificateDer::from(leaf), CertificateDer::from(ca));
    let anchor = webpki::anchor_from_trusted_cert(&ca)?;
    let usage = if server { webpki::KeyUsage::server_auth() } else { webpki::KeyUsage::client_auth() };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(at.unix().unsigned_abs()));
    webpki::EndEntityCert::try_from(&leaf)?
        .verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &[anchor], &[], now, usage, None, None)
        .map(|_| ())
}

/// Both validators take `der` for what its profile is for, in its life; and for nothing else, and at no
/// other time.
fn check_profile(dir: &Path, profile: Profile, der: &[u8], ca: &Authority) {
    write(dir, "leaf.crt", &certificate_pem(der));
    let verify = |purpose: &str, at: Time| {
        format!("verify -x509_strict -attime {} -purpose {purpose} -CAfile ca.crt leaf.crt", at.unix())
    };
    let serves = profile.key_use() != KeyUse::Client;
    let calls = profile.key_use() != KeyUse::Server;
    for (server, purpose, allowed) in [(true, "sslserver", serves), (false, "sslclient", calls)] {
        let judged = webpki(der, &ca.der, server, issued_at());
        if allowed {
            succeeds(dir, &verify(purpose, issued_at()));
            assert_eq!(judged, Ok(()), "{profile}");
        } else {
            fails(dir, &verify(purpose, issued_at()));
            assert!(judged.is_err(), "{profile} is no {purpose}");
        }
        for at in [issued_at().minus(Span::days(1)), issued_at().plus(Span::days(31))] {
            fails(dir, &verify(purpose, at));
            assert!(webpki(der, &ca.der, server, at).is_err());
        }
    }
}

fn check_algorithm(algorithm: Algorithm, profiles: &[Profile]) {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let (ca, other) = (authority(algorithm), authority(Algorithm::EcdsaP256));
    let public = new_key(algorithm);
    write(dir, "ca.crt", &certificate_pem(&ca.der));
    write(dir, "other.crt", &certificate_pem(&other.der));
    let at = issued_at().unix();
    succeeds(dir, &format!("verify -x509_strict -check_ss_sig -attime {at} -CAfile ca.crt ca.crt"));
    for profile in profiles {
        let der = leaf(*profile, &public, &ca);
        check_profile(dir, *profile, &der, &ca);
        // Another authority of the very same name.
        fails(dir, &format!("verify -attime {at} -CAfile other.crt leaf.crt"));
        assert!(webpki(&der, &other.der, profile.key_use() == KeyUse::Server, issued_at()).is_err());
    }
}

#[test]
fn every_profile_passes_strict_validators_with_p256() {
    check_algorithm(Algorithm::EcdsaP256, Profile::ALL);
}

#[test]
fn every_profile_passes_strict_validators_with_p384() {
    check_algorithm(Algorithm::EcdsaP384, Profile::ALL);
}

#[test]
fn every_profile_passes_strict_validators_with_rsa_2048() {
    check_algorithm(Algorithm::Rsa2048, Profile::ALL);
}

#[test]
fn larger_rsa_keys_pass_strict_validators() {
    check_algorithm(Algorithm::Rsa3072, &[Profile::Apiserver]);
    check_algorithm(Algorithm::Rsa4096, &[Profile::Client]);
}

#[test]
fn a_server_is_known_by_its_names_and_no_others() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let ca = authority(Algorithm::EcdsaP256);
    let der = leaf(Profile::Apiserver, &ca.key, &ca);
    write(dir, "ca.crt", &certificate_pem(&ca.der));
    write(dir, "leaf.crt", &certificate_pem(&der));
    let at = issued_at().unix();
    let certificate = CertificateDer::from(der.as_slice());
    let parsed = webpki::EndEntityCert::try_from(&certificate).unwrap();
    for (name, is_known) in [
        ("kubernetes.default.svc.cluster.local", true),
        ("api.example.org", true),
        ("localhost", true),
        ("10.96.0.1", true),
        ("10.0.0.11", true),
        ("::1", true),
        ("kube-apiserver", false),
        ("evil.example.org", false),
        ("10.0.0.12", false),
    ] {
        let option = if name.parse::<std::net::IpAddr>().is_ok() { "-verify_ip" } else { "-verify_hostname" };
        let verify = format!("verify -x509_strict -attime {at} -CAfile ca.crt {option} {name} leaf.crt");
        let server = ServerName::try_from(name).unwrap();
        assert_eq!(parsed.verify_is_valid_for_subject_name(&server).is_ok(), is_known, "{name}");
        assert_eq!(openssl(dir, &verify).0, is_known, "{name}");
    }
}

#[test]
fn two_authorities_of_one_subject_are_kept_apart_by_their_key_identifiers() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let (one, two) = (authority(Algorithm::EcdsaP256), authority(Algorithm::EcdsaP256));
    write(dir, "ca.crt", &[certificate_pem(&one.der), certificate_pem(&two.der)].concat());
    for ca in [&one, &two] {
        write(dir, "leaf.crt", &certificate_pem(&leaf(Profile::Scheduler, &one.key, ca)));
        succeeds(dir, &format!("verify -x509_strict -attime {} -CAfile ca.crt leaf.crt", issued_at().unix()));
    }
}

#[test]
fn openssl_writes_every_key_as_we_do_and_finds_it_sound() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    for algorithm in Algorithm::ALL {
        let key = new_key(*algorithm);
        write(dir, "pkcs8.pem", key.to_pkcs8_pem().expose());
        write(dir, "pkcs8.der", key.to_pkcs8().expose());
        write(dir, "old.pem", key.to_traditional_pem().expose());
        for form in ["-in pkcs8.pem", "-inform DER -in pkcs8.der", "-in old.pem"] {
            succeeds(dir, &format!("pkey {form} -check -noout"));
            succeeds(dir, &format!("pkey {form} -pubout -out public.pem"));
            assert_eq!(read(dir, "public.pem"), public_pem(&key.spki()), "{algorithm}");
        }
        let kind = if algorithm.as_str().starts_with("rsa") { "rsa" } else { "ec" };
        let said = succeeds(dir, &format!("{kind} -check -noout -in old.pem"));
        assert!(said.contains("ok") || said.contains("valid"), "{said}");
        succeeds(dir, "pkey -in pkcs8.pem -traditional -out theirs.pem");
        assert!(read(dir, "theirs.pem") == key.to_traditional_pem().expose(), "{algorithm}: traditional form");
        succeeds(dir, "pkey -in old.pem -out theirs.pem");
        assert!(read(dir, "theirs.pem") == key.to_pkcs8_pem().expose(), "{algorithm}: PKCS#8 form");
    }
}

#[test]
fn keys_that_openssl_makes_are_read_and_other_kinds_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let parsed = || PrivateKey::from_pem(&Secret::new(read(dir, "key.pem")));
    for (args, algorithm) in [
        ("ecparam -name prime256v1 -genkey -out key.pem", Some(Algorithm::EcdsaP256)),
        ("ecparam -name secp384r1 -genkey -out key.pem", Some(Algorithm::EcdsaP384)),
        ("genrsa -traditional -out key.pem 2048", Some(Algorithm::Rsa2048)),
        ("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out key.pem", Some(Algorithm::Rsa3072)),
        // Talos' own CA has one. It is read, and never made.
        ("genpkey -algorithm ED25519 -out key.pem", None),
    ] {
        succeeds(dir, args);
        let key = parsed().unwrap_or_else(|error| panic!("{args}: {error}"));
        assert_eq!(key.algorithm(), algorithm);
        succeeds(dir, "pkey -in key.pem -pubout -out public.pem");
        assert_eq!(read(dir, "public.pem"), public_pem(&key.spki()));
    }
    for args in [
        "genrsa -out key.pem 1024",
        "ecparam -name secp521r1 -genkey -out key.pem",
        "ecparam -name secp256k1 -genkey -out key.pem",
        "genrsa -aes128 -passout pass:secret -out key.pem 2048",
    ] {
        succeeds(dir, args);
        assert!(parsed().is_err(), "{args}");
    }
}

/// A request by OpenSSL, in DER: `key` makes the key, `rest` says the rest.
fn request(dir: &Path, key: &str, rest: &str) -> Vec<u8> {
    succeeds(dir, &format!("{key} -out key.pem"));
    succeeds(dir, &format!("req -new -key key.pem -outform DER -out request.der {rest}"));
    read(dir, "request.der")
}

#[test]
fn requests_that_openssl_makes_are_read_and_proven() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    for (key, rest) in [
        (P256, "-subj /CN=erin"),
        (P256, "-subj /CN=erin -sha512"),
        (P384, "-subj /CN=erin -sha256"),
        ("ecparam -name secp521r1 -genkey -noout", "-subj /CN=erin -sha512"),
        ("genrsa", "-subj /CN=erin"),
        ("genpkey -algorithm ED25519", "-subj /CN=erin"),
    ] {
        let der = request(dir, key, rest);
        let facts = read_csr(&der).unwrap_or_else(|error| panic!("{key}: {error}"));
        assert_eq!(facts.common_name_only.as_deref(), Some("erin"), "{key}");
        assert!(!facts.has_extensions_or_attributes, "{key}");
        assert_eq!(check_csr_pop(&der), Ok(()), "{key} {rest}");
        assert_eq!(spki_strength(&facts.spki), Ok(()), "{key}");
        succeeds(dir, "pkey -in key.pem -pubout -out public.pem");
        assert_eq!(read(dir, "public.pem"), public_pem(&facts.spki), "{key}");
        let mut flipped = der;
        *flipped.last_mut().unwrap() ^= 1;
        assert!(check_csr_pop(&flipped).is_err(), "{key}: flipped signature");
    }
}

#[test]
fn a_key_is_certified_as_what_it_is_whatever_signed_its_request() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let ca = authority(Algorithm::EcdsaP256);
    write(dir, "ca.crt", &certificate_pem(&ca.der));
    let at = issued_at().unix();
    for (key, rest) in [(P384, "-subj /CN=erin -sha256"), ("genpkey -algorithm ED25519", "-subj /CN=erin")] {
        let spki = read_csr(&request(dir, key, rest)).unwrap().spki;
        let validity = life(Span::days(1));
        let spec = LeafSpec { profile: Profile::Client, owner: "erin", organizations: &[], sans: &[], validity };
        let der = issue_leaf(&spki, &spec, &ca.der, &ca.key, &mut Rng::system()).unwrap();
        write(dir, "leaf.crt", &certificate_pem(&der));
        succeeds(dir, &format!("verify -x509_strict -attime {at} -purpose sslclient -CAfile ca.crt leaf.crt"));
        let public = succeeds(dir, "x509 -in leaf.crt -noout -pubkey");
        assert_eq!(public, succeeds(dir, "pkey -in key.pem -pubout"));
        assert_eq!(webpki(&der, &ca.der, false, issued_at()), Ok(()));
    }
}

#[test]
fn requests_that_ask_for_more_or_come_from_weak_keys_are_seen_as_such() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    for extension in ["subjectAltName=DNS:kubernetes", "basicConstraints=CA:TRUE"] {
        let der = request(dir, P256, &format!("-subj /CN=erin -addext {extension}"));
        assert!(read_csr(&der).unwrap().has_extensions_or_attributes);
    }
    for subject in ["/O=dev/CN=erin", "/CN=erin/CN=alice", "/CN=erin+O=dev", "/O=erin"] {
        let facts = read_csr(&request(dir, P256, &format!("-multivalue-rdn -subj {subject}"))).unwrap();
        assert_eq!(facts.common_name_only, None, "{subject}");
    }
    let weak = request(dir, "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024", "-subj /CN=erin");
    assert!(spki_strength(&read_csr(&weak).unwrap().spki).unwrap_err().contains("1024"));
    let curve = request(dir, "ecparam -name secp256k1 -genkey -noout", "-subj /CN=erin");
    assert!(spki_strength(&read_csr(&curve).unwrap().spki).is_err());
    assert!(check_csr_pop(&curve).is_err());
    let old_hash = request(dir, P256, "-subj /CN=erin -sha1");
    assert!(check_csr_pop(&old_hash).unwrap_err().contains("not supported"));
    let pss = request(dir, "genpkey -algorithm RSA", "-subj /CN=erin -sigopt rsa_padding_mode:pss");
    assert!(check_csr_pop(&pss).is_err());
}

#[test]
fn a_request_with_the_key_of_somebody_else_proves_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let (one, two) = (new_key(Algorithm::EcdsaP256).spki(), new_key(Algorithm::EcdsaP256));
    let honest = build_csr(&two, "erin");
    write(dir, "honest.der", &honest);
    succeeds(dir, "req -inform DER -in honest.der -verify -noout");
    let at = honest.windows(one.len()).position(|window| window == two.spki()).unwrap();
    let mut stolen = honest;
    stolen[at..at + one.len()].copy_from_slice(&one);
    assert!(read_csr(&stolen).is_ok());
    assert!(check_csr_pop(&stolen).is_err());
}

#[test]
fn the_name_of_a_foreign_authority_is_repeated_octet_for_octet() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    for (subject, options) in [
        ("/O=kubernetes", ""),
        ("/C=NL/O=Kluis/OU=a+OU=b/CN=Mixed", "-multivalue-rdn"),
        ("/emailAddress=a@example.org/DC=org/CN=x/CN=y", ""),
        ("/O=Genève/CN=Zoé", "-utf8"),
        ("/", ""),
    ] {
        succeeds(dir, &format!("{P256} -out ca.key"));
        // As kubeadm has it.
        let usage = "-addext keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign";
        succeeds(dir, &format!("req -x509 -new -key ca.key -days 30 -out ca.crt -subj {subject} {usage} {options}"));
        let der = parse_pem(&read(dir, "ca.crt"), "CERTIFICATE").unwrap();
        let key = PrivateKey::from_pem(&Secret::new(read(dir, "ca.key"))).unwrap();
        let facts = Facts::read(&der).unwrap_or_else(|error| panic!("{subject}: {error}"));
        let validity = Validity { not_before: facts.not_before, not_after: facts.not_after };
        let sans = [Host::parse("cp-1").unwrap()];
        let spec = LeafSpec { profile: Profile::EtcdServer, owner: "cp-1", organizations: &[], sans: &sans, validity };
        let leaf = issue_leaf(&key.spki(), &spec, &der, &key, &mut Rng::system()).unwrap();
        assert_eq!(Facts::read(&leaf).unwrap().issuer_dn, facts.subject_dn);
        write(dir, "leaf.crt", &certificate_pem(&leaf));
        // An empty issuer is against RFC 5280, but Talos' aggregation authority has one.
        let strict = if subject == "/" { "" } else { "-x509_strict" };
        let at = facts.not_before.unix() + 60;
        succeeds(dir, &format!("verify {strict} -attime {at} -purpose sslserver -CAfile ca.crt leaf.crt"));
    }
}
