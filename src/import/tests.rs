//! Every source, from material that is made here.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use super::{File, Files, Found, ImportError, Outcome, Source, read};
use crate::env::Rng;
use crate::model::{Algorithm, Distribution, Keyset, Span, Time};
use crate::pki::{self, CaSpec, PrivateKey, Validity};
use crate::secret::Secret;

fn now() -> Time {
    Time::parse("2026-11-24T12:00:00Z").unwrap()
}

fn text(secret: &Secret) -> String {
    String::from_utf8(secret.expose().to_vec()).unwrap()
}

/// A certificate and its key, as PEM.
fn authority(seed: u8, name: &str) -> (String, String) {
    let key = PrivateKey::generate(Algorithm::EcdsaP256, &mut Rng::seeded([seed; 32]));
    let validity = Validity { not_before: now(), not_after: now().plus(Span::days(3650)) };
    let spec = CaSpec { common_name: name, validity, name_constraints: None };
    let der = pki::issue_ca(&key, &spec, &mut Rng::seeded([seed + 100; 32]));
    (String::from_utf8(pki::certificate_pem(&der)).unwrap(), text(&key.to_traditional_pem()))
}

fn signer() -> PrivateKey {
    PrivateKey::generate(Algorithm::EcdsaP256, &mut Rng::seeded([99; 32]))
}

/// Talos' own authority, on Ed25519.
fn talos_authority() -> (String, String) {
    let seed = [&[0x30, 46, 2, 1, 0, 0x30, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32][..], &[7; 32]].concat();
    let key = PrivateKey::from_pkcs8(&Secret::new(seed)).unwrap_or_else(|error| panic!("{error}"));
    let validity = Validity { not_before: now(), not_after: now().plus(Span::days(3650)) };
    let spec = CaSpec { common_name: "talos", validity, name_constraints: None };
    let der = pki::issue_ca(&key, &spec, &mut Rng::seeded([1; 32]));
    let pem = text(&key.to_traditional_pem());
    assert!(pem.starts_with("-----BEGIN ED25519 PRIVATE KEY-----"));
    (String::from_utf8(pki::certificate_pem(&der)).unwrap(), pem)
}

fn b64(text: &str) -> String {
    STANDARD.encode(text)
}

fn files(all: &[(&str, &str)]) -> Files {
    let file =
        |(path, text): &(&str, &str)| File { path: (*path).to_owned(), bytes: Secret::new(text.as_bytes().to_vec()) };
    Files { files: all.iter().map(file).collect(), others: Vec::new() }
}

fn found(all: &[(&str, &str)], distribution: Distribution) -> Found {
    read(files(all), distribution, now()).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(all: &[(&str, &str)], distribution: Distribution) -> String {
    read(files(all), distribution, now()).err().map(|error| error.to_string()).unwrap_or_default()
}

fn secrets_yaml() -> String {
    let (etcd, k8s, aggregator, os) =
        (authority(1, "etcd"), authority(2, "kubernetes"), authority(3, "front-proxy"), talos_authority());
    let pair = |(crt, key): (String, String)| format!("{{crt: {}, key: {}}}", b64(&crt), b64(&key));
    format!(
        "cluster:\n    id: {}\n    secret: {}\nsecrets:\n    bootstraptoken: abcdef.0123456789abcdef\n    \
         secretboxencryptionsecret: {}\ntrustdinfo:\n    token: ghijkl.0123456789abcdef\ncerts:\n    etcd: {}\n    \
         k8s: {}\n    k8saggregator: {}\n    k8sserviceaccount: {{key: {}}}\n    os: {}\n",
        URL_SAFE.encode([0xff; 32]),
        STANDARD.encode([0xfe; 32]),
        STANDARD.encode([5; 32]),
        pair(etcd),
        pair(k8s),
        pair(aggregator),
        b64(&text(&signer().to_traditional_pem())),
        pair(os),
    )
}

#[test]
fn talos_secrets_come_in_whole_in_both_cases() {
    let camel = secrets_yaml()
        .replace("cluster:", "Cluster:")
        .replace("bootstraptoken", "BootstrapToken")
        .replace("trustdinfo", "TrustdInfo")
        .replace("k8saggregator", "K8sAggregator");
    for yaml in [secrets_yaml(), camel] {
        let found = found(&[("stdin", &yaml)], Distribution::Talos);
        assert_eq!(found.source, Source::TalosSecrets);
        let keysets: Vec<Keyset> = found.authorities.keys().copied().collect();
        assert_eq!(keysets, [Keyset::Kubernetes, Keyset::Etcd, Keyset::FrontProxy, Keyset::Talos]);
        assert!(found.authorities.values().all(|authority| authority.key.is_some()));
        assert_eq!(found.service_account.unwrap().public, signer().spki());
        assert_eq!(found.encryption.unwrap().expose(), [5; 32]);
        let tokens: Vec<&str> = found.tokens.keys().map(String::as_str).collect();
        assert_eq!(tokens, ["bootstrap", "cluster-id", "cluster-secret", "trustd"]);
        assert_eq!(found.tokens["cluster-id"].expose(), [0xff; 32]);
        assert!(found.items.iter().all(|item| item.outcome == Outcome::Taken));
    }
    let both = secrets_yaml().replace("    secretbox", "    aescbcencryptionsecret: AAAA\n    secretbox");
    assert!(refused(&[("s.yaml", &both)], Distribution::Talos).contains("one for aescbc"));
    assert!(
        refused(&[("s.yaml", &secrets_yaml().replace("LS0t", "LS0"))], Distribution::Talos).contains("s.yaml#certs")
    );
}

#[test]
fn a_machine_configuration_says_more_and_a_worker_has_no_keys() {
    let pair = |(crt, key): (String, String)| format!("{{crt: {}, key: {}}}", b64(&crt), b64(&key));
    let config = format!(
        "version: v1alpha1\nmachine:\n  type: controlplane\n  token: ghijkl.0123456789abcdef\n  ca: {}\n  kubelet: {{image: 'ghcr.io/siderolabs/kubelet:v1.36.2'}}\n\
         cluster:\n  id: aWQ=\n  controlPlane: {{endpoint: 'https://10.0.0.5:6443'}}\n  network: {{dnsDomain: c.example, serviceSubnets: [10.7.0.0/16]}}\n  \
         ca: {}\n  aggregatorCA: {}\n  etcd: {{ca: {}}}\n  serviceAccount: {{key: {}}}\n---\nkind: HostnameConfig\n",
        pair(talos_authority()),
        pair(authority(2, "kubernetes")),
        pair(authority(3, "front-proxy")),
        pair(authority(1, "etcd")),
        b64(&text(&signer().to_pkcs8_pem())),
    );
    let found = found(&[("controlplane.yaml", &config)], Distribution::Talos);
    assert_eq!((found.source, found.authorities.len()), (Source::TalosConfig, 4));
    let known = &found.surroundings;
    assert_eq!(known.endpoint.as_deref(), Some("https://10.0.0.5:6443"));
    assert_eq!(known.kubernetes.unwrap().to_string(), "1.36.2");
    assert_eq!(known.dns_domain.as_ref().unwrap().to_string(), "c.example");
    assert_eq!(known.service_cidrs[0].to_string(), "10.7.0.0/16");
    let worker = config.replace("controlplane", "worker");
    assert!(refused(&[("w.yaml", &worker)], Distribution::Talos).contains("worker"));
    let accepted = config.replace("  type:", "  acceptedCAs: [{crt: AA==}]\n  type:");
    assert!(refused(&[("c.yaml", &accepted)], Distribution::Talos).contains("trusted at the same time"));
}

fn keyset(name: &str, keys: &[(&str, &(String, String), &str)]) -> String {
    let mut yaml = format!(
        "apiVersion: kops.k8s.io/v1alpha2\nkind: Keyset\nmetadata: {{name: {name}}}\nspec:\n  type: Keypair\n  primaryId: \"{}\"\n  keys:\n",
        keys[0].0
    );
    for (id, (crt, key), more) in keys {
        yaml +=
            &format!("  - id: \"{id}\"\n    publicMaterial: {}\n    privateMaterial: {}\n{more}", b64(crt), b64(key));
    }
    yaml
}

#[test]
fn a_kops_store_gives_its_primaries_and_keeps_what_it_distrusted() {
    let (new, old) = (authority(1, "kubernetes-ca"), authority(2, "kubernetes-ca"));
    let distrusted = "    distrustTimestamp: 2026-01-01T00:00:00Z\n";
    let ca = keyset("kubernetes-ca", &[("20", &new, ""), ("10", &old, distrusted)]);
    let signer = keyset("service-account", &[("5", &authority(4, "service-account"), "")]);
    let other = keyset("etcd-peers-ca-events", &[("5", &authority(5, "x"), "")]);
    let store = [
        ("pki/private/kubernetes-ca/keyset.yaml", ca.as_str()),
        ("pki/private/service-account/keyset.yaml", &signer),
        ("pki/private/etcd-peers-ca-events/keyset.yaml", &other),
        ("config", "kind: Cluster"),
    ];
    let found = found(&store, Distribution::Kubeadm);
    assert_eq!((found.source, found.authorities.len()), (Source::Kops, 1));
    assert!(found.authorities[&Keyset::Kubernetes].key.is_some() && found.service_account.unwrap().key.is_some());
    let left = found.items.iter().filter(|item| item.outcome == Outcome::Left).count();
    assert_eq!(left, 3, "{:?}", found.items);
    let trusted = keyset("kubernetes-ca", &[("20", &new, ""), ("10", &old, "")]);
    assert!(refused(&[("keyset.yaml", &trusted)], Distribution::Kubeadm).contains("trusted at the same time"));
}

#[test]
fn secrets_of_cluster_api_come_as_kubectl_prints_them() {
    let secret = |name: &str, (crt, key): (String, String)| {
        format!(
            "{{apiVersion: v1, kind: Secret, metadata: {{name: c-{name}}}, data: {{tls.crt: {}, tls.key: {}}}}}",
            b64(&crt),
            b64(&key)
        )
    };
    let public = String::from_utf8(pki::public_pem(&signer().spki())).unwrap();
    let all = [
        secret("ca", authority(1, "kubernetes")),
        secret("etcd", authority(2, "kubernetes")),
        secret("proxy", authority(3, "kubernetes")),
        secret("sa", (public, text(&signer().to_traditional_pem()))),
        secret("kubeconfig", (String::new(), String::new())),
    ];
    let list = format!("apiVersion: v1\nkind: List\nitems:\n- {}\n", all.join("\n- "));
    for stream in [list, all.join("\n---\n")] {
        let found = found(&[("stdin", &stream)], Distribution::Kubeadm);
        assert_eq!((found.source, found.authorities.len()), (Source::ClusterApi, 3));
        assert!(found.service_account.unwrap().key.is_some());
    }
    let two = format!("{}\n---\n{}", all[0], all[1].replace("c-", "d-"));
    assert!(refused(&[("stdin", &two)], Distribution::Kubeadm).contains("several clusters"));
}

#[test]
fn blocks_one_after_the_other_are_told_apart() {
    let (ca, etcd) = (authority(1, "kubernetes"), authority(2, "etcd-ca"));
    let all = [ca.0.clone(), ca.1.clone(), etcd.1, etcd.0, text(&signer().to_pkcs8_pem())].concat();
    let found = found(&[("stdin", &all.replace('\n', "\r\n"))], Distribution::Kubeadm);
    assert_eq!((found.source, found.authorities.len()), (Source::Pem, 2));
    assert_eq!(found.service_account.unwrap().public, signer().spki());
    let stray = [ca.0.clone(), text(&signer().to_pkcs8_pem())].concat();
    assert!(refused(&[("stdin", &stray)], Distribution::Kubeadm).contains("fits none"));
    let unknown = authority(3, "who knows");
    assert!(
        refused(&[("stdin", &[unknown.0, unknown.1].concat())], Distribution::Kubeadm)
            .contains("no keyset that can be told")
    );
}

#[test]
fn what_another_program_packed_is_refused_with_the_command_that_unpacks_it() {
    for (text, command) in [
        ("-----BEGIN PGP MESSAGE-----\n", "gpg -d secrets.enc"),
        ("age-encryption.org/v1\n", "age -d"),
        ("a: ENC[AES256_GCM,data:x]\nsops: {}\n", "sops -d secrets.enc"),
    ] {
        assert!(refused(&[("secrets.enc", text)], Distribution::Talos).contains(command), "{command}");
    }
    assert!(matches!(read(files(&[("a", "hello")]), Distribution::Kubeadm, now()), Err(ImportError::Nothing(_))));
}

#[test]
fn a_tar_stream_is_read_in_memory() {
    let (ca, sa) = (authority(1, "kubernetes"), text(&signer().to_pkcs8_pem()));
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in [("./pki/ca.crt", &ca.0), ("./pki/ca.key", &ca.1), ("./pki/sa.key", &sa)] {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    let bytes = builder.into_inner().unwrap();
    let one = |bytes: Vec<u8>| Files {
        files: vec![File { path: "stdin".to_owned(), bytes: Secret::new(bytes) }],
        others: Vec::new(),
    };
    let found = read(one(bytes.clone()), Distribution::Kubeadm, now()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((found.source, found.authorities.len()), (Source::Kubeadm, 1));
    assert!(read(one(bytes[..700].to_vec()), Distribution::Kubeadm, now()).is_err(), "cut off");
}

#[test]
fn encryption_under_foreign_names_stays_where_it_is() {
    let (ca, sa) = (authority(1, "kubernetes"), text(&signer().to_pkcs8_pem()));
    let config = |name: &str, kind: &str| {
        format!(
            "kind: EncryptionConfiguration\nresources:\n- resources: [secrets, configmaps]\n  providers:\n  - {kind}: \
             {{keys: [{{name: {name}, secret: {}}}]}}\n  - identity: {{}}\n",
            STANDARD.encode([9; 32])
        )
    };
    let with = |config: &str| {
        let all = [("ca.crt", ca.0.as_str()), ("ca.key", &ca.1), ("sa.key", &sa), ("encryption-config.yaml", config)];
        found(&all, Distribution::Kubeadm)
    };
    assert_eq!(with(&config("kluis-g1", "secretbox")).encryption.unwrap().expose(), [9; 32]);
    for foreign in [config("key1", "secretbox"), config("kluis-g1", "aescbc")] {
        let found = with(&foreign);
        assert!(found.encryption.is_none());
        assert!(found.items.iter().any(|item| item.outcome == Outcome::Left && item.what.contains("keep this file")));
    }
}
