//! Certificate profiles: the table of FORMAT 6, as data.

use super::{Keyset, Role};

/// A certificate profile. The file name of a certificate is its profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// The API server's serving certificate.
    Apiserver,
    /// The API server as a client of kubelets.
    ApiserverKubeletClient,
    /// The API server as a client of etcd.
    ApiserverEtcdClient,
    /// The API server as a client of aggregated API servers.
    FrontProxyClient,
    /// kube-controller-manager.
    ControllerManager,
    /// kube-scheduler.
    Scheduler,
    /// kubeadm's admin.conf.
    Admin,
    /// A kubelet as a client of the API server.
    KubeletClient,
    /// A kubelet's serving certificate.
    KubeletServing,
    /// kube-proxy where it is no pod.
    KubeProxy,
    /// An etcd member towards clients.
    EtcdServer,
    /// An etcd member towards its peers.
    EtcdPeer,
    /// etcd's health check.
    EtcdHealthcheckClient,
    /// A person.
    Client,
    /// A person as `system:masters`, for an emergency.
    BreakGlass,
}

/// The subject that a profile demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// This CN.
    Fixed(&'static str),
    /// CN `system:node:NODE`.
    SystemNode,
    /// CN is the node's name.
    Node,
    /// CN is the person's name.
    Person,
}

/// The extended key usages of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUse {
    /// clientAuth alone.
    Client,
    /// serverAuth alone.
    Server,
    /// clientAuth and serverAuth.
    Both,
}

impl Profile {
    /// All of them, in the order of FORMAT 6.
    pub const ALL: &'static [Self] = &[
        Self::Apiserver,
        Self::ApiserverKubeletClient,
        Self::ApiserverEtcdClient,
        Self::FrontProxyClient,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Admin,
        Self::KubeletClient,
        Self::KubeletServing,
        Self::KubeProxy,
        Self::EtcdServer,
        Self::EtcdPeer,
        Self::EtcdHealthcheckClient,
        Self::Client,
        Self::BreakGlass,
    ];

    /// The name: the file name without `.crt`, and the key's name in a node's bundle.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apiserver => "apiserver",
            Self::ApiserverKubeletClient => "apiserver-kubelet-client",
            Self::ApiserverEtcdClient => "apiserver-etcd-client",
            Self::FrontProxyClient => "front-proxy-client",
            Self::ControllerManager => "controller-manager",
            Self::Scheduler => "scheduler",
            Self::Admin => "admin",
            Self::KubeletClient => "kubelet-client",
            Self::KubeletServing => "kubelet-serving",
            Self::KubeProxy => "kube-proxy",
            Self::EtcdServer => "etcd-server",
            Self::EtcdPeer => "etcd-peer",
            Self::EtcdHealthcheckClient => "etcd-healthcheck-client",
            Self::Client => "client",
            Self::BreakGlass => "break-glass",
        }
    }

    /// Parses the name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|one| one.as_str() == text)
    }

    /// Whether it belongs to a person and not to a node.
    pub fn is_person(self) -> bool {
        matches!(self, Self::Client | Self::BreakGlass)
    }

    /// The keyset that signs it where the cluster splits its CAs; `Self::fallback_keyset` else.
    pub fn keyset(self) -> Keyset {
        match self {
            Self::Apiserver | Self::KubeletServing => Keyset::Kubernetes,
            Self::ApiserverEtcdClient | Self::EtcdServer | Self::EtcdHealthcheckClient => Keyset::Etcd,
            Self::EtcdPeer => Keyset::EtcdPeer,
            Self::FrontProxyClient => Keyset::FrontProxy,
            _ => Keyset::KubernetesClient,
        }
    }

    /// The keyset that signs it where the cluster has no `keyset()` of its own (FORMAT 6, the asterisk).
    pub fn fallback_keyset(self) -> Keyset {
        match self.keyset() {
            Keyset::KubernetesClient => Keyset::Kubernetes,
            Keyset::EtcdPeer => Keyset::Etcd,
            keyset => keyset,
        }
    }

    /// The CN that it demands.
    pub fn subject(self) -> Subject {
        match self {
            Self::Apiserver => Subject::Fixed("kube-apiserver"),
            Self::ApiserverKubeletClient => Subject::Fixed("kube-apiserver-kubelet-client"),
            Self::ApiserverEtcdClient => Subject::Fixed("kube-apiserver-etcd-client"),
            Self::FrontProxyClient => Subject::Fixed("front-proxy-client"),
            Self::ControllerManager => Subject::Fixed("system:kube-controller-manager"),
            Self::Scheduler => Subject::Fixed("system:kube-scheduler"),
            Self::Admin => Subject::Fixed("kubernetes-admin"),
            Self::KubeletClient | Self::KubeletServing => Subject::SystemNode,
            Self::KubeProxy => Subject::Fixed("system:kube-proxy"),
            Self::EtcdServer | Self::EtcdPeer => Subject::Node,
            Self::EtcdHealthcheckClient => Subject::Fixed("kube-etcd-healthcheck-client"),
            Self::Client | Self::BreakGlass => Subject::Person,
        }
    }

    /// The CN for `owner`, the name of the node or person.
    pub fn common_name(self, owner: &str) -> String {
        match self.subject() {
            Subject::Fixed(name) => name.to_owned(),
            Subject::SystemNode => format!("system:node:{owner}"),
            Subject::Node | Subject::Person => owner.to_owned(),
        }
    }

    /// The sets of organisations that are right for it. `None` for `client`, whose groups the epoch bounds.
    /// `apiserver-kubelet-client` may have either (FORMAT 6); which one fits the version is lint's.
    pub fn organizations(self) -> Option<&'static [&'static [&'static str]]> {
        Some(match self {
            Self::ApiserverKubeletClient => &[&[], &["kubeadm:cluster-admins"]],
            Self::Admin => &[&["kubeadm:cluster-admins"]],
            Self::KubeletClient | Self::KubeletServing => &[&["system:nodes"]],
            Self::BreakGlass => &[&["system:masters"]],
            Self::Client => return None,
            _ => &[&[]],
        })
    }

    /// The extended key usages.
    pub fn key_use(self) -> KeyUse {
        match self {
            Self::Apiserver | Self::KubeletServing => KeyUse::Server,
            Self::EtcdServer | Self::EtcdPeer => KeyUse::Both,
            _ => KeyUse::Client,
        }
    }

    /// Whether a node with these roles has it. kube-proxy is for distributions that want one; kubeadm runs
    /// it as a pod with a service account.
    pub fn is_for(self, roles: &[Role]) -> bool {
        match self {
            Self::KubeletClient | Self::KubeletServing => true,
            Self::EtcdServer | Self::EtcdPeer | Self::EtcdHealthcheckClient => roles.contains(&Role::Etcd),
            Self::KubeProxy | Self::Client | Self::BreakGlass => false,
            _ => roles.contains(&Role::ControlPlane),
        }
    }
}

impl std::fmt::Display for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Profile {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| {
            let known = Self::ALL.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(", ");
            format!("{text:?} is no certificate profile; there are {known}")
        })
    }
}

impl serde::Serialize for Profile {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PersonName;

    #[test]
    fn no_person_can_be_named_like_a_component() {
        for profile in Profile::ALL {
            if let Subject::Fixed(name) = profile.subject() {
                assert!(PersonName::parse(name).is_err(), "{name}");
            }
        }
    }

    #[test]
    fn profiles_are_named_once() {
        for profile in Profile::ALL {
            assert_eq!(Profile::parse(profile.as_str()), Some(*profile));
        }
    }
}
