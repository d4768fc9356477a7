//! What cluster.toml says of an adopted cluster: a file of the person's, or their words, and where they say nothing what the
//! material says. What neither says is asked for, never guessed.

use std::net::IpAddr;

use super::super::super::failure::Failure;
use super::super::template::{self, NodeWords};
use super::Wanted;
use crate::import::Found;
use crate::model::{Algorithm, Cidr, Endpoint, Host, KubernetesVersion};
use crate::pki::PrivateKey;

/// How a person describes a cluster.
pub enum Description {
    /// By a whole cluster.toml.
    Text {
        /// The text.
        text: String,
        /// Where it is from, for errors.
        source: String,
    },
    /// By single words.
    Flags(Box<Flags>),
}

/// Single words of a person. What is left out is derived.
#[derive(Default)]
pub struct Flags {
    /// The URL of the API.
    pub endpoint: Option<Endpoint>,
    /// The version of Kubernetes.
    pub kubernetes: Option<KubernetesVersion>,
    /// The nodes.
    pub nodes: Vec<NodeWords>,
    /// The ranges of service addresses.
    pub service_cidrs: Vec<Cidr>,
    /// The DNS domain of services.
    pub dns_domain: Option<Host>,
    /// More names in the API server's certificate.
    pub extra_sans: Vec<Host>,
    /// The algorithm of keys that are made from now on.
    pub algorithm: Option<Algorithm>,
}

/// The text, and where it is from.
pub(super) fn text(wanted: &Wanted, found: &mut Found) -> Result<(String, String), Failure> {
    let flags = match &wanted.description {
        Description::Text { text, source } => return Ok((text.clone(), source.clone())),
        Description::Flags(flags) => flags,
    };
    let known = found.surroundings.clone();
    let derived = known.endpoint.as_deref().and_then(|text| Endpoint::parse(text).ok());
    let ask = |what: &str, flag: &str| {
        Failure::usage(format!("nothing in {} says {what}: say it with {flag}", found.source.words()))
    };
    let endpoint = flags.endpoint.clone().or(derived);
    let endpoint = endpoint.ok_or_else(|| ask("where clients reach the API", "--endpoint https://HOST:PORT"))?;
    let kubernetes = flags.kubernetes.or(known.kubernetes);
    let kubernetes = kubernetes.ok_or_else(|| ask("the version of Kubernetes", "--kubernetes VERSION"))?;
    let service_cidrs = match (flags.service_cidrs.as_slice(), known.service_cidrs.as_slice()) {
        ([], derived) if serves_other(&known.served, derived) => {
            return Err(ask("the whole range of service addresses", "--service-cidr CIDR"));
        }
        ([], []) => vec![Cidr::parse(wanted.distribution.service_cidr()).map_err(Failure::usage)?],
        ([], derived) => derived.to_vec(),
        (given, _) => given.to_vec(),
    };
    // What the person did not say, and what it is taken from: they should see it before it is on record.
    let mut learned = Vec::new();
    if flags.service_cidrs.is_empty() {
        let shown = service_cidrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let from = match (known.service_cidrs.is_empty(), known.served.is_empty()) {
            (true, _) => "nothing says another; --service-cidr does",
            (false, true) => "as the API server's flags say",
            (false, false) => "by the API server's certificate or flags; --service-cidr says another",
        };
        learned.push(("service_cidrs", format!("{shown} ({from})")));
    }
    if let (None, Some(domain)) = (&flags.dns_domain, &known.dns_domain) {
        learned.push(("dns_domain", format!("{domain} (by the API server's certificate)")));
    }
    let domain = flags.dns_domain.clone().or_else(|| known.dns_domain.clone());
    let dns_domain = domain.map_or_else(|| Host::parse("cluster.local").map_err(Failure::usage), Ok)?;
    let description = template::Description {
        distribution: wanted.distribution,
        kubernetes,
        extra_sans: extra(&known.served, flags, (&endpoint, &service_cidrs, &dns_domain)),
        endpoint,
        dns_domain,
        service_cidrs,
        algorithm: flags.algorithm.or_else(|| algorithm(found)).unwrap_or(Algorithm::EcdsaP256),
        name_constraints: false,
        nodes: flags.nodes.clone(),
    };
    if !description.extra_sans.is_empty() {
        let shown = description.extra_sans.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        learned.push(("extra_sans", format!("{shown} (by the API server's certificate and --extra-san)")));
    }
    if flags.algorithm.is_none() {
        learned.push((
            "algorithm",
            format!("{} (that of the main CA, for keys that are made here)", description.algorithm),
        ));
    }
    for (name, what) in learned {
        found.derived(&format!("cluster.toml#{name}"), what);
    }
    Ok((template::render(&wanted.name, &description), format!("the description of {}", wanted.name)))
}

/// Whether an address that looks like the first of a range is among the names, and in none of the `known` ranges: a private one
/// that ends in .0.1, or a unique local one that ends in ::1.
fn serves_other(served: &[Host], known: &[Cidr]) -> bool {
    served.iter().any(|host| match host {
        Host::Ip(ip) if known.iter().any(|range| range.first() == *ip) => false,
        // With a range of this family known, the other address is a node's.
        Host::Ip(ip) if known.iter().any(|range| range.network.is_ipv4() == ip.is_ipv4()) => false,
        Host::Ip(IpAddr::V4(ip)) => ip.is_private() && ip.octets()[2..] == [0, 1],
        Host::Ip(IpAddr::V6(ip)) => ip.is_unique_local() && ip.segments()[4..] == [0, 0, 0, 1],
        Host::Dns(_) => false,
    })
}

/// That of the main CA, so that new leaves are of the kind that runs; none where it is of a kind that is not made.
fn algorithm(found: &Found) -> Option<Algorithm> {
    let authorities = found.authorities.values().filter_map(|authority| authority.key.as_ref());
    authorities.map(PrivateKey::algorithm).next().flatten()
}

/// Names in the API server's certificate that nothing else in cluster.toml brings.
fn extra(served: &[Host], flags: &Flags, known: (&Endpoint, &[Cidr], &Host)) -> Vec<Host> {
    let (endpoint, cidrs, domain) = known;
    let service = format!("kubernetes.default.svc.{domain}");
    let standard = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", &service, "localhost"];
    let of_nodes: Vec<&Host> = flags.nodes.iter().flat_map(NodeWords::addresses).collect();
    let is_known = |host: &Host| match host {
        host if *host == endpoint.host || of_nodes.contains(&host) => true,
        Host::Dns(name) => {
            standard.contains(&name.as_str()) || flags.nodes.iter().any(|node| node.name().as_str() == name)
        }
        Host::Ip(ip) => ip.is_loopback() || cidrs.iter().any(|cidr| cidr.first() == *ip),
    };
    let mut extra: Vec<Host> = served.iter().filter(|host| !is_known(host)).cloned().collect();
    extra.extend(flags.extra_sans.iter().cloned());
    extra.sort();
    extra.dedup();
    extra
}
