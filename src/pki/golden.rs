//! Golden dumps: every profile, from fixed numbers, as this crate reads it back; and the refusals of
//! issuing and judging. What other programs think of the same is in `tests/pki_foreign.rs`.

use std::fmt::Write as _;

use super::*;
use crate::env::Rng;
use crate::model::{Algorithm, ClusterConfig, Code, Host, NodeName, Profile, Time};

const CLUSTER: &str = r#"
distribution = "kubeadm"
kubernetes = "1.36"
endpoint = "https://api.example.org:6443"
service_cidrs = ["10.96.0.0/12", "fd00:10:96::/112"]
extra_sans = ["api.internal", "192.0.2.7"]
[[node]]
name = "cp-1"
roles = ["control-plane", "etcd"]
addresses = ["10.0.0.11", "fd00::11", "cp-1.example.org"]
"#;

fn at(text: &str) -> Time {
    Time::parse(text).unwrap()
}

fn life() -> Validity {
    Validity { not_before: at("2026-11-20T17:55:00Z"), not_after: at("2027-11-20T18:00:00Z") }
}

fn long_life() -> Validity {
    Validity { not_before: at("2026-11-20T17:55:00Z"), not_after: at("2056-11-20T18:00:00Z") }
}

fn key(algorithm: Algorithm, seed: u8) -> PrivateKey {
    PrivateKey::generate(algorithm, &mut Rng::seeded([seed; 32]))
}

fn authority(key: &PrivateKey, common_name: &str, seed: u8) -> Vec<u8> {
    let spec = CaSpec { common_name, validity: long_life(), name_constraints: None };
    issue_ca(key, &spec, &mut Rng::seeded([seed; 32]))
}

/// A leaf as ops would issue it: SANs and O's as the cluster's description wants them.
fn leaf(profile: Profile, public: &PrivateKey, ca: &[u8], ca_key: &PrivateKey) -> Vec<u8> {
    let config = ClusterConfig::parse(CLUSTER).unwrap();
    let groups = ["b:team".to_owned(), "a-team".to_owned()];
    let organizations = if profile == Profile::Client { groups.to_vec() } else { organizations(profile, &config) };
    let sans = subject_alt_names(profile, &config.nodes[0], &config);
    let owner = if profile.is_person() { "erin" } else { "cp-1" };
    let spec = LeafSpec { profile, owner, organizations: &organizations, sans: &sans, validity: life() };
    issue_leaf(&public.spki(), &spec, ca, ca_key, &mut Rng::seeded([9; 32])).unwrap()
}

fn dump(der: &[u8]) -> String {
    let facts = Facts::read(der).unwrap();
    let mut text = format!(
        "subject {}\nissuer {}\nserial {}\nlife {} to {}\nsigned with {}\n",
        facts.subject, facts.issuer, facts.serial, facts.not_before, facts.not_after, facts.signature_algorithm.oid
    );
    for extension in &facts.extensions {
        let critical = if extension.critical { " critical" } else { "" };
        let _ = writeln!(text, "{}{critical} {}", extension.oid, name::hex(&extension.value));
    }
    for san in &facts.sans {
        let _ = writeln!(text, "  {san}");
    }
    text
}

#[test]
fn every_profile_looks_as_it_did() {
    let ca_key = key(Algorithm::EcdsaP256, 1);
    let ca = authority(&ca_key, "kubernetes-ca-g1", 2);
    let public = key(Algorithm::EcdsaP256, 3);
    let mut text = format!("== authority\n{}", dump(&ca));
    for profile in Profile::ALL {
        let der = leaf(*profile, &public, &ca, &ca_key);
        let owner = if profile.is_person() { "erin" } else { "cp-1" };
        let facts = Facts::read(&der).unwrap();
        assert_eq!(check_leaf(&facts, *profile, owner), Ok(()), "{profile}");
        assert_eq!(check_issued_by(&facts, &Facts::read(&ca).unwrap()), Ok(()), "{profile}");
        let _ = write!(text, "\n== {profile}\n{}", dump(&der));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn every_algorithm_signs_what_it_issues() {
    for algorithm in [Algorithm::Rsa2048, Algorithm::EcdsaP256, Algorithm::EcdsaP384] {
        let ca_key = key(algorithm, 1);
        let ca = Facts::read(&authority(&ca_key, "ca", 2)).unwrap();
        assert_eq!(check_issued_by(&ca, &ca), Ok(()), "{algorithm}");
        let der = leaf(Profile::Apiserver, &ca_key, &authority(&ca_key, "ca", 2), &ca_key);
        let facts = Facts::read(&der).unwrap();
        assert_eq!(check_leaf(&facts, Profile::Apiserver, "cp-1"), Ok(()));
        assert_eq!(check_issued_by(&facts, &ca), Ok(()));
        let mut forged = facts;
        *forged.tbs.last_mut().unwrap() ^= 1;
        assert!(check_issued_by(&forged, &ca).is_err());
    }
}

#[test]
fn an_authority_of_the_same_name_is_told_apart() {
    let (one, two) = (key(Algorithm::EcdsaP256, 1), key(Algorithm::EcdsaP256, 2));
    let (ca_one, ca_two) = (authority(&one, "ca", 3), authority(&two, "ca", 4));
    let facts = Facts::read(&leaf(Profile::Scheduler, &key(Algorithm::EcdsaP256, 5), &ca_one, &one)).unwrap();
    let why = check_issued_by(&facts, &Facts::read(&ca_two).unwrap()).unwrap_err();
    assert!(why.contains("another key"), "{why}");
    let mut silent = Facts::read(&ca_two).unwrap();
    silent.ski = None;
    assert_eq!(check_issued_by(&facts, &silent).unwrap_err(), "the signature is not the key's");
    let spec = LeafSpec { profile: Profile::Scheduler, owner: "cp-1", organizations: &[], sans: &[], validity: life() };
    let refused = issue_leaf(&one.spki(), &spec, &ca_one, &two, &mut Rng::system());
    assert!(matches!(refused, Err(PkiError::WrongAuthorityKey { .. })));
}

#[test]
fn a_leaf_is_never_taken_for_an_authority() {
    let ca_key = key(Algorithm::EcdsaP256, 1);
    let ca = authority(&ca_key, "ca", 2);
    let below = leaf(Profile::Scheduler, &ca_key, &ca, &ca_key);
    let spec = LeafSpec { profile: Profile::Scheduler, owner: "cp-1", organizations: &[], sans: &[], validity: life() };
    let refused = issue_leaf(&ca_key.spki(), &spec, &below, &ca_key, &mut Rng::system());
    assert!(matches!(refused, Err(PkiError::NotAnAuthority { .. })));
    let mut leaf = Facts::read(&below).unwrap();
    leaf.issuer_dn = leaf.subject_dn.clone();
    assert!(check_issued_by(&leaf, &leaf).unwrap_err().contains("no authority"));
}

#[test]
fn a_leaf_never_outlives_its_authority() {
    let ca_key = key(Algorithm::EcdsaP256, 1);
    let short = Validity { not_before: at("2026-12-01T00:00:00Z"), not_after: at("2026-12-31T00:00:00Z") };
    let ca =
        issue_ca(&ca_key, &CaSpec { common_name: "ca", validity: short, name_constraints: None }, &mut Rng::system());
    let facts = Facts::read(&leaf(Profile::Scheduler, &ca_key, &ca, &ca_key)).unwrap();
    assert_eq!((facts.not_before, facts.not_after), (short.not_before, short.not_after));
    let later = Validity { not_before: at("2027-01-01T00:00:00Z"), not_after: at("2028-01-01T00:00:00Z") };
    let spec = LeafSpec { profile: Profile::Scheduler, owner: "cp-1", organizations: &[], sans: &[], validity: later };
    let refused = issue_leaf(&ca_key.spki(), &spec, &ca, &ca_key, &mut Rng::system());
    assert!(matches!(refused, Err(PkiError::AuthorityEnded { .. })));
}

#[test]
fn sans_are_for_servers_and_weak_keys_for_nobody() {
    let ca_key = key(Algorithm::EcdsaP256, 1);
    let ca = authority(&ca_key, "ca", 2);
    let sans = [Host::Dns("a".to_owned())];
    let issue = |profile, sans: &[Host], spki: &[u8]| {
        let spec = LeafSpec { profile, owner: "erin", organizations: &[], sans, validity: life() };
        issue_leaf(spki, &spec, &ca, &ca_key, &mut Rng::system())
    };
    assert!(matches!(issue(Profile::Client, &sans, &ca_key.spki()), Err(PkiError::Profile { .. })));
    assert!(matches!(issue(Profile::KubeletServing, &[], &ca_key.spki()), Err(PkiError::Profile { .. })));
    assert!(matches!(issue(Profile::Client, &[], b"no key"), Err(PkiError::WeakKey(_))));
}

#[test]
fn another_profile_is_another_certificate() {
    let ca_key = key(Algorithm::EcdsaP256, 1);
    let ca = authority(&ca_key, "ca", 2);
    let code = |issued, judged, owner: &str| {
        let facts = Facts::read(&leaf(issued, &ca_key, &ca, &ca_key)).unwrap();
        check_leaf(&facts, judged, owner).unwrap_err().0
    };
    assert_eq!(code(Profile::Scheduler, Profile::Admin, "cp-1"), Code::BadSubject);
    assert_eq!(code(Profile::KubeletClient, Profile::KubeletClient, "cp-2"), Code::BadSubject);
    assert_eq!(code(Profile::Client, Profile::BreakGlass, "erin"), Code::BadSubject);
    assert_eq!(code(Profile::KubeletServing, Profile::KubeletClient, "cp-1"), Code::LeafFacts);
    assert_eq!(code(Profile::KubeletClient, Profile::KubeletServing, "cp-1"), Code::LeafFacts);
    assert_eq!(code(Profile::EtcdServer, Profile::Client, "cp-1"), Code::LeafFacts);
}

#[test]
fn each_fact_of_a_leaf_counts() {
    let ca_key = key(Algorithm::EcdsaP256, 1);
    let ca = authority(&ca_key, "ca", 2);
    let good = Facts::read(&leaf(Profile::Client, &ca_key, &ca, &ca_key)).unwrap();
    let judged = |change: &dyn Fn(&mut Facts)| {
        let mut facts = good.clone();
        change(&mut facts);
        check_leaf(&facts, Profile::Client, "erin").unwrap_err().0
    };
    for change in [
        &(|facts: &mut Facts| facts.is_ca = true) as &dyn Fn(&mut Facts),
        &|facts| facts.key_usage = Some(5),
        &|facts| facts.key_usage = None,
        &|facts| facts.extended_key_usages.push("2.5.29.37.0".to_owned()),
        &|facts| facts.extensions[0].critical = false,
        &|facts| facts.extensions[3].critical = true,
        &|facts| drop(facts.extensions.remove(3)),
        &|facts| facts.extensions[4].value.push(0),
        &|facts| facts.extensions[4].oid = "1.2.3".to_owned(),
        &|facts| facts.ski = None,
        &|facts| {
            facts.extensions.push(ExtensionFacts { oid: "2.5.29.17".to_owned(), critical: false, value: vec![] });
        },
    ] {
        assert_eq!(judged(change), Code::LeafFacts);
    }
    assert_eq!(judged(&|facts| facts.spki = b"no key".to_vec()), Code::WeakKey);
    for change in [
        &(|facts: &mut Facts| facts.rdns.reverse()) as &dyn Fn(&mut Facts),
        &|facts| facts.rdns[0][0].is_directory_string = false,
        &|facts| {
            let second = facts.rdns.remove(1);
            facts.rdns[0].extend(second);
        },
        &|facts| facts.organizations.reverse(),
        &|facts| facts.organizations[1] = facts.organizations[0].clone(),
        &|facts| facts.common_name = None,
    ] {
        assert_eq!(judged(change), Code::BadSubject);
    }
}

#[test]
fn name_constraints_are_written_only_when_asked_for() {
    let ca_key = key(Algorithm::EcdsaP256, 1);
    let hosts = [Host::Dns("*.example.org".to_owned()), Host::Ip([192, 0, 2, 1].into())];
    let networks = [crate::model::Cidr::parse("10.96.0.0/12").unwrap()];
    let with = |name_constraints| {
        let spec = CaSpec { common_name: "ca", validity: life(), name_constraints };
        Facts::read(&issue_ca(&ca_key, &spec, &mut Rng::system())).unwrap().extensions
    };
    let written = with(Some(NameConstraints { hosts: &hosts, networks: &networks }));
    let constraints = written.iter().find(|extension| extension.oid == "2.5.29.30").unwrap();
    assert!(constraints.critical);
    assert_eq!(
        name::hex(&constraints.value),
        "3029a027300d820b6578616d706c652e6f7267300a8708c0000201ffffffff300a87080a600000fff00000"
    );
    assert!(with(None).iter().all(|extension| extension.oid != "2.5.29.30"));
    assert!(with(Some(NameConstraints::default())).iter().all(|extension| extension.oid != "2.5.29.30"));
}

#[test]
fn no_change_of_an_octet_goes_unnoticed_and_none_panics() {
    let ca_key = key(Algorithm::EcdsaP256, 1);
    let ca = authority(&ca_key, "ca", 2);
    let ca_facts = Facts::read(&ca).unwrap();
    let der = leaf(Profile::EtcdServer, &ca_key, &ca, &ca_key);
    let csr = build_csr(&ca_key, "erin");
    let spki = ca_key.spki();
    for index in 0..der.len() {
        for flip in [0x01, 0x20, 0x80, 0xff] {
            let mut changed = der.clone();
            changed[index] ^= flip;
            if let Ok(facts) = Facts::read(&changed) {
                assert!(check_issued_by(&facts, &ca_facts).is_err(), "octet {index}");
                let _ = check_leaf(&facts, Profile::EtcdServer, "cp-1");
            }
            for (sound, is_refused) in [
                (&csr, &(|der: &[u8]| check_csr_pop(der).is_err()) as &dyn Fn(&[u8]) -> bool),
                (&spki, &|der| spki_strength(der).is_err() || der != spki),
            ] {
                let mut changed = sound.clone();
                if let Some(octet) = changed.get_mut(index) {
                    *octet ^= flip;
                    let _ = read_csr(&changed);
                    assert!(is_refused(&changed), "octet {index}");
                }
            }
        }
        assert!(Facts::read(&der[..index]).is_err());
    }
    assert!(Facts::read(&[der.as_slice(), &[0]].concat()).is_err());
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(0u8.., 0..300), at in 0usize..400) {
        let ca_key = key(Algorithm::EcdsaP256, 1);
        let mut spliced = authority(&ca_key, "ca", 2);
        let end = (at + bytes.len()).min(spliced.len());
        spliced.splice(at.min(end)..end, bytes.iter().copied());
        for input in [&bytes, &spliced, &[b"-----BEGIN ".as_slice(), &bytes].concat()] {
            let _ = (Facts::read(input), read_csr(input), check_csr_pop(input), spki_strength(input));
            let _ = (parse_pem(input, "CERTIFICATE"), service_account_public(input), holds_private_key(input));
            let secret = crate::secret::Secret::new(input.clone());
            let _ = (PrivateKey::from_pkcs8(&secret).is_ok(), PrivateKey::from_pem(&secret).is_ok());
        }
    }
}

#[test]
fn serials_have_sixteen_octets_and_no_leading_zero() {
    let mut rng = Rng::seeded([4; 32]);
    for _ in 0..2000 {
        let serial = authority::serial(&mut rng);
        assert!((1..0x80).contains(&serial[0]));
    }
}

#[test]
fn a_request_of_ours_asks_for_nothing() {
    for algorithm in [Algorithm::Rsa2048, Algorithm::EcdsaP256, Algorithm::EcdsaP384] {
        let key = key(algorithm, 1);
        let csr = build_csr(&key, "erin");
        let facts = read_csr(&csr).unwrap();
        assert_eq!(facts.common_name_only.as_deref(), Some("erin"));
        assert!(!facts.has_extensions_or_attributes);
        assert_eq!(facts.spki_id, key.spki_id());
        assert_eq!(check_csr_pop(&csr), Ok(()));
    }
}

#[test]
fn the_description_decides_names_and_groups() {
    let mut config = ClusterConfig::parse(CLUSTER).unwrap();
    let shown = |profile, config: &ClusterConfig| {
        let hosts = subject_alt_names(profile, &config.nodes[0], config);
        hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    insta::assert_snapshot!(shown(Profile::Apiserver, &config), @"api.example.org api.internal cp-1 cp-1.example.org kubernetes kubernetes.default kubernetes.default.svc kubernetes.default.svc.cluster.local localhost 10.96.0.1 fd00:10:96::1 10.0.0.11 fd00::11 192.0.2.7 127.0.0.1 ::1");
    insta::assert_snapshot!(shown(Profile::EtcdPeer, &config), @"cp-1 cp-1.example.org localhost 10.0.0.11 fd00::11 127.0.0.1 ::1");
    insta::assert_snapshot!(shown(Profile::KubeletServing, &config), @"cp-1 cp-1.example.org 10.0.0.11 fd00::11");
    assert_eq!(shown(Profile::KubeletClient, &config), "");
    config.nodes[0].name = NodeName::parse("10").unwrap();
    assert!(!shown(Profile::KubeletServing, &config).split(' ').any(|name| name == "10"));

    assert_eq!(organizations(Profile::ApiserverKubeletClient, &config), Vec::<String>::new());
    config.kubernetes.minor = 35;
    assert_eq!(organizations(Profile::ApiserverKubeletClient, &config), ["kubeadm:cluster-admins"]);
    assert_eq!(organizations(Profile::Client, &config), Vec::<String>::new());
    assert_eq!(organizations(Profile::BreakGlass, &config), ["system:masters"]);
    assert_eq!(organizations(Profile::KubeletServing, &config), ["system:nodes"]);
}
