//! The layout for people who script themselves: PEM files by profile and keyset, keys as PKCS#8, no
//! kubeconfigs. One node, or one keyset of the whole cluster.

use crate::model::{ClusterName, Keyset, Node};
use crate::pki::{self, PrivateKey};

use super::files::Files;
use super::material::{is_control_plane, runs_etcd, takes_key_of};
use super::{ExportError, Exported, Layout, Material, Needed, encryption};

/// Plain PEM files of one node.
pub const LAYOUT: Layout = Layout { name: "pem", about: "plain PEM files, keys as PKCS#8", needs, files };

/// What of a keyset leaves the repository.
pub enum KeysetParts {
    /// A CA.
    Authority {
        /// The certificates (DER) that are trusted together, the issuing one first.
        bundle: Vec<Vec<u8>>,
        /// The certificate (DER) that issues.
        issuing: Vec<u8>,
        /// Its key, where CA keys were asked for.
        key: Option<PrivateKey>,
    },
    /// A key pair without a certificate.
    KeyPair {
        /// The public keys (SPKI DER) that verify, the one that signs first.
        public: Vec<Vec<u8>>,
        /// The key that signs, where it was asked for.
        key: Option<PrivateKey>,
    },
}

fn needs(node: &Node, with_ca_keys: bool) -> Vec<Needed> {
    // Whatever CAs the distribution has: people who script themselves may run any.
    super::needs(node, with_ca_keys, Keyset::ALL.iter().copied().filter(|keyset| keyset.is_ca()))
}

/// Whether a node checks certificates of a CA: every node those of the cluster, etcd's members and clients
/// those of etcd, and the API server those of the rest.
fn trusts(node: &Node, keyset: Keyset) -> bool {
    match keyset {
        Keyset::Kubernetes | Keyset::KubernetesClient => true,
        Keyset::Etcd | Keyset::EtcdPeer => is_control_plane(node) || runs_etcd(node),
        _ => is_control_plane(node),
    }
}

fn files(material: &Material) -> Result<Exported, ExportError> {
    material.check_ca_keys()?;
    let node = &material.node;
    let mut files = Files::default();
    for keyset in material.bundles.keys().filter(|keyset| trusts(node, **keyset)) {
        files.certificates(format!("ca/{keyset}.crt"), material.bundle_pem(*keyset)?);
    }
    for profile in node.profiles() {
        files.certificates(format!("{profile}.crt"), pki::certificate_pem(material.certificate(profile)?));
        if !material.kept.contains(&profile) {
            files.secret(format!("{profile}.key"), material.key(profile)?.to_pkcs8_pem());
        }
    }
    if is_control_plane(node) {
        files.secret("sa.key", material.service_account()?.to_pkcs8_pem());
        files.public_keys("sa.pub", &material.service_account_public);
        if !material.encryption.is_empty() {
            let path = "encryption-config.yaml";
            files.secret(path, encryption::configuration(path, &material.encryption)?);
        }
    }
    for (keyset, key) in material.ca_keys.iter().filter(|(keyset, _)| takes_key_of(node, **keyset)) {
        add_authority_key(&mut files, *keyset, material.issuing(*keyset)?, key);
    }
    Ok(Exported { files: files.finish(), notes: notes(material) })
}

/// The key and, in a file of its own, the one certificate that it signs for: `ca/NAME.crt` may hold several.
fn add_authority_key(files: &mut Files, keyset: Keyset, issuing: &[u8], key: &PrivateKey) {
    files.certificates(format!("ca/{keyset}-signing.crt"), pki::certificate_pem(issuing));
    files.secret(format!("ca/{keyset}.key"), key.to_pkcs8_pem());
}

fn notes(material: &Material) -> Vec<String> {
    let mut notes = vec![format!(
        "keys are PKCS#8 and for {} alone; copy them with the modes that they have here, to be read by the one \
         account that needs them",
        material.node.name
    )];
    if !material.ca_keys.is_empty() {
        notes.push(issues(&format!("whoever reads ca/*.key on {}", material.node.name)));
    }
    notes
}

fn issues(who: &str) -> String {
    format!("{who} can issue any certificate of those CAs, on no record")
}

/// One keyset of the whole cluster: `ca/NAME.crt` with all that is trusted, and, where its key was opened,
/// `ca/NAME-signing.crt` and `ca/NAME.key`; for a key pair `NAME.pub` and `NAME.key`. Fails for a symmetric keyset,
/// which has no PEM form, for parts of the other kind, and where nothing issues.
pub fn keyset(cluster: &ClusterName, keyset: Keyset, parts: &KeysetParts) -> Result<Exported, ExportError> {
    let no_issuer = || ExportError::NoIssuer { cluster: cluster.clone(), keyset };
    let mut files = Files::default();
    let mut notes = Vec::new();
    match parts {
        _ if keyset.is_symmetric() => return Err(ExportError::Symmetric { keyset }),
        KeysetParts::Authority { bundle, issuing, key } if keyset.is_ca() => {
            if bundle.first() != Some(issuing) {
                return Err(no_issuer());
            }
            let pem = bundle.iter().flat_map(|der| pki::certificate_pem(der)).collect();
            files.certificates(format!("ca/{keyset}.crt"), pem);
            if let Some(key) = key {
                add_authority_key(&mut files, keyset, issuing, key);
                notes.push(issues(&format!("whoever reads ca/{keyset}.key")));
            }
        }
        KeysetParts::KeyPair { public, key } if !keyset.is_ca() => {
            if public.is_empty() {
                return Err(no_issuer());
            }
            files.public_keys(format!("{keyset}.pub"), public);
            if let Some(key) = key {
                if public.first() != Some(&key.spki()) {
                    return Err(ExportError::ServiceAccountOrder { cluster: cluster.clone() });
                }
                files.secret(format!("{keyset}.key"), key.to_pkcs8_pem());
                notes.push(format!("whoever reads {keyset}.key can sign tokens of any service account, on no record"));
            }
        }
        KeysetParts::Authority { .. } | KeysetParts::KeyPair { .. } => return Err(no_issuer()),
    }
    Ok(Exported { files: files.finish(), notes })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{self, has, listing, text};
    use super::*;

    fn prod() -> ClusterName {
        ClusterName::parse("prod").unwrap()
    }

    #[test]
    fn a_control_plane_node_with_etcd_gets_a_file_for_each_profile() {
        let exported = files(&fixture::material("1.36", "control-plane,etcd")).unwrap();
        insta::assert_snapshot!(listing(&exported), @r"
        0644 admin.crt
        0600 admin.key
        0644 apiserver-etcd-client.crt
        0600 apiserver-etcd-client.key
        0644 apiserver-kubelet-client.crt
        0600 apiserver-kubelet-client.key
        0644 apiserver.crt
        0600 apiserver.key
        0644 ca/etcd.crt
        0644 ca/front-proxy.crt
        0644 ca/kubernetes.crt
        0644 controller-manager.crt
        0600 controller-manager.key
        0600 encryption-config.yaml
        0644 etcd-healthcheck-client.crt
        0600 etcd-healthcheck-client.key
        0644 etcd-peer.crt
        0600 etcd-peer.key
        0644 etcd-server.crt
        0600 etcd-server.key
        0644 front-proxy-client.crt
        0600 front-proxy-client.key
        0644 kubelet-client.crt
        0600 kubelet-client.key
        0644 kubelet-serving.crt
        0600 kubelet-serving.key
        0600 sa.key
        0600 sa.pub
        0644 scheduler.crt
        0600 scheduler.key
        ");
        assert!(text(&exported, "apiserver.key").starts_with("-----BEGIN PRIVATE KEY-----\n"));
    }

    #[test]
    fn a_worker_gets_its_kubelet_alone() {
        insta::assert_snapshot!(listing(&files(&fixture::material("1.36", "worker")).unwrap()), @r"
        0644 ca/kubernetes.crt
        0644 kubelet-client.crt
        0600 kubelet-client.key
        0644 kubelet-serving.crt
        0600 kubelet-serving.key
        ");
    }

    #[test]
    fn ca_keys_come_with_their_certificate_and_never_to_a_worker() {
        let exported = files(&fixture::with_ca_keys(fixture::material("1.36", "control-plane"))).unwrap();
        assert!(has(&exported, "ca/kubernetes.key") && has(&exported, "ca/kubernetes-signing.crt"));
        assert!(!has(&exported, "ca/etcd.key"));
        let worker = fixture::with_ca_keys(fixture::material("1.36", "worker"));
        assert!(matches!(files(&worker), Err(ExportError::CaKeysOutOfPlace { .. })));
    }

    #[test]
    fn a_missing_certificate_is_named() {
        let mut material = fixture::material("1.36", "worker");
        material.certificates.clear();
        let error = files(&material).err().unwrap();
        assert_eq!(error.remedy().unwrap().to_string(), "kluis cluster apply -c prod");
    }

    #[test]
    fn a_ca_leaves_with_its_key_on_request_alone() {
        let parts =
            |key| KeysetParts::Authority { bundle: vec![b"g2".to_vec(), b"g1".to_vec()], issuing: b"g2".to_vec(), key };
        let plain = keyset(&prod(), Keyset::Kubernetes, &parts(None)).unwrap();
        assert_eq!(listing(&plain), "0644 ca/kubernetes.crt\n");
        let with_key = keyset(&prod(), Keyset::Kubernetes, &parts(Some(fixture::key()))).unwrap();
        insta::assert_snapshot!(listing(&with_key), @r"
        0644 ca/kubernetes-signing.crt
        0644 ca/kubernetes.crt
        0600 ca/kubernetes.key
        ");
    }

    #[test]
    fn a_service_account_key_leaves_with_what_verifies() {
        let key = fixture::key();
        let public = vec![key.spki(), fixture::key().spki()];
        let parts = KeysetParts::KeyPair { public: public.clone(), key: Some(key) };
        let exported = keyset(&prod(), Keyset::ServiceAccount, &parts).unwrap();
        assert_eq!(listing(&exported), "0600 service-account.key\n0600 service-account.pub\n");
        let other = KeysetParts::KeyPair { public, key: Some(fixture::key()) };
        let error = keyset(&prod(), Keyset::ServiceAccount, &other).err().unwrap();
        assert!(matches!(error, ExportError::ServiceAccountOrder { .. }));
    }

    #[test]
    fn keysets_without_an_issuer_or_a_pem_form_are_refused() {
        let empty = || KeysetParts::KeyPair { public: Vec::new(), key: None };
        let wrong = keyset(&prod(), Keyset::Encryption, &empty()).err().unwrap();
        assert!(matches!(wrong, ExportError::Symmetric { .. }));
        for keyset_name in [Keyset::ServiceAccount, Keyset::Kubernetes] {
            let error = keyset(&prod(), keyset_name, &empty()).err().unwrap();
            assert!(matches!(error, ExportError::NoIssuer { .. }));
        }
        let unordered = KeysetParts::Authority { bundle: vec![b"g1".to_vec()], issuing: b"g2".to_vec(), key: None };
        assert!(matches!(keyset(&prod(), Keyset::Etcd, &unordered), Err(ExportError::NoIssuer { .. })));
    }
}
