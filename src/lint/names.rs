//! Rules on the names that serving certificates are for: LF015 to LF023.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::subject::{Certificate, Scene, has_host};
use super::{Check, Hit, Hits, Rule, hit, when};
use crate::model::{Host, Level, Profile};
use crate::pki::{Seen, SeenName};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "LF015",
        title: "a serving certificate without subject alternative names",
        why: "Go does not look at the CN for a host name",
        source: "Go 1.15, crypto/x509; RFC 9525",
        remedy: "issue it anew with the names that clients call",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(|one, _| {
            // LF031 says it of kubelets.
            let serves = one.role.serves() && !one.role.is_any(&[Profile::KubeletServing]);
            when(serves && one.seen.sans.is_empty(), "it has no subject alternative names")
        }),
    },
    Rule {
        id: "LF016",
        title: "an API server certificate without the cluster's own names for it",
        why: "clients in pods call kubernetes.default.svc and refuse what they are shown",
        source: "Kubernetes, PKI certificates and requirements",
        remedy: "issue it anew with kubernetes, kubernetes.default, .svc and .svc.DOMAIN",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(service_names),
    },
    Rule {
        id: "LF017",
        title: "an API server certificate without its service address",
        why: "clients in pods call that address; of the second family, those of that family alone",
        source: "kubeadm, pkiutil.GetAPIServerAltNames",
        remedy: "issue it anew with the first address of each range of services",
        severity: Level::Error,
        imported: None,
        check: Check::Scene(service_addresses),
    },
    Rule {
        id: "LF018",
        title: "an API server certificate without an address that clients call",
        why: "joins, controllers and kubectl fail",
        source: "kubeadm, pkiutil.GetAPIServerAltNames",
        remedy: "issue it anew with the endpoint and the node's addresses",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(|one, scene| {
            let own = one.role.is_any(&[Profile::Apiserver]);
            let node = scene.files[one.file].node.as_ref().and_then(|node| scene.known.nodes.get(node));
            let known = scene.known.endpoint.iter().chain(&scene.known.advertised).chain(node.into_iter().flatten());
            let lacks = known.filter(|_| own).find(|host| !has_host(&one.seen, host))?;
            Some(hit(format!("it is not for {lacks}, which clients call")))
        }),
    },
    Rule {
        id: "LF019",
        title: "an API server certificate that is not for localhost",
        why: "health checks and proxies on the node call it so; kubeadm leaves it out",
        source: "Kubernetes, PKI certificates and requirements",
        remedy: "nothing, unless something calls it so",
        severity: Level::Note,
        imported: None,
        check: Check::Certificate(|one, _| {
            let own = one.role.is_any(&[Profile::Apiserver]);
            let lacks: Vec<String> = lacking(&one.seen, &loopback());
            when(own && !lacks.is_empty(), format!("it is not for {}", lacks.join(", ")))
        }),
    },
    Rule {
        id: "LF020",
        title: "an etcd certificate without the names of its member",
        why: "etcd checks them in both directions, for peers against the address that calls",
        source: "etcd, transport security model; kubeadm, pkiutil.GetEtcdAltNames",
        remedy: "issue it anew with the node's name and addresses, localhost, 127.0.0.1 and ::1",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(member_names),
    },
    Rule {
        id: "LF021",
        title: "a wildcard in a name",
        why: "it is for more hosts than it has to be; etcd treats wildcards in its own way",
        source: "RFC 9525, 6.3; etcd, client/pkg/tlsutil",
        remedy: "name the hosts",
        severity: Level::Attention,
        imported: None,
        check: Check::Certificate(|one, _| {
            let wild = dns_names(&one.seen).find(|name| name.contains('*'))?;
            Some(hit(format!("it is for {wild}")))
        }),
    },
    Rule {
        id: "LF022",
        title: "a name that no client matches",
        why: "an address written as a name, upper case, an underscore, a port: it is there for nothing",
        source: "RFC 5280, 4.2.1.6; Go, crypto/x509 validHostname; k0s has a trailing dot",
        remedy: "write addresses as iPAddress and names in lower case without port or dot at the end",
        severity: Level::Error,
        imported: None,
        check: Check::Scene(odd_names),
    },
    Rule {
        id: "LF023",
        title: "an address that no server has",
        why: "it is nonsense, or lets the server pose as the metadata service of a cloud",
        source: "RFC 6890",
        remedy: "issue it anew without it",
        severity: Level::Attention,
        imported: None,
        check: Check::Certificate(|one, _| {
            let bad = one.seen.sans.iter().find(|name| is_nobody(name))?;
            Some(hit(format!("it is for {}", shown(bad))))
        }),
    },
];

/// A name, for display.
pub(super) fn shown(name: &SeenName) -> String {
    match name {
        SeenName::Dns(name) | SeenName::Email(name) | SeenName::Uri(name) => name.clone(),
        SeenName::Ip(octets) => address(octets).map_or_else(|| format!("{octets:02x?}"), |ip| ip.to_string()),
        SeenName::Other => "a name of another kind".to_owned(),
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

fn dns_names(seen: &Seen) -> impl Iterator<Item = &String> {
    seen.sans.iter().filter_map(|name| match name {
        SeenName::Dns(name) => Some(name),
        _ => None,
    })
}

fn loopback() -> [Host; 3] {
    let v6 = Host::Ip(IpAddr::V6(Ipv6Addr::LOCALHOST));
    [Host::Dns("localhost".to_owned()), Host::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)), v6]
}

fn lacking(seen: &Seen, hosts: &[Host]) -> Vec<String> {
    hosts.iter().filter(|host| !has_host(seen, host)).map(ToString::to_string).collect()
}

fn service_names(one: &Certificate, scene: &Scene) -> Option<Hit> {
    const SERVICE: &str = "kubernetes.default.svc";
    if !one.role.is_any(&[Profile::Apiserver]) || one.seen.sans.is_empty() {
        return None;
    }
    let names = ["kubernetes", "kubernetes.default", SERVICE].map(|name| Host::Dns(name.to_owned()));
    let mut lacks = lacking(&one.seen, &names);
    let whole = match &scene.known.dns_domain {
        Some(domain) => has_host(&one.seen, &Host::Dns(format!("{SERVICE}.{domain}"))),
        // Which domain it is nobody says; that there is one can be seen.
        None => dns_names(&one.seen).any(|name| name.strip_prefix(SERVICE).is_some_and(|rest| rest.len() > 1)),
    };
    if !whole {
        lacks.push(format!("{SERVICE}.{}", scene.known.dns_domain.as_deref().unwrap_or("DOMAIN")));
    }
    when(!lacks.is_empty(), format!("it is not for {}", lacks.join(", ")))
}

fn service_addresses(scene: &Scene, hits: &mut Hits) {
    for one in scene.certificates.iter().filter(|one| !one.repeated && one.role.is_any(&[Profile::Apiserver])) {
        for (index, ip) in scene.known.service_addresses.iter().enumerate() {
            if !has_host(&one.seen, &Host::Ip(*ip)) {
                let level = if index == 0 { Level::Error } else { Level::Attention };
                hits.certificate(one, hit(format!("it is not for the service address {ip}")).weighing(level));
            }
        }
    }
}

fn member_names(one: &Certificate, scene: &Scene) -> Option<Hit> {
    if !one.role.is_any(&[Profile::EtcdServer, Profile::EtcdPeer]) || one.seen.sans.is_empty() {
        return None;
    }
    let mut wanted = loopback().to_vec();
    if let Some(node) = &scene.files[one.file].node {
        wanted.extend(Host::parse(node));
        wanted.extend(scene.known.nodes.get(node).into_iter().flatten().cloned());
    }
    let lacks = lacking(&one.seen, &wanted);
    when(!lacks.is_empty(), format!("it is not for {}", lacks.join(", ")))
}

/// Why no client matches a DNS name.
fn oddity(name: &str) -> Option<&'static str> {
    match name {
        name if name.parse::<IpAddr>().is_ok() => Some("is an address, written as a DNS name"),
        name if name.contains(':') => Some("has a port"),
        name if name.contains('_') => Some("has an underscore"),
        name if name.bytes().any(|c| c.is_ascii_uppercase()) => Some("has upper case"),
        name if name.ends_with('.') => Some("ends in a dot"),
        name if !matches!(Host::parse(name), Ok(Host::Dns(_))) && name != "*" => Some("is no host name"),
        _ => None,
    }
}

fn odd_names(scene: &Scene, hits: &mut Hits) {
    for one in scene.certificates.iter().filter(|one| !one.repeated && !one.role.is_authority()) {
        let odd = dns_names(&one.seen).filter_map(|name| Some((name, oddity(name)?)));
        for (name, why) in odd {
            let level = if name.ends_with('.') { Level::Attention } else { Level::Error };
            hits.certificate(one, hit(format!("its name {name} {why}")).weighing(level));
        }
    }
}

/// Unspecified addresses, and those where clouds serve a machine's credentials.
fn is_nobody(name: &SeenName) -> bool {
    const METADATA: [&str; 3] = ["169.254.169.254", "fd00:ec2::254", "100.100.100.200"];
    match name {
        SeenName::Dns(name) => name.eq_ignore_ascii_case("metadata.google.internal"),
        SeenName::Ip(octets) => {
            address(octets).is_some_and(|ip| ip.is_unspecified() || METADATA.contains(&ip.to_string().as_str()))
        }
        _ => false,
    }
}
