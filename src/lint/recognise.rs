//! What a file is: by its path in a layout that distributions have (kubernetes-pki A.1, A.2, B.1, B.2), else by what its
//! certificate says. Looks at names alone.

use super::subject::Role;
use crate::model::{Distribution, Keyset, Profile};
use crate::pki::Seen;

/// A layout of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `/etc/kubernetes` of kubeadm.
    Kubeadm,
    /// `server/tls` of k3s and RKE2.
    K3s,
    /// `/var/lib/k0s/pki`.
    K0s,
    /// kluis's own repository, of a cluster that runs this.
    Repository(Distribution),
}

impl Layout {
    /// The distribution whose components read the files.
    pub fn distribution(self) -> Distribution {
        match self {
            Self::Kubeadm => Distribution::Kubeadm,
            Self::K3s => Distribution::K3s,
            Self::K0s => Distribution::K0s,
            Self::Repository(distribution) => distribution,
        }
    }

    /// What a folder is, by the names in it.
    pub fn of_folder(names: &[&str]) -> Option<Self> {
        let has = |name: &str| names.contains(&name);
        match () {
            () if has("client-ca.crt") || has("request-header-ca.crt") => Some(Self::K3s),
            () if has("ca.crt") && (has("k0s-api.crt") || has("ccm.crt")) => Some(Self::K0s),
            () if has("ca.crt") && (has("apiserver.crt") || has("front-proxy-ca.crt") || has("sa.pub")) => {
                Some(Self::Kubeadm)
            }
            () => None,
        }
    }
}

/// What a file is in its layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// CA certificates that are trusted.
    Bundle(Keyset),
    /// The one CA certificate that issues.
    Signing(Keyset),
    /// The key of a CA.
    AuthorityKey(Keyset),
    /// A leaf certificate, or a kubeconfig that has it.
    Leaf(Role),
    /// The private key that signs tokens.
    ServiceAccountKey,
    /// The public keys that tokens are checked with.
    ServiceAccountPublic,
    /// Anything else.
    Other,
}

impl What {
    /// The keyset of a file of CA certificates.
    pub fn authority(self) -> Option<Keyset> {
        match self {
            Self::Bundle(keyset) | Self::Signing(keyset) => Some(keyset),
            _ => None,
        }
    }

    /// The role of the first certificate of a leaf's file.
    pub fn leaf(self) -> Option<Role> {
        match self {
            Self::Leaf(role) => Some(role),
            _ => None,
        }
    }

    /// What the file at `place` of `layout` is.
    pub fn at(layout: Layout, place: &str) -> Self {
        let table = match layout {
            Layout::Kubeadm | Layout::Repository(_) => KUBEADM,
            Layout::K3s => K3S,
            Layout::K0s => K0S,
        };
        let found = table.iter().find(|(name, _)| *name == place).map(|(_, what)| *what);
        found.unwrap_or_else(|| kubelet(place))
    }
}

const fn leaf(profile: Profile) -> What {
    What::Leaf(Role::Leaf(profile))
}

const KUBEADM: &[(&str, What)] = &[
    ("ca.crt", What::Bundle(Keyset::Kubernetes)),
    ("ca.key", What::AuthorityKey(Keyset::Kubernetes)),
    ("ca-signing.crt", What::Signing(Keyset::Kubernetes)),
    ("front-proxy-ca.crt", What::Bundle(Keyset::FrontProxy)),
    ("front-proxy-ca.key", What::AuthorityKey(Keyset::FrontProxy)),
    ("etcd/ca.crt", What::Bundle(Keyset::Etcd)),
    ("etcd/ca.key", What::AuthorityKey(Keyset::Etcd)),
    ("sa.key", What::ServiceAccountKey),
    ("sa.pub", What::ServiceAccountPublic),
    ("apiserver.crt", leaf(Profile::Apiserver)),
    ("apiserver-kubelet-client.crt", leaf(Profile::ApiserverKubeletClient)),
    ("apiserver-etcd-client.crt", leaf(Profile::ApiserverEtcdClient)),
    ("front-proxy-client.crt", leaf(Profile::FrontProxyClient)),
    ("etcd/server.crt", leaf(Profile::EtcdServer)),
    ("etcd/peer.crt", leaf(Profile::EtcdPeer)),
    ("etcd/healthcheck-client.crt", leaf(Profile::EtcdHealthcheckClient)),
    ("admin.conf", leaf(Profile::Admin)),
    ("super-admin.conf", What::Leaf(Role::SuperAdmin)),
    ("kubelet.conf", leaf(Profile::KubeletClient)),
    ("controller-manager.conf", leaf(Profile::ControllerManager)),
    ("scheduler.conf", leaf(Profile::Scheduler)),
];

const K3S: &[(&str, What)] = &[
    ("client-ca.crt", What::Bundle(Keyset::KubernetesClient)),
    ("client-ca.key", What::AuthorityKey(Keyset::KubernetesClient)),
    ("client-ca.nochain.crt", What::Signing(Keyset::KubernetesClient)),
    ("server-ca.crt", What::Bundle(Keyset::Kubernetes)),
    ("server-ca.key", What::AuthorityKey(Keyset::Kubernetes)),
    ("server-ca.nochain.crt", What::Signing(Keyset::Kubernetes)),
    ("request-header-ca.crt", What::Bundle(Keyset::FrontProxy)),
    ("request-header-ca.key", What::AuthorityKey(Keyset::FrontProxy)),
    ("etcd/server-ca.crt", What::Bundle(Keyset::Etcd)),
    ("etcd/server-ca.key", What::AuthorityKey(Keyset::Etcd)),
    ("etcd/peer-ca.crt", What::Bundle(Keyset::EtcdPeer)),
    ("etcd/peer-ca.key", What::AuthorityKey(Keyset::EtcdPeer)),
    ("service.key", What::ServiceAccountKey),
    ("serving-kube-apiserver.crt", leaf(Profile::Apiserver)),
    ("client-kube-apiserver.crt", leaf(Profile::ApiserverKubeletClient)),
    ("client-auth-proxy.crt", leaf(Profile::FrontProxyClient)),
    ("client-admin.crt", leaf(Profile::Admin)),
    ("client-supervisor.crt", What::Leaf(Role::Client)),
    ("client-controller.crt", leaf(Profile::ControllerManager)),
    ("client-scheduler.crt", leaf(Profile::Scheduler)),
    ("client-kube-proxy.crt", leaf(Profile::KubeProxy)),
    ("etcd/client.crt", leaf(Profile::ApiserverEtcdClient)),
    ("etcd/server-client.crt", leaf(Profile::EtcdServer)),
    ("etcd/peer-server-client.crt", leaf(Profile::EtcdPeer)),
];

const K0S: &[(&str, What)] = &[
    ("ca.crt", What::Bundle(Keyset::Kubernetes)),
    ("ca.key", What::AuthorityKey(Keyset::Kubernetes)),
    ("front-proxy-ca.crt", What::Bundle(Keyset::FrontProxy)),
    ("front-proxy-ca.key", What::AuthorityKey(Keyset::FrontProxy)),
    ("etcd/ca.crt", What::Bundle(Keyset::Etcd)),
    ("etcd/ca.key", What::AuthorityKey(Keyset::Etcd)),
    ("sa.key", What::ServiceAccountKey),
    ("sa.pub", What::ServiceAccountPublic),
    ("server.crt", leaf(Profile::Apiserver)),
    ("k0s-api.crt", What::Leaf(Role::Server)),
    ("admin.crt", leaf(Profile::Admin)),
    ("admin.conf", leaf(Profile::Admin)),
    ("ccm.crt", leaf(Profile::ControllerManager)),
    ("scheduler.crt", leaf(Profile::Scheduler)),
    ("konnectivity.crt", What::Leaf(Role::Client)),
    ("apiserver-kubelet-client.crt", leaf(Profile::ApiserverKubeletClient)),
    ("apiserver-etcd-client.crt", leaf(Profile::ApiserverEtcdClient)),
    ("front-proxy-client.crt", leaf(Profile::FrontProxyClient)),
    ("etcd/server.crt", leaf(Profile::EtcdServer)),
    ("etcd/peer.crt", leaf(Profile::EtcdPeer)),
];

/// The kubelet's own files, whose names have dates (kubernetes-pki A.3).
fn kubelet(place: &str) -> What {
    let name = place.rsplit('/').next().unwrap_or(place);
    match name {
        "kubelet.crt" => leaf(Profile::KubeletServing),
        _ if name.starts_with("kubelet-client-") => leaf(Profile::KubeletClient),
        _ if name.starts_with("kubelet-server-") => leaf(Profile::KubeletServing),
        _ => What::Other,
    }
}

/// What a certificate is for, by what it says: the names that components have (FORMAT 6), else its usages.
pub fn role_of(seen: &Seen) -> Role {
    if seen.is_ca() {
        return Role::Authority(None);
    }
    let usages = seen.usages.unwrap_or_default();
    let name = seen.common_names.first().map(String::as_str).unwrap_or_default();
    match name {
        "kube-apiserver" if usages.server => Role::Leaf(Profile::Apiserver),
        "kube-apiserver-kubelet-client" => Role::Leaf(Profile::ApiserverKubeletClient),
        "kube-apiserver-etcd-client" => Role::Leaf(Profile::ApiserverEtcdClient),
        "kube-etcd-healthcheck-client" => Role::Leaf(Profile::EtcdHealthcheckClient),
        "front-proxy-client" => Role::Leaf(Profile::FrontProxyClient),
        "system:kube-controller-manager" => Role::Leaf(Profile::ControllerManager),
        "system:kube-scheduler" => Role::Leaf(Profile::Scheduler),
        "system:kube-proxy" => Role::Leaf(Profile::KubeProxy),
        "kubernetes-admin" => Role::Leaf(Profile::Admin),
        "kubernetes-super-admin" => Role::SuperAdmin,
        _ if name.starts_with("system:node:") && usages.server => Role::Leaf(Profile::KubeletServing),
        _ if name.starts_with("system:node:") => Role::Leaf(Profile::KubeletClient),
        _ if usages.server => Role::Server,
        _ if usages.client => Role::Client,
        _ => Role::Unknown,
    }
}
