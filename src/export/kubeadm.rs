//! The layout of kubeadm: what lies under `/etc/kubernetes`, with names, modes and kubeconfigs as kubeadm
//! makes and checks them (kubernetes-pki A and D). Complete in kubeadm's external-CA form, where no CA key
//! leaves the repository.

use std::net::{IpAddr, SocketAddr};

use crate::model::{ClusterName, Distribution, Keyset, Node, Profile, Remedy};
use crate::pki;
use crate::secret::Secret;

use super::files::Files;
use super::kubeconfig::{ClientKey, Kubeconfig};
use super::material::{is_control_plane, runs_etcd, takes_key_of};
use super::{CaKeys, ExportError, Exported, Layout, Material, Needed, OfNode, encryption, rbac};

/// Files for `/etc/kubernetes`.
pub const LAYOUT: Layout = Layout {
    name: "kubeadm",
    about: "a node's /etc/kubernetes, as kubeadm makes it",
    distributions: &[Distribution::Kubeadm],
    ca_keys: CaKeys::OnRequest,
    node: Some(OfNode { needs, files }),
    cluster: None,
};

/// Where kubelet.conf looks for a key that never left its node.
const KEPT_KEY: &str = "/var/lib/kubelet/pki/kubelet-client.key";

/// Where the API server of a control-plane node listens (DESIGN 6).
pub(super) const PORT: u16 = 6443;

/// The CAs of kubeadm and where their files lie, without the ending.
const CAS: &[(Keyset, &str)] =
    &[(Keyset::Kubernetes, "pki/ca"), (Keyset::FrontProxy, "pki/front-proxy-ca"), (Keyset::Etcd, "pki/etcd/ca")];

/// Certificates and keys and where they lie, without the ending.
const CONTROL_PLANE: &[(Profile, &str)] = &[
    (Profile::Apiserver, "pki/apiserver"),
    (Profile::ApiserverKubeletClient, "pki/apiserver-kubelet-client"),
    (Profile::FrontProxyClient, "pki/front-proxy-client"),
    (Profile::ApiserverEtcdClient, "pki/apiserver-etcd-client"),
];
const ETCD: &[(Profile, &str)] = &[
    (Profile::EtcdServer, "pki/etcd/server"),
    (Profile::EtcdPeer, "pki/etcd/peer"),
    (Profile::EtcdHealthcheckClient, "pki/etcd/healthcheck-client"),
];
const EVERY_NODE: &[(Profile, &str)] = &[(Profile::KubeletServing, "kubelet/kubelet")];

fn needs(node: &Node, with_ca_keys: bool) -> Vec<Needed> {
    super::needs(node, with_ca_keys, CAS.iter().map(|(keyset, _)| *keyset))
}

/// What a public part of a node's files has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The CA certificates that are trusted together.
    Bundle(Keyset),
    /// The node's certificate.
    Leaf(Profile),
    /// The public keys that verify service-account tokens.
    ServiceAccount,
    /// The kubeconfig with this certificate.
    Conf(Profile),
}

/// The files of a node that can be looked at without its keys, and what they have to be, by path.
pub fn public_parts(node: &Node) -> Vec<(String, Part)> {
    let mut parts = vec![
        ("pki/ca.crt".to_owned(), Part::Bundle(Keyset::Kubernetes)),
        ("kubelet/kubelet.crt".to_owned(), Part::Leaf(Profile::KubeletServing)),
        ("kubelet.conf".to_owned(), Part::Conf(Profile::KubeletClient)),
    ];
    let leaf = |(profile, path): &(Profile, &str)| (format!("{path}.crt"), Part::Leaf(*profile));
    if is_control_plane(node) {
        parts.push(("pki/front-proxy-ca.crt".to_owned(), Part::Bundle(Keyset::FrontProxy)));
        parts.push(("pki/sa.pub".to_owned(), Part::ServiceAccount));
        parts.extend(CONTROL_PLANE.iter().map(leaf));
        for (path, profile) in [
            ("admin.conf", Profile::Admin),
            ("controller-manager.conf", Profile::ControllerManager),
            ("scheduler.conf", Profile::Scheduler),
        ] {
            parts.push((path.to_owned(), Part::Conf(profile)));
        }
    }
    if is_control_plane(node) || runs_etcd(node) {
        parts.push(("pki/etcd/ca.crt".to_owned(), Part::Bundle(Keyset::Etcd)));
    }
    if runs_etcd(node) {
        parts.extend(ETCD.iter().map(leaf));
    }
    parts.sort_by(|a, b| a.0.cmp(&b.0));
    parts
}

/// What can be told of an exported file without its keys: all of it, or one field of a kubeconfig.
pub struct Public {
    /// The file.
    pub path: String,
    /// The field, whose value is base64 of `content`; the whole file is `content` if there is none.
    pub field: Option<&'static str>,
    /// The bytes.
    pub content: Vec<u8>,
}

/// What this layout writes for a node, as far as it is public. Needs no key.
pub fn public_content(material: &Material) -> Result<Vec<Public>, ExportError> {
    let mut public = Vec::new();
    for (path, part) in public_parts(&material.node) {
        let content = match part {
            Part::Bundle(keyset) => material.cluster.bundle_pem(keyset)?,
            Part::Leaf(profile) => pki::certificate_pem(material.certificate(profile)?),
            Part::ServiceAccount => {
                material.cluster.service_account_public().iter().flat_map(|spki| pki::public_pem(spki)).collect()
            }
            Part::Conf(profile) => {
                let (path, field) = (path.clone(), Some("certificate-authority-data"));
                public.push(Public { path, field, content: material.cluster.bundle_pem(Keyset::Kubernetes)? });
                pki::certificate_pem(material.certificate(profile)?)
            }
        };
        let field = matches!(part, Part::Conf(_)).then_some("client-certificate-data");
        public.push(Public { path, field, content });
    }
    Ok(public)
}

fn files(material: &Material) -> Result<Exported, ExportError> {
    material.check_ca_keys()?;
    LAYOUT.check(&material.cluster.name, &material.cluster.config)?;
    let mut files = Files::default();
    add_trust(&mut files, material)?;
    add_leaves(&mut files, material, EVERY_NODE)?;
    if runs_etcd(&material.node) {
        add_leaves(&mut files, material, ETCD)?;
    }
    if is_control_plane(&material.node) {
        add_control_plane(&mut files, material)?;
    } else {
        let server = material.cluster.config.endpoint.as_str();
        add_kubeconfig(&mut files, material, "kubelet.conf", Profile::KubeletClient, server)?;
    }
    Ok(Exported { files: files.finish_with_sums(), notes: notes(material) })
}

fn add_trust(files: &mut Files, material: &Material) -> Result<(), ExportError> {
    let node = &material.node;
    for (keyset, path) in CAS {
        let wanted = match keyset {
            Keyset::Kubernetes => true,
            Keyset::Etcd => is_control_plane(node) || runs_etcd(node),
            _ => is_control_plane(node),
        };
        if wanted {
            files.certificates(format!("{path}.crt"), material.cluster.bundle_pem(*keyset)?);
        }
    }
    Ok(())
}

fn add_leaves(files: &mut Files, material: &Material, leaves: &[(Profile, &str)]) -> Result<(), ExportError> {
    for (profile, path) in leaves {
        files.certificates(format!("{path}.crt"), pki::certificate_pem(material.certificate(*profile)?));
        if !material.kept.contains(profile) {
            files.secret(format!("{path}.key"), material.key(*profile)?.to_traditional_pem());
        }
    }
    Ok(())
}

fn add_control_plane(files: &mut Files, material: &Material) -> Result<(), ExportError> {
    let local = local_server(material)?;
    let endpoint = material.cluster.config.endpoint.as_str();
    let minor = material.cluster.config.kubernetes.minor;
    add_leaves(files, material, CONTROL_PLANE)?;
    files.secret("pki/sa.key", material.cluster.service_account_key()?.to_traditional_pem());
    files.public_keys("pki/sa.pub", &material.cluster.service_account_public());
    if !material.cluster.encryption.is_empty() {
        let path = "pki/encryption-config.yaml";
        files.secret(path, encryption::configuration(path, &material.cluster.encryption)?);
    }
    // Each component talks to the API server beside it: through the endpoint it could meet one that is older
    // than itself during an upgrade. The kubelet does so from 1.33 on (kubernetes-pki A.2).
    let kubelet = if minor >= 33 { local.as_str() } else { endpoint };
    add_kubeconfig(files, material, "admin.conf", Profile::Admin, endpoint)?;
    add_kubeconfig(files, material, "kubelet.conf", Profile::KubeletClient, kubelet)?;
    add_kubeconfig(files, material, "controller-manager.conf", Profile::ControllerManager, &local)?;
    add_kubeconfig(files, material, "scheduler.conf", Profile::Scheduler, &local)?;
    if minor >= 29 {
        add_super_admin(files, material, endpoint)?;
    }
    add_ca_keys(files, material)?;
    rbac::add(files, material)
}

/// `https://ADDRESS:6443` of the node's own API server.
fn local_server(material: &Material) -> Result<String, ExportError> {
    let address: IpAddr = material.node.advertise_address().ok_or_else(|| ExportError::NoAdvertiseAddress {
        cluster: material.cluster.name.clone(),
        node: material.node.name.clone(),
    })?;
    Ok(format!("https://{}", SocketAddr::new(address, PORT)))
}

/// Fills super-admin.conf (`system:masters` in kubeadm). No nameless one is ever made: it is the exporter's
/// own break-glass certificate, hours long and on record. Without one the file is there all the same, as
/// kubeadm wants it in every phase and looks only at its CA (kubernetes-pki D), with the lesser rights of admin.
fn add_super_admin(files: &mut Files, material: &Material, server: &str) -> Result<(), ExportError> {
    let path = "super-admin.conf";
    match &material.super_admin {
        None => add_kubeconfig(files, material, path, Profile::Admin, server),
        Some((certificate, key)) => {
            let facts = pki::Facts::read(certificate).map_err(|_| ExportError::BreakGlass)?;
            let user = facts.common_name.ok_or(ExportError::BreakGlass)?;
            let key = ClientKey::Embedded(key.to_traditional_pem());
            files.secret(path, kubeconfig(material, path, user, server, certificate, key)?);
            Ok(())
        }
    }
}

fn add_kubeconfig(
    files: &mut Files,
    material: &Material,
    path: &str,
    profile: Profile,
    server: &str,
) -> Result<(), ExportError> {
    let user = profile.common_name(material.node.name.as_str());
    let certificate = material.certificate(profile)?;
    let key = match material.kept.contains(&profile) {
        true => ClientKey::File(KEPT_KEY.to_owned()),
        false => ClientKey::Embedded(material.key(profile)?.to_traditional_pem()),
    };
    files.secret(path, kubeconfig(material, path, user, server, certificate, key)?);
    Ok(())
}

fn kubeconfig(
    material: &Material,
    path: &str,
    user: String,
    server: &str,
    certificate: &[u8],
    client_key: ClientKey,
) -> Result<Secret, ExportError> {
    Kubeconfig {
        cluster: material.cluster.name.to_string(),
        server: server.to_owned(),
        user,
        // In a rotation both: whoever had the former CA alone would be out when the first API server shows a new leaf.
        certificate_authorities: material.cluster.bundle_pem(Keyset::Kubernetes)?,
        client_certificate: pki::certificate_pem(certificate),
        client_key,
    }
    .write(path)
}

/// Adds the CA keys that were asked for, and `pki/ca-signing.crt`: controller-manager signs nothing with a
/// file of several certificates (kubernetes-pki CA017, CA019), and `pki/ca.crt` is a bundle in a rotation.
fn add_ca_keys(files: &mut Files, material: &Material) -> Result<(), ExportError> {
    if !material.cluster.has_ca_keys() {
        return Ok(());
    }
    for (keyset, path) in CAS {
        if takes_key_of(&material.node, *keyset) {
            files.secret(format!("{path}.key"), material.cluster.ca_key(*keyset)?.to_traditional_pem());
        }
    }
    files.certificates("pki/ca-signing.crt", pki::certificate_pem(material.cluster.issuing(Keyset::Kubernetes)?));
    Ok(())
}

/// The command that brings a real super-admin.conf: a break-glass certificate of one's own.
pub fn super_admin_remedy(cluster: &ClusterName) -> Remedy {
    Remedy::Kluis(format!("cert issue break-glass -c {cluster} --reason TEXT"))
}

fn notes(material: &Material) -> Vec<String> {
    let node = &material.node.name;
    let mut notes = Vec::new();
    if is_control_plane(&material.node) {
        notes.push(format!(
            "copy pki/ and the .conf files to /etc/kubernetes on {node}, all owned by root:root, with the modes that \
             they have here: keys, sa.pub and .conf files 0600, certificates 0644, directories 0700"
        ));
    } else {
        notes.push(format!(
            "copy pki/ and kubelet.conf to /etc/kubernetes on {node}, all owned by root:root, with the modes that they \
             have here: keys and kubelet.conf 0600, certificates 0644, directories 0700"
        ));
    }
    notes.push(
        "copy kubelet/kubelet.crt and kubelet/kubelet.key to /var/lib/kubelet/pki, owned by root:root, and set \
         rotateCertificates: false and serverTLSBootstrap: false in the kubelet's configuration (kubeadm sets the first to \
         true whatever its own configuration says: use its patch kubeletconfiguration.yaml)"
            .to_owned(),
    );
    if material.kept.contains(&Profile::KubeletServing) {
        notes.push("kubelet/ has no kubelet.key: that key never left the node, and stays where it is".to_owned());
    }
    if material.kept.contains(&Profile::KubeletClient) {
        notes.push(format!("kubelet.conf has no key: that key never left the node, and has to be at {KEPT_KEY}, 0600"));
    }
    if is_control_plane(&material.node) {
        control_plane_notes(material, &mut notes);
    }
    // kubernetes-pki A.2: it compares all of the CA data with the first certificate of ca.crt; from 1.31 on the first alone.
    if material.cluster.config.kubernetes.minor <= 30 && material.cluster.generations(Keyset::Kubernetes).len() > 1 {
        notes.push(
            "kubeadm up to 1.30 refuses kubeconfigs with two CAs: leave it alone until the rotation is over".to_owned(),
        );
    }
    notes
}

fn control_plane_notes(material: &Material, notes: &mut Vec<String>) {
    let minor = material.cluster.config.kubernetes.minor;
    notes.push(if material.cluster.encryption.is_empty() {
        format!(
            "no encryption key of cluster {} is kept here: unless its nodes have a configuration of their own, its secrets lie in \
             etcd in the clear",
            material.cluster.name
        )
    } else {
        "start kube-apiserver with --encryption-provider-config=/etc/kubernetes/pki/encryption-config.yaml, and with \
         the same file on every control-plane node"
            .to_owned()
    });
    notes.push(
        "once every kubelet serves the certificate exported for it, start kube-apiserver with \
         --kubelet-certificate-authority=/etc/kubernetes/pki/ca.crt as well"
            .to_owned(),
    );
    notes.push(format!(
        "kluis export kubeadm-config -c {} --node {}{} prints kubeadm's configuration with all of these flags",
        material.cluster.name,
        material.node.name,
        if material.cluster.has_ca_keys() { " --with-ca-keys" } else { "" }
    ));
    if !runs_etcd(&material.node) {
        notes.push(
            "no etcd member runs here: name pki/etcd/ca.crt and pki/apiserver-etcd-client.crt and .key under \
             etcd.external in kubeadm's configuration"
                .to_owned(),
        );
    }
    notes.push(
        "after the first start, once for the cluster: kubectl apply -f rbac/ with super-admin.conf; rbac/ itself is \
         not copied to a node"
            .to_owned(),
    );
    let super_admin = super_admin_remedy(&material.cluster.name);
    match &material.super_admin {
        Some(_) if minor >= 29 => notes.push(
            "super-admin.conf is your own break-glass certificate, good for the first kubeadm init until it ends; \
             delete it from the node afterwards"
                .to_owned(),
        ),
        None if minor >= 29 => notes.push(format!(
            "super-admin.conf has no more rights than admin.conf; kubeadm takes it everywhere but in the first kubeadm \
             init, which needs the real one: run {super_admin} and export again"
        )),
        _ => notes.push(
            "kubeadm before 1.29 expects admin.conf to be system:masters; this one works from the moment that \
             rbac/kubeadm-cluster-admins.yaml is applied with a break-glass certificate"
                .to_owned(),
        ),
    }
    notes.push(if !material.cluster.has_ca_keys() {
        "no CA key is here (kubeadm's external-CA mode): no certificate is signed in the cluster, and this node's \
         certificates have to be exported anew before they end"
            .to_owned()
    } else {
        format!(
            "{node} can now issue: controller-manager signs certificates with pki/ca.key, kubeadm renews with it, and \
             whoever is root on {node} can make themself system:masters, on no record. Start kube-controller-manager \
             with --cluster-signing-cert-file=/etc/kubernetes/pki/ca-signing.crt and \
             --cluster-signing-key-file=/etc/kubernetes/pki/ca.key",
            node = material.node.name
        )
    });
}

#[cfg(test)]
mod tests {
    use super::super::ExportFile;
    use super::super::fixture::{self, content, has, listing, text};
    use super::*;
    use crate::model::{Digest, Host, State};

    fn conf(exported: &Exported, path: &str) -> Kubeconfig {
        Kubeconfig::read(content(exported, path)).unwrap()
    }

    fn embedded(read: &Kubeconfig) -> &[u8] {
        match &read.client_key {
            ClientKey::Embedded(key) => key.expose(),
            ClientKey::File(path) => panic!("the key is in {path}"),
        }
    }

    #[test]
    fn a_key_that_never_left_the_node_is_in_no_export() {
        let mut material = fixture::material("1.36", "worker");
        material.kept = [Profile::KubeletClient, Profile::KubeletServing].into();
        material.keys.clear();
        let exported = files(&material).unwrap();
        assert!(has(&exported, "kubelet/kubelet.crt") && !has(&exported, "kubelet/kubelet.key"));
        assert!(text(&exported, "kubelet.conf").contains("client-key: /var/lib/kubelet/pki/kubelet-client.key"));
        assert!(exported.notes.iter().filter(|note| note.contains("never left the node")).count() == 2);
    }

    #[test]
    fn what_is_public_of_a_file_is_what_is_written() {
        for (version, roles) in [("1.36", "control-plane,etcd"), ("1.30", "control-plane,etcd"), ("1.36", "worker")] {
            let mut material = fixture::material(version, roles);
            let exported = files(&material).unwrap();
            // Nothing of it is a key's.
            material.keys.clear();
            material.cluster.service_account[0].key = None;
            let public = public_content(&material).unwrap();
            for Public { path, field, content } in &public {
                let read = conf_of(&exported, path, *field);
                assert_eq!(read, *content, "{path} {field:?}");
            }
            let told: Vec<&str> = public.iter().map(|one| one.path.as_str()).collect();
            let certificates = exported.files.iter().filter(|file| file.path.ends_with(".crt"));
            assert!(certificates.map(|file| file.path.as_str()).all(|path| told.contains(&path)), "{told:?}");
        }
    }

    fn conf_of(exported: &Exported, path: &str, field: Option<&str>) -> Vec<u8> {
        match field {
            None => content(exported, path).expose().to_vec(),
            Some("certificate-authority-data") => conf(exported, path).certificate_authorities,
            Some(_) => conf(exported, path).client_certificate,
        }
    }

    fn pem(label: &str) -> String {
        String::from_utf8(pki::certificate_pem(label.as_bytes())).unwrap()
    }

    fn refused(material: &Material) -> ExportError {
        files(material).err().unwrap()
    }

    #[test]
    fn a_control_plane_node_with_etcd_gets_all_that_the_external_ca_form_needs() {
        insta::assert_snapshot!(listing(&fixture::kubeadm("1.36", "control-plane,etcd")), @r"
        0600 admin.conf
        0600 controller-manager.conf
        0600 kubelet.conf
        0644 kubelet/kubelet.crt
        0600 kubelet/kubelet.key
        0644 pki/apiserver-etcd-client.crt
        0600 pki/apiserver-etcd-client.key
        0644 pki/apiserver-kubelet-client.crt
        0600 pki/apiserver-kubelet-client.key
        0644 pki/apiserver.crt
        0600 pki/apiserver.key
        0644 pki/ca.crt
        0600 pki/encryption-config.yaml
        0644 pki/etcd/ca.crt
        0644 pki/etcd/healthcheck-client.crt
        0600 pki/etcd/healthcheck-client.key
        0644 pki/etcd/peer.crt
        0600 pki/etcd/peer.key
        0644 pki/etcd/server.crt
        0600 pki/etcd/server.key
        0644 pki/front-proxy-ca.crt
        0644 pki/front-proxy-client.crt
        0600 pki/front-proxy-client.key
        0600 pki/sa.key
        0600 pki/sa.pub
        0644 rbac/kluis-admins.yaml
        0644 rbac/kubeadm-apiserver-kubelet-client.yaml
        0644 rbac/kubeadm-cluster-admins.yaml
        0600 scheduler.conf
        0600 super-admin.conf
        0600 SHA256SUMS
        ");
    }

    #[test]
    fn a_control_plane_node_without_etcd_gets_the_client_of_etcd_alone() {
        insta::assert_snapshot!(listing(&fixture::kubeadm("1.28", "control-plane")), @r"
        0600 admin.conf
        0600 controller-manager.conf
        0600 kubelet.conf
        0644 kubelet/kubelet.crt
        0600 kubelet/kubelet.key
        0644 pki/apiserver-etcd-client.crt
        0600 pki/apiserver-etcd-client.key
        0644 pki/apiserver-kubelet-client.crt
        0600 pki/apiserver-kubelet-client.key
        0644 pki/apiserver.crt
        0600 pki/apiserver.key
        0644 pki/ca.crt
        0600 pki/encryption-config.yaml
        0644 pki/etcd/ca.crt
        0644 pki/front-proxy-ca.crt
        0644 pki/front-proxy-client.crt
        0600 pki/front-proxy-client.key
        0600 pki/sa.key
        0600 pki/sa.pub
        0644 rbac/kluis-admins.yaml
        0644 rbac/kubeadm-cluster-admins.yaml
        0600 scheduler.conf
        0600 SHA256SUMS
        ");
    }

    #[test]
    fn an_etcd_node_gets_etcd_and_its_kubelet() {
        insta::assert_snapshot!(listing(&fixture::kubeadm("1.36", "etcd")), @r"
        0600 kubelet.conf
        0644 kubelet/kubelet.crt
        0600 kubelet/kubelet.key
        0644 pki/ca.crt
        0644 pki/etcd/ca.crt
        0644 pki/etcd/healthcheck-client.crt
        0600 pki/etcd/healthcheck-client.key
        0644 pki/etcd/peer.crt
        0600 pki/etcd/peer.key
        0644 pki/etcd/server.crt
        0600 pki/etcd/server.key
        0600 SHA256SUMS
        ");
    }

    #[test]
    fn a_worker_gets_its_kubelet_and_the_cluster_ca_alone() {
        insta::assert_snapshot!(listing(&fixture::kubeadm("1.36", "worker")), @r"
        0600 kubelet.conf
        0644 kubelet/kubelet.crt
        0600 kubelet/kubelet.key
        0644 pki/ca.crt
        0600 SHA256SUMS
        ");
    }

    #[test]
    fn ca_keys_come_with_the_one_certificate_that_they_sign_for() {
        let plain = fixture::kubeadm("1.36", "control-plane,etcd");
        let exported = files(&fixture::with_ca_keys(fixture::material("1.36", "control-plane,etcd"))).unwrap();
        let more = exported.files.iter().filter(|file| !has(&plain, &file.path));
        assert_eq!(
            more.map(|file| (file.path.as_str(), file.mode)).collect::<Vec<_>>(),
            [
                ("pki/ca-signing.crt", 0o644),
                ("pki/ca.key", 0o600),
                ("pki/etcd/ca.key", 0o600),
                ("pki/front-proxy-ca.key", 0o600),
            ]
        );
        assert_eq!(text(&exported, "pki/ca-signing.crt"), pem("kubernetes-g2"));
        assert!(text(&exported, "pki/ca.key").starts_with("-----BEGIN EC PRIVATE KEY-----\n"));
        assert!(exported.notes.iter().any(|note| note.starts_with("cp-1 can now issue")));
        assert!(!plain.notes.iter().any(|note| note.contains("can now issue")));
    }

    #[test]
    fn the_key_of_the_etcd_ca_stays_sealed_where_no_member_runs() {
        let exported = files(&fixture::with_ca_keys(fixture::material("1.36", "control-plane"))).unwrap();
        assert!(has(&exported, "pki/ca.key") && !has(&exported, "pki/etcd/ca.key"));
    }

    #[test]
    fn no_file_but_the_kubeconfigs_ends_in_conf_and_no_path_leaves_the_directory() {
        let exported = files(&fixture::with_ca_keys(fixture::material("1.36", "control-plane,etcd,worker"))).unwrap();
        let mut paths: Vec<&str> = exported.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths.pop(), Some("SHA256SUMS"));
        let confs: Vec<&&str> = paths.iter().filter(|path| path.ends_with(".conf")).collect();
        assert_eq!(confs.len(), 5);
        assert!(confs.iter().all(|path| !path.contains('/')));
        assert!(paths.windows(2).all(|pair| pair[0] < pair[1]), "sorted, each once");
        assert!(paths.iter().all(|path| !path.starts_with('/') && !path.contains("..")));
    }

    #[test]
    fn the_checksums_are_of_all_files_keys_included() {
        let exported = files(&fixture::with_ca_keys(fixture::material("1.36", "control-plane,etcd"))).unwrap();
        let (last, others) = exported.files.split_last().unwrap();
        assert_eq!((last.path.as_str(), last.mode), ("SHA256SUMS", 0o600));
        let line = |file: &ExportFile| format!("{}  {}\n", Digest::of(file.content.expose()), file.path);
        assert_eq!(text(&exported, "SHA256SUMS"), others.iter().map(line).collect::<String>());
        assert!(text(&exported, "SHA256SUMS").contains("  pki/ca.key\n"));
    }

    #[test]
    fn the_notes_of_a_worker_say_what_to_copy_where() {
        insta::assert_snapshot!(fixture::kubeadm("1.36", "worker").notes.join("\n"), @r"
        copy pki/ and kubelet.conf to /etc/kubernetes on cp-1, all owned by root:root, with the modes that they have here: keys and kubelet.conf 0600, certificates 0644, directories 0700
        copy kubelet/kubelet.crt and kubelet/kubelet.key to /var/lib/kubelet/pki, owned by root:root, and set rotateCertificates: false and serverTLSBootstrap: false in the kubelet's configuration (kubeadm sets the first to true whatever its own configuration says: use its patch kubeletconfiguration.yaml)
        ");
    }

    #[test]
    fn bundles_and_service_account_keys_have_the_issuing_one_first() {
        let material = fixture::material("1.36", "control-plane,etcd");
        let exported = files(&material).unwrap();
        assert_eq!(text(&exported, "pki/ca.crt"), pem("kubernetes-g2") + &pem("kubernetes-g1"));
        assert_eq!(text(&exported, "pki/etcd/ca.crt"), pem("etcd-g2") + &pem("etcd-g1"));
        let public: Vec<u8> =
            material.cluster.service_account_public().iter().flat_map(|spki| pki::public_pem(spki)).collect();
        assert_eq!(text(&exported, "pki/sa.pub").as_bytes(), public);
        assert_eq!(text(&exported, "pki/sa.pub").matches("BEGIN PUBLIC KEY").count(), 2);
    }

    #[test]
    fn kubeconfigs_name_who_they_are_and_whom_they_call() {
        let exported = fixture::kubeadm("1.36", "control-plane,etcd");
        let (endpoint, local) = ("https://api.example.org:6443", "https://10.0.0.11:6443");
        for (path, user, server, certificate) in [
            ("admin.conf", "kubernetes-admin", endpoint, "admin"),
            ("super-admin.conf", "kubernetes-admin", endpoint, "admin"),
            ("kubelet.conf", "system:node:cp-1", local, "kubelet-client"),
            ("controller-manager.conf", "system:kube-controller-manager", local, "controller-manager"),
            ("scheduler.conf", "system:kube-scheduler", local, "scheduler"),
        ] {
            let read = conf(&exported, path);
            assert_eq!((read.user.as_str(), read.server.as_str()), (user, server), "{path}");
            assert_eq!(read.context(), format!("{user}@prod"), "{path}");
            assert_eq!(read.client_certificate, pem(certificate).as_bytes(), "{path}");
            assert!(embedded(&read).starts_with(b"-----BEGIN EC PRIVATE KEY-----\n"), "{path}");
            assert_eq!(read.certificate_authorities, content(&exported, "pki/ca.crt").expose(), "{path}");
        }
    }

    #[test]
    fn the_kubelet_calls_its_own_api_server_from_1_33_on() {
        let server = |version, roles| conf(&fixture::kubeadm(version, roles), "kubelet.conf").server;
        assert_eq!(server("1.33", "control-plane,etcd"), "https://10.0.0.11:6443");
        assert_eq!(server("1.32", "control-plane,etcd"), "https://api.example.org:6443");
        assert_eq!(server("1.36", "worker"), "https://api.example.org:6443");
        assert_eq!(server("1.36", "etcd"), "https://api.example.org:6443");
    }

    #[test]
    fn in_a_rotation_kubeconfigs_have_both_cas_and_older_kubeadms_are_warned_of() {
        for (version, warned) in [("1.30", true), ("1.31", false)] {
            let exported = fixture::kubeadm(version, "control-plane,etcd");
            let authorities = String::from_utf8(conf(&exported, "admin.conf").certificate_authorities).unwrap();
            assert_eq!(authorities, pem("kubernetes-g2") + &pem("kubernetes-g1"));
            assert_eq!(exported.notes.iter().any(|note| note.contains("refuses kubeconfigs with two CAs")), warned);
        }
    }

    #[test]
    fn super_admin_conf_exists_from_1_29_on() {
        assert!(has(&fixture::kubeadm("1.29", "control-plane"), "super-admin.conf"));
        assert!(!has(&fixture::kubeadm("1.28", "control-plane"), "super-admin.conf"));
    }

    #[test]
    fn super_admin_conf_is_the_exporters_own_break_glass_certificate() {
        let mut material = fixture::material("1.36", "control-plane,etcd");
        let command = "kluis cert issue break-glass -c prod --reason TEXT";
        let (certificate, key) = fixture::break_glass();
        let key_pem = key.to_traditional_pem();
        assert!(files(&material).unwrap().notes.iter().any(|note| note.contains(command)));
        material.super_admin = Some((certificate.clone(), key));
        let exported = files(&material).unwrap();
        let read = conf(&exported, "super-admin.conf");
        assert_eq!(read.context(), "alice@prod");
        assert_eq!(read.client_certificate, pki::certificate_pem(&certificate));
        assert_eq!(embedded(&read), key_pem.expose());
        assert_eq!(conf(&exported, "admin.conf").user, "kubernetes-admin");
        assert!(!exported.notes.iter().any(|note| note.contains(command)));
    }

    #[test]
    fn a_break_glass_certificate_that_cannot_be_read_is_refused() {
        let mut material = fixture::material("1.36", "control-plane");
        material.super_admin = Some((b"junk".to_vec(), fixture::key()));
        assert!(matches!(refused(&material), ExportError::BreakGlass));
    }

    #[test]
    fn an_ipv6_address_is_bracketed() {
        let mut material = fixture::material("1.36", "control-plane");
        material.node.addresses = ["::1", "fd00::11"].map(|text| Host::parse(text).unwrap()).to_vec();
        assert_eq!(conf(&files(&material).unwrap(), "scheduler.conf").server, "https://[fd00::11]:6443");
    }

    #[test]
    fn a_control_plane_node_that_nobody_could_call_is_refused() {
        let mut material = fixture::material("1.36", "control-plane");
        material.node.addresses = ["127.0.0.1", "cp-1.example.org"].map(|text| Host::parse(text).unwrap()).to_vec();
        let error = refused(&material);
        assert!(matches!(error, ExportError::NoAdvertiseAddress { .. }));
        assert!(error.to_string().starts_with("node cp-1 "), "{error}");
        assert!(error.to_string().contains("`addresses` in clusters/prod/cluster.toml"), "{error}");
        assert_eq!(error.remedy().unwrap().to_string(), "kluis cluster apply -c prod");
        let mut worker = fixture::material("1.36", "worker");
        worker.node.addresses.clear();
        assert!(files(&worker).is_ok());
    }

    #[test]
    fn a_certificate_that_was_never_issued_is_named_with_the_command_that_issues_it() {
        for profile in fixture::material("1.36", "control-plane,etcd").node.profiles(Distribution::Kubeadm) {
            let mut material = fixture::material("1.36", "control-plane,etcd");
            material.certificates.remove(&profile);
            let error = refused(&material);
            assert_eq!(error.to_string(), format!("node cp-1 has no certificate {profile} yet"));
            assert_eq!(error.remedy().unwrap().to_string(), "kluis cluster apply -c prod");
            let mut material = fixture::material("1.36", "control-plane,etcd");
            material.keys.remove(&profile);
            assert!(matches!(refused(&material), ExportError::MissingKey { profile: p, .. } if p == profile));
        }
    }

    #[test]
    fn an_issuer_that_is_not_trusted_is_refused() {
        let mut material = fixture::material("1.36", "worker");
        let generations = material.cluster.authorities.get_mut(&Keyset::Kubernetes).unwrap();
        generations.retain(|one| one.state != State::Issuing);
        assert!(matches!(refused(&material), ExportError::NoIssuer { keyset: Keyset::Kubernetes, .. }));
        material.cluster.authorities.clear();
        assert!(matches!(refused(&material), ExportError::NoIssuer { keyset: Keyset::Kubernetes, .. }));
    }

    #[test]
    fn a_service_account_key_that_is_missing_or_not_first_is_refused() {
        let mut material = fixture::material("1.36", "control-plane");
        material.cluster.service_account.reverse();
        assert!(matches!(refused(&material), ExportError::ServiceAccountOrder { .. }));
        material.cluster.service_account.iter_mut().for_each(|one| one.key = None);
        let error = refused(&material);
        assert!(matches!(error, ExportError::MissingKeysetKey { keyset: Keyset::ServiceAccount, .. }));
    }

    #[test]
    fn ca_keys_are_refused_on_a_worker_and_when_one_is_missing() {
        let worker = fixture::with_ca_keys(fixture::material("1.36", "worker"));
        assert!(matches!(refused(&worker), ExportError::CaKeysOutOfPlace { .. }));
        let mut some = fixture::with_ca_keys(fixture::material("1.36", "control-plane"));
        some.cluster.authorities.get_mut(&Keyset::FrontProxy).unwrap().iter_mut().for_each(|one| one.key = None);
        assert!(matches!(refused(&some), ExportError::MissingKeysetKey { keyset: Keyset::FrontProxy, .. }));
    }

    #[test]
    fn a_cluster_of_another_distribution_is_refused() {
        let mut material = fixture::material("1.36", "worker");
        material.cluster.config.distribution = Distribution::K3s;
        let error = refused(&material);
        assert_eq!(error.to_string(), "cluster prod runs on k3s, which does not read the files of kubeadm");
        let remedy = error.remedy().unwrap().to_string();
        assert!(remedy.ends_with(" -c prod --all-nodes --out DIR"), "{remedy}");
    }

    #[test]
    fn without_encryption_keys_a_note_says_so() {
        let mut material = fixture::material("1.36", "control-plane");
        material.cluster.encryption.clear();
        let exported = files(&material).unwrap();
        assert!(!has(&exported, "pki/encryption-config.yaml"));
        assert!(exported.notes.iter().any(|note| note.ends_with("lie in etcd in the clear")));
    }
}
