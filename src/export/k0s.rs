//! The layout of k0s: what lies under `/var/lib/k0s` (kubernetes-pki B.2). k0s makes each leaf at its start unless one is
//! there whose CA it has no key of; our CAs are called like none of its three, so that it takes what it finds.

use crate::model::{Distribution, Keyset, Node, Profile};
use crate::pki;
use crate::secret::Secret;

use super::files::Files;
use super::kubeconfig::{ClientKey, Kubeconfig};
use super::material::{is_control_plane, runs_etcd, takes_key_of};
use super::{CaKeys, ExportError, Exported, Layout, Material, Needed, OfNode, encryption, rbac};

/// Files for `/var/lib/k0s`.
pub const LAYOUT: Layout = Layout {
    name: "k0s",
    about: "a node's /var/lib/k0s: every leaf that k0s would sign itself",
    distributions: &[Distribution::K0s],
    ca_keys: CaKeys::OnRequest,
    node: Some(OfNode { needs, files }),
    cluster: None,
};

/// The CAs and where their files lie, without the ending.
const CAS: [(Keyset, &str); 3] =
    [(Keyset::Kubernetes, "pki/ca"), (Keyset::FrontProxy, "pki/front-proxy-ca"), (Keyset::Etcd, "pki/etcd/ca")];

/// Leaves of a controller and where they lie, without the ending. k0s has two serving pairs with the same names, of which
/// `k0s-api` is for joining controllers. Its konnectivity server asks API servers whether an agent's token is good and
/// no more; k0s gives it `system:masters` for that, and here it is the user that API servers are towards kubelets.
const CONTROLLER: [(Profile, &str); 9] = [
    (Profile::Apiserver, "pki/server"),
    (Profile::Apiserver, "pki/k0s-api"),
    (Profile::Admin, "pki/admin"),
    (Profile::ControllerManager, "pki/ccm"),
    (Profile::Scheduler, "pki/scheduler"),
    (Profile::ApiserverKubeletClient, "pki/konnectivity"),
    (Profile::ApiserverKubeletClient, "pki/apiserver-kubelet-client"),
    (Profile::FrontProxyClient, "pki/front-proxy-client"),
    (Profile::ApiserverEtcdClient, "pki/apiserver-etcd-client"),
];
const ETCD: [(Profile, &str); 2] = [(Profile::EtcdServer, "pki/etcd/server"), (Profile::EtcdPeer, "pki/etcd/peer")];
const KUBELET: [(Profile, &str); 1] = [(Profile::KubeletServing, "kubelet/pki/kubelet")];

/// Where kubelet.conf looks for a key that never left its node.
const KEPT_KEY: &str = "/var/lib/k0s/kubelet/pki/kubelet-client.key";

/// Where a controller's own components reach its API server.
const LOCAL: &str = "https://localhost:6443";

/// Components run as accounts of their own, and k0s gives each its keys by their group's bits.
const GROUP_READS: u32 = 0o640;

fn needs(node: &Node, with_ca_keys: bool) -> Vec<Needed> {
    super::needs(node, with_ca_keys, CAS.iter().map(|(keyset, _)| *keyset))
}

fn files(material: &Material) -> Result<Exported, ExportError> {
    material.check_ca_keys()?;
    LAYOUT.check(&material.cluster.name, &material.cluster.config)?;
    let node = &material.node;
    let mut files = Files::default();
    for (keyset, path) in CAS {
        let wanted = match keyset {
            Keyset::Kubernetes => true,
            Keyset::Etcd => is_control_plane(node) || runs_etcd(node),
            _ => is_control_plane(node),
        };
        if wanted {
            files.certificates(format!("{path}.crt"), material.cluster.bundle_pem(keyset)?);
        }
    }
    if runs_etcd(node) {
        add_leaves(&mut files, material, &ETCD)?;
    }
    if is_control_plane(node) {
        add_controller(&mut files, material)?;
    } else {
        add_leaves(&mut files, material, &KUBELET)?;
        let endpoint = material.cluster.config.endpoint.as_str();
        let conf = kubeconfig(material, "kubelet.conf", Profile::KubeletClient, endpoint)?;
        files.secret("kubelet.conf", conf);
    }
    files.manifest("k0s.yaml", Secret::new(settings(material).into_bytes()));
    Ok(Exported { files: files.finish_with_sums(), notes: notes(material) })
}

fn add_leaves(files: &mut Files, material: &Material, leaves: &[(Profile, &str)]) -> Result<(), ExportError> {
    for (profile, path) in leaves {
        files.certificates(format!("{path}.crt"), pki::certificate_pem(material.certificate(*profile)?));
        if !material.kept.contains(profile) {
            files.secret_of(format!("{path}.key"), GROUP_READS, material.key(*profile)?.to_traditional_pem());
        }
    }
    Ok(())
}

fn add_controller(files: &mut Files, material: &Material) -> Result<(), ExportError> {
    add_leaves(files, material, &CONTROLLER)?;
    // The others k0s writes itself, from the pairs and from all of ca.crt, at each start.
    files.secret("pki/admin.conf", kubeconfig(material, "pki/admin.conf", Profile::Admin, LOCAL)?);
    files.secret_of("pki/sa.key", GROUP_READS, material.cluster.service_account_key()?.to_traditional_pem());
    let public = material.cluster.service_account_public();
    files.certificates("pki/sa.pub", public.iter().flat_map(|spki| pki::public_pem(spki)).collect());
    if !material.cluster.encryption.is_empty() {
        let path = "pki/encryption-config.yaml";
        files.secret_of(path, GROUP_READS, encryption::configuration(path, &material.cluster.encryption)?);
    }
    if material.cluster.has_ca_keys() {
        for (keyset, path) in CAS.iter().filter(|(keyset, _)| takes_key_of(&material.node, *keyset)) {
            let key = material.cluster.ca_key(*keyset)?;
            files.secret_of(format!("{path}.key"), GROUP_READS, key.to_traditional_pem());
        }
        let issuing = material.cluster.issuing(Keyset::Kubernetes)?;
        files.certificates("pki/ca-signing.crt", pki::certificate_pem(issuing));
    }
    rbac::add(files, material)?;
    rbac::add_token_reviewer(files)
}

fn kubeconfig(material: &Material, path: &str, profile: Profile, server: &str) -> Result<Secret, ExportError> {
    let client_key = match material.kept.contains(&profile) {
        true => ClientKey::File(KEPT_KEY.to_owned()),
        false => ClientKey::Embedded(material.key(profile)?.to_traditional_pem()),
    };
    Kubeconfig {
        cluster: material.cluster.name.to_string(),
        server: server.to_owned(),
        user: profile.common_name(material.node.name.as_str()),
        certificate_authorities: material.cluster.bundle_pem(Keyset::Kubernetes)?,
        client_certificate: pki::certificate_pem(material.certificate(profile)?),
        client_key,
    }
    .write(path)
}

/// What k0s would do otherwise with these files, as a part of its configuration. Without a CA key controller-manager must not
/// be told to sign; with one it takes a file of exactly one certificate, and `ca.crt` has two in a rotation (kubernetes-pki
/// CA017). Kubelets must not ask for certificates that nobody signs.
fn settings(material: &Material) -> String {
    let (certificate, key) = match material.cluster.has_ca_keys() {
        true => ("/var/lib/k0s/pki/ca-signing.crt", "/var/lib/k0s/pki/ca.key"),
        false => ("", ""),
    };
    let config = &material.cluster.config;
    let hosts = std::iter::once(&config.endpoint.host).chain(&config.extra_sans);
    let sans: String = hosts.map(|host| format!("    - \"{host}\"\n")).collect();
    let encrypts = match material.cluster.encryption.is_empty() {
        true => "",
        false => "    extraArgs:\n      encryption-provider-config: /var/lib/k0s/pki/encryption-config.yaml\n",
    };
    format!(
        "# Goes into the configuration of k0s on every controller; it holds no secret.\n\
         apiVersion: k0s.k0sproject.io/v1beta1\nkind: ClusterConfig\nspec:\n  api:\n    sans:\n{sans}{encrypts}  \
         controllerManager:\n    extraArgs:\n      cluster-signing-cert-file: \"{certificate}\"\n      \
         cluster-signing-key-file: \"{key}\"\n  workerProfiles:\n  - name: kluis\n    values:\n      \
         rotateCertificates: false\n      serverTLSBootstrap: false\n      \
         tlsCertFile: /var/lib/k0s/kubelet/pki/kubelet.crt\n      \
         tlsPrivateKeyFile: /var/lib/k0s/kubelet/pki/kubelet.key\n"
    )
}

fn notes(material: &Material) -> Vec<String> {
    let node = &material.node.name;
    let mut notes = Vec::new();
    if !is_control_plane(&material.node) {
        notes.push(format!(
            "copy pki/, kubelet/ and kubelet.conf to /var/lib/k0s on {node}, owned by root:root, before k0s worker starts there, \
             and start it with --profile=kluis: with kubelet.conf in place it asks for no join token"
        ));
        notes.push("k0s.yaml is for the controllers: it has the worker profile kluis".to_owned());
        return notes;
    }
    notes.push(format!(
        "copy pki/ to /var/lib/k0s/pki on {node} before k0s starts there, with the modes that it has here: keys 0640, \
         certificates 0644, directories 0751; owned by kube-apiserver:root, but pki/etcd/ and pki/apiserver-etcd-client.* by \
         etcd:root, scheduler.* by kube-scheduler:root, konnectivity.* by konnectivity-server:root, admin.* by root:root"
    ));
    notes.push("put what is in k0s.yaml into the configuration of k0s on every controller".to_owned());
    notes.push(
        "once API servers answer, with a break-glass certificate of your own (kluis kubeconfig --break-glass): kubectl apply -f \
         rbac/; until then k0s' own admin.conf, which is no system:masters here, can't apply what k0s brings along, and it \
         tries again; rbac/ itself is not copied to a node"
            .to_owned(),
    );
    notes.push(
        "give every controller its own export instead of a join token for controllers: a token would bring ca.key, which is \
         not there, and no front-proxy-ca"
            .to_owned(),
    );
    notes.push(if material.cluster.has_ca_keys() {
        format!(
            "{node} can now issue: k0s makes every leaf anew at each start with pki/ca.key, admin.conf as system:masters, and \
             whoever is root on {node} can do the same, on no record"
        )
    } else {
        "no CA key is here: k0s signs nothing, renews nothing (it says so at each start), and certificates have to be exported \
         anew before they end"
            .to_owned()
    });
    notes
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{self, has, listing, text};
    use super::*;

    fn material(roles: &str) -> Material {
        fixture::material_of(Distribution::K0s, "1.36", roles)
    }

    #[test]
    fn a_controller_has_every_leaf_that_k0s_would_sign() {
        let exported = files(&material("control-plane,etcd")).unwrap();
        insta::assert_snapshot!(listing(&exported), @r"
        0644 k0s.yaml
        0600 pki/admin.conf
        0644 pki/admin.crt
        0640 pki/admin.key
        0644 pki/apiserver-etcd-client.crt
        0640 pki/apiserver-etcd-client.key
        0644 pki/apiserver-kubelet-client.crt
        0640 pki/apiserver-kubelet-client.key
        0644 pki/ca.crt
        0644 pki/ccm.crt
        0640 pki/ccm.key
        0640 pki/encryption-config.yaml
        0644 pki/etcd/ca.crt
        0644 pki/etcd/peer.crt
        0640 pki/etcd/peer.key
        0644 pki/etcd/server.crt
        0640 pki/etcd/server.key
        0644 pki/front-proxy-ca.crt
        0644 pki/front-proxy-client.crt
        0640 pki/front-proxy-client.key
        0644 pki/k0s-api.crt
        0640 pki/k0s-api.key
        0644 pki/konnectivity.crt
        0640 pki/konnectivity.key
        0640 pki/sa.key
        0644 pki/sa.pub
        0644 pki/scheduler.crt
        0640 pki/scheduler.key
        0644 pki/server.crt
        0640 pki/server.key
        0644 rbac/kluis-admins.yaml
        0644 rbac/kluis-token-reviewer.yaml
        0644 rbac/kubeadm-apiserver-kubelet-client.yaml
        0644 rbac/kubeadm-cluster-admins.yaml
        0600 SHA256SUMS
        ");
        assert_eq!(text(&exported, "pki/server.crt"), text(&exported, "pki/k0s-api.crt"));
        assert!(text(&exported, "k0s.yaml").contains("cluster-signing-key-file: \"\"\n"));
    }

    #[test]
    fn a_worker_has_credentials_of_its_kubelet_and_no_key_of_anything_else() {
        let exported = files(&material("worker")).unwrap();
        insta::assert_snapshot!(listing(&exported), @r"
        0644 k0s.yaml
        0600 kubelet.conf
        0644 kubelet/pki/kubelet.crt
        0640 kubelet/pki/kubelet.key
        0644 pki/ca.crt
        0600 SHA256SUMS
        ");
    }

    #[test]
    fn ca_keys_come_with_the_one_certificate_that_they_sign_for() {
        let exported = files(&fixture::with_ca_keys(material("control-plane,etcd"))).unwrap();
        for path in ["pki/ca.key", "pki/etcd/ca.key", "pki/front-proxy-ca.key", "pki/ca-signing.crt"] {
            assert!(has(&exported, path), "{path}");
        }
        assert!(
            text(&exported, "k0s.yaml").contains("cluster-signing-cert-file: \"/var/lib/k0s/pki/ca-signing.crt\"\n")
        );
        let worker = fixture::with_ca_keys(material("worker"));
        assert!(matches!(files(&worker), Err(ExportError::CaKeysOutOfPlace { .. })));
    }

    #[test]
    fn what_k0s_is_told_is_yaml() {
        for material in [material("control-plane,etcd"), fixture::with_ca_keys(material("control-plane"))] {
            let value: serde_yaml_ng::Value = serde_yaml_ng::from_str(&settings(&material)).unwrap();
            assert_eq!(value["spec"]["api"]["sans"][0], "api.example.org");
            assert_eq!(value["spec"]["workerProfiles"][0]["values"]["serverTLSBootstrap"], false);
            assert!(value["spec"]["controllerManager"]["extraArgs"]["cluster-signing-cert-file"].is_string());
        }
    }
}
