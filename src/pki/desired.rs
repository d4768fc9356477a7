//! What certificates of a cluster should say, from its description: SANs and organisations
//! (kubernetes-pki A.1 to A.3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::{ClusterConfig, Host, KeyUse, Node, Profile};

/// The first minor version of Kubernetes whose `apiserver-kubelet-client` has no group; an RBAC binding
/// replaces it (kubernetes-pki A.1).
const WITHOUT_KUBELET_CLIENT_GROUP: u16 = 36;

/// The SANs that `node`'s certificate of `profile` should have: DNS names sorted, then addresses. Empty
/// for clients' profiles.
///
/// More than kubeadm writes for the API server (DESIGN 5): `localhost`, both loopback addresses and the
/// service address of every family, and all addresses of the node, so that each of its networks works.
pub fn subject_alt_names(profile: Profile, node: &Node, config: &ClusterConfig) -> Vec<Host> {
    let loopback = [
        Host::Dns("localhost".to_owned()),
        Host::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        Host::Ip(IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ];
    // A node may be named like no DNS name: a label over 63 characters, digits alone. Then it has no SAN.
    let mut hosts: Vec<Host> = Host::parse(node.name.as_str()).into_iter().collect();
    match (profile, profile.key_use()) {
        (_, KeyUse::Client) => return Vec::new(),
        (Profile::Apiserver, _) => {
            let service = format!("kubernetes.default.svc.{}", config.dns_domain);
            let names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", &service];
            hosts.extend(names.map(|name| Host::Dns(name.to_owned())));
            hosts.extend(config.service_cidrs.iter().map(|cidr| Host::Ip(cidr.first())));
            hosts.extend(node.addresses.iter().cloned());
            hosts.push(config.endpoint.host.clone());
            hosts.extend(config.extra_sans.iter().cloned());
            hosts.extend(loopback);
        }
        (Profile::EtcdServer | Profile::EtcdPeer, _) => {
            hosts.extend(node.addresses.iter().cloned());
            hosts.extend(loopback);
        }
        _ => hosts.extend(node.addresses.iter().cloned()),
    }
    let (mut ordered, addresses): (Vec<_>, Vec<_>) = hosts.into_iter().partition(|host| matches!(host, Host::Dns(_)));
    ordered.sort();
    ordered.dedup();
    for address in addresses {
        if !ordered.contains(&address) {
            ordered.push(address);
        }
    }
    ordered
}

/// The organisations that a component's certificate of `profile` gets in this cluster. Empty for `client`,
/// whose groups are asked for.
pub fn organizations(profile: Profile, config: &ClusterConfig) -> Vec<String> {
    let sets = profile.organizations().unwrap_or(&[]);
    let chosen = match profile {
        // Either is right; the last set is the one with the group.
        Profile::ApiserverKubeletClient if config.kubernetes.minor < WITHOUT_KUBELET_CLIENT_GROUP => sets.last(),
        _ => sets.first(),
    };
    chosen.map(|set| set.iter().map(|name| (*name).to_owned()).collect()).unwrap_or_default()
}
