//! The layout for people who script themselves: PEM files by profile and keyset, keys as PKCS#8, no
//! kubeconfigs. One node, or one keyset of the whole cluster.

use crate::model::{Distribution, Keyset, Node};
use crate::pki::{self, PrivateKey};

use super::files::Files;
use super::material::{is_control_plane, runs_etcd, takes_key_of};
use super::{CaKeys, ClusterMaterial, ExportError, Exported, Layout, Material, Needed, OfCluster, OfNode, encryption};

/// Plain PEM files of one node, or of all keysets of a cluster.
pub const LAYOUT: Layout = Layout {
    name: "pem",
    about: "plain PEM files of a node or of a whole cluster, keys as PKCS#8",
    distributions: &Distribution::ALL,
    ca_keys: CaKeys::OnRequest,
    node: Some(OfNode { needs, files }),
    cluster: Some(OfCluster { needs: cluster_needs, files: cluster }),
};

/// The private keys of the whole cluster's key pairs, where they were asked for, and nothing else.
fn cluster_needs(keysets: &[Keyset], with_ca_keys: bool) -> Vec<Needed> {
    let pairs = keysets.iter().filter(|keyset| with_ca_keys && !keyset.is_symmetric());
    pairs.map(|keyset| Needed::Issuing(*keyset)).collect()
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
    for keyset in material.cluster.authorities.keys().filter(|keyset| trusts(node, **keyset)) {
        files.certificates(format!("ca/{keyset}.crt"), material.cluster.bundle_pem(*keyset)?);
    }
    for profile in node.profiles(material.cluster.config.distribution) {
        files.certificates(format!("{profile}.crt"), pki::certificate_pem(material.certificate(profile)?));
        if !material.kept.contains(&profile) {
            files.secret(format!("{profile}.key"), material.key(profile)?.to_pkcs8_pem());
        }
    }
    if is_control_plane(node) {
        files.secret("sa.key", material.cluster.service_account_key()?.to_pkcs8_pem());
        files.public_keys("sa.pub", &material.cluster.service_account_public());
        if !material.cluster.encryption.is_empty() {
            let path = "encryption-config.yaml";
            files.secret(path, encryption::configuration(path, &material.cluster.encryption)?);
        }
    }
    for (keyset, key) in material.cluster.ca_keys().filter(|(keyset, _)| takes_key_of(node, *keyset)) {
        add_authority_key(&mut files, keyset, material.cluster.issuing(keyset)?, key);
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
    if material.cluster.has_ca_keys() {
        notes.push(issues(&format!("whoever reads ca/*.key on {}", material.node.name)));
    }
    notes
}

fn issues(who: &str) -> String {
    format!("{who} can issue any certificate of those CAs, on no record")
}

/// Every keyset of the whole cluster that has a PEM form.
fn cluster(material: &ClusterMaterial) -> Result<Exported, ExportError> {
    let mut files = Files::default();
    let mut notes = Vec::new();
    for keyset in material.authorities.keys().copied().chain([Keyset::ServiceAccount]) {
        add_keyset(&mut files, &mut notes, material, keyset)?;
    }
    Ok(Exported { files: files.finish(), notes })
}

/// One keyset of the whole cluster: `ca/NAME.crt` with all that is trusted, and, where its key was opened,
/// `ca/NAME-signing.crt` and `ca/NAME.key`; for a key pair `NAME.pub` and `NAME.key`. Fails for a symmetric keyset,
/// which has no PEM form, and where nothing issues.
pub fn keyset(material: &ClusterMaterial, keyset: Keyset) -> Result<Exported, ExportError> {
    let mut files = Files::default();
    let mut notes = Vec::new();
    add_keyset(&mut files, &mut notes, material, keyset)?;
    Ok(Exported { files: files.finish(), notes })
}

fn add_keyset(
    files: &mut Files,
    notes: &mut Vec<String>,
    material: &ClusterMaterial,
    keyset: Keyset,
) -> Result<(), ExportError> {
    if keyset.is_symmetric() {
        return Err(ExportError::Symmetric { keyset });
    }
    if keyset.is_ca() {
        files.certificates(format!("ca/{keyset}.crt"), material.bundle_pem(keyset)?);
        let issuer = material.issuer(keyset)?;
        if let Some(key) = &issuer.key {
            add_authority_key(files, keyset, &issuer.certificate, key);
            notes.push(issues(&format!("whoever reads ca/{keyset}.key")));
        }
        return Ok(());
    }
    if material.service_account.is_empty() {
        return Err(ExportError::NoIssuer { cluster: material.name.clone(), keyset });
    }
    files.public_keys(format!("{keyset}.pub"), &material.service_account_public());
    if material.service_account.iter().any(|one| one.key.is_some()) {
        files.secret(format!("{keyset}.key"), material.service_account_key()?.to_pkcs8_pem());
        notes.push(format!("whoever reads {keyset}.key can sign tokens of any service account, on no record"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{self, has, listing, text};
    use super::*;

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
        let material = fixture::material("1.36", "worker");
        let plain = keyset(&material.cluster, Keyset::Kubernetes).unwrap();
        assert_eq!(listing(&plain), "0644 ca/kubernetes.crt\n");
        let material = fixture::with_ca_keys(material);
        let with_key = keyset(&material.cluster, Keyset::Kubernetes).unwrap();
        insta::assert_snapshot!(listing(&with_key), @r"
        0644 ca/kubernetes-signing.crt
        0644 ca/kubernetes.crt
        0600 ca/kubernetes.key
        ");
    }

    #[test]
    fn a_service_account_key_leaves_with_what_verifies() {
        let mut material = fixture::material("1.36", "control-plane").cluster;
        let exported = keyset(&material, Keyset::ServiceAccount).unwrap();
        assert_eq!(listing(&exported), "0600 service-account.key\n0600 service-account.pub\n");
        material.service_account.reverse();
        let error = keyset(&material, Keyset::ServiceAccount).err().unwrap();
        assert!(matches!(error, ExportError::ServiceAccountOrder { .. }));
    }

    #[test]
    fn a_whole_cluster_is_every_keyset_that_has_a_pem_form() {
        let material = fixture::material_of(Distribution::K3s, "1.36", "worker").cluster;
        insta::assert_snapshot!(listing(&cluster(&material).unwrap()), @r"
        0644 ca/etcd-peer.crt
        0644 ca/etcd.crt
        0644 ca/front-proxy.crt
        0644 ca/kubernetes-client.crt
        0644 ca/kubernetes.crt
        0600 service-account.pub
        ");
        assert!(cluster_needs(Distribution::K3s.keysets(), false).is_empty());
        assert_eq!(cluster_needs(Distribution::K3s.keysets(), true).len(), 6);
    }

    #[test]
    fn keysets_without_an_issuer_or_a_pem_form_are_refused() {
        let mut material = fixture::material("1.36", "control-plane").cluster;
        let wrong = keyset(&material, Keyset::Encryption).err().unwrap();
        assert!(matches!(wrong, ExportError::Symmetric { .. }));
        material.service_account.clear();
        material.authorities.clear();
        for keyset_name in [Keyset::ServiceAccount, Keyset::Kubernetes] {
            let error = keyset(&material, keyset_name).err().unwrap();
            assert!(matches!(error, ExportError::NoIssuer { .. }));
        }
    }
}
