//! What lies beside the keys: kubeconfigs, the manifest of the API server, join tokens.

use std::net::IpAddr;

use super::part::{Parts, Use};
use super::{File, ImportError};
use crate::export::outline;
use crate::lint::{Layout, Role, What};
use crate::model::{Cidr, Endpoint, Host, KubernetesVersion, Profile};
use crate::secret::Secret;

/// Learns the endpoint from a kubeconfig, and takes the certificate that is embedded in it.
pub(super) fn kubeconfig(parts: &mut Parts, file: File, place: &str) -> Result<(), ImportError> {
    let name = file.path.as_str();
    let accesses = outline::accesses(&file.bytes).map_err(|error| ImportError::item(name, error.to_string()))?;
    let [access] = <[outline::Access; 1]>::try_from(accesses)
        .map_err(|_| ImportError::item(name, "it has not exactly one cluster and one user"))?;
    let is_better = place == "admin.conf" || parts.surroundings.endpoint.is_none() && place == "kubelet.conf";
    let reachable = Endpoint::parse(&access.server).is_ok_and(|endpoint| !is_loopback(&endpoint.host));
    if is_better && reachable {
        parts.derived(name, format!("endpoint {}", access.server));
        parts.surroundings.endpoint = Some(access.server.clone());
    }
    let profile = match What::at(Layout::Kubeadm, place) {
        What::Leaf(Role::Leaf(profile)) if parts.source == super::Source::Kubeadm => profile,
        _ => {
            parts.left(name, format!("{} makes it itself", parts.source.tool()));
            return Ok(());
        }
    };
    match access.key {
        Some(key) if !access.certificate.is_empty() => {
            parts.add(name, Use::Leaf(profile), Secret::new(access.certificate));
            parts.add(name, Use::LeafKey(profile), key);
        }
        _ => parts.left(name, "its certificate and key are named as files, which lie elsewhere"),
    }
    Ok(())
}

fn is_loopback(host: &Host) -> bool {
    match host {
        Host::Ip(ip) => ip.is_loopback(),
        Host::Dns(name) => name == "localhost",
    }
}

/// Learns from the static pod of the API server: version, service ranges.
pub(super) fn manifest(parts: &mut Parts, file: File) {
    let text = String::from_utf8_lossy(file.bytes.expose()).into_owned();
    let mut learned = Vec::new();
    for line in text.lines() {
        let line = line.trim().trim_start_matches("- ");
        if let Some(ranges) = line.strip_prefix("--service-cluster-ip-range=") {
            let ranges: Vec<Cidr> = ranges.split(',').filter_map(|range| Cidr::parse(range).ok()).collect();
            learned.push(format!("service addresses {}", shown(&ranges)));
            parts.surroundings.service_cidrs = ranges;
        } else if let Some(version) = line.strip_prefix("image:").and_then(version_of_image) {
            learned.push(format!("Kubernetes {version}"));
            parts.surroundings.kubernetes = Some(version);
        }
    }
    match learned.is_empty() {
        true => parts.left(file.path, "a manifest that says nothing of version and service addresses"),
        false => parts.derived(file.path, learned.join(", ")),
    }
}

pub(super) fn shown(ranges: &[Cidr]) -> String {
    ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The version in the tag of an image: `registry.k8s.io/kube-apiserver:v1.36.3@sha256:…`.
pub(super) fn version_of_image(image: &str) -> Option<KubernetesVersion> {
    let tag = image.trim().trim_matches('"').split('@').next()?.rsplit_once(":v")?.1;
    let numbers = tag.split(['-', '+']).next()?;
    KubernetesVersion::parse(numbers)
}

/// What a certificate of an API server says of its cluster.
pub(super) fn served(parts_node: &mut super::Surroundings, hosts: &[Host]) {
    const SERVICE: &str = "kubernetes.default.svc.";
    let domain = hosts.iter().find_map(|host| match host {
        Host::Dns(name) => name.strip_prefix(SERVICE).and_then(|domain| Host::parse(domain).ok()),
        Host::Ip(_) => None,
    });
    parts_node.dns_domain = parts_node.dns_domain.take().or(domain);
    if parts_node.service_cidrs.is_empty() {
        // The first address of the range that a distribution has where nobody says another. Other ranges can't be told
        // from one address: where they end is not in it.
        for (first, range) in [("10.96.0.1", "10.96.0.0/12"), ("10.43.0.1", "10.43.0.0/16")] {
            let first: Option<IpAddr> = first.parse().ok();
            if hosts.iter().any(|host| matches!(host, Host::Ip(ip) if Some(*ip) == first)) {
                parts_node.service_cidrs.extend(Cidr::parse(range));
            }
        }
    }
    parts_node.served = hosts.to_vec();
}

/// The name of a node in the CN of one of its certificates.
pub(super) fn node_of(profile: Profile, common_name: &str) -> Option<&str> {
    match profile {
        Profile::KubeletClient | Profile::KubeletServing => common_name.strip_prefix("system:node:"),
        Profile::EtcdServer | Profile::EtcdPeer => Some(common_name),
        _ => None,
    }
}

/// The server's token: the password alone, whatever is in front of it. In `K10HASH::server:PASSWORD` the hash is that of the
/// server's CA (kubernetes-pki B.1), which an export writes anew.
pub(super) fn k3s_token(parts: &mut Parts, file: File) -> Result<(), ImportError> {
    let bytes = password(&file)?;
    parts.add(file.path, Use::Token("server"), bytes);
    Ok(())
}

/// The agents' token, where they have one of their own.
pub(super) fn k3s_agent_token(parts: &mut Parts, file: File) -> Result<(), ImportError> {
    let bytes = password(&file)?;
    parts.add(file.path, Use::Token("agent"), bytes);
    Ok(())
}

fn password(file: &File) -> Result<Secret, ImportError> {
    let token = file.bytes.expose().trim_ascii();
    let password = match token.strip_prefix(b"K10") {
        None => token,
        Some(rest) => {
            let user = rest.windows(2).position(|two| two == b"::").map(|at| &rest[at + 2..]);
            let password = user.and_then(|user| Some(&user[user.iter().position(|octet| *octet == b':')? + 1..]));
            password.ok_or_else(|| ImportError::item(&file.path, "it begins like a token of k3s and is none"))?
        }
    };
    if password.is_empty() || password.len() > 1024 || !password.iter().all(u8::is_ascii_graphic) {
        return Err(ImportError::item(&file.path, "it is no token: one word of printable characters"));
    }
    Ok(Secret::new(password.to_vec()))
}

/// Whether it is an EncryptionConfiguration.
pub(super) fn is_encryption(file: &File) -> bool {
    let has = |word: &[u8]| file.bytes.expose().windows(word.len()).any(|window| window == word);
    [".yaml", ".yml", ".json"].iter().any(|end| file.path.ends_with(end))
        && has(b"EncryptionConfig")
        && has(b"providers")
}
