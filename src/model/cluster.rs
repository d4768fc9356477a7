//! cluster.toml: the desired state of a cluster, written by people (FORMAT 8). Parsed once; what does not
//! parse names the key, the reason and, for an unknown key, the nearest known one (`bad-config`).

use std::fmt;
use std::net::IpAddr;

use serde::Deserialize;

use super::{Algorithm, Distribution, NodeName, Profile, Span};

/// Why a cluster.toml is refused. `key` is where, as `node[1].addresses`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {why}")]
pub struct ConfigError {
    /// The key, with the index of its table.
    pub key: String,
    /// The reason.
    pub why: String,
}

fn refuse<T>(key: impl Into<String>, why: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError { key: key.into(), why: why.into() })
}

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs the control plane.
    ControlPlane,
    /// Runs an etcd member.
    Etcd,
    /// Runs workloads alone.
    Worker,
}

impl Role {
    /// The name in cluster.toml.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ControlPlane => "control-plane",
            Self::Etcd => "etcd",
            Self::Worker => "worker",
        }
    }

    /// Parses the name in cluster.toml.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::ControlPlane, Self::Etcd, Self::Worker].into_iter().find(|one| one.as_str() == text)
    }
}

/// `1.36` or `1.36.3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KubernetesVersion {
    /// The minor version: 36.
    pub minor: u16,
    /// The patch version, if it was given.
    pub patch: Option<u16>,
}

impl KubernetesVersion {
    /// Parses `1.N` or `1.N.P`; a leading `v` is not part of it.
    pub fn parse(text: &str) -> Option<Self> {
        let number = |digits: &str| -> Option<u16> {
            let plain = !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit());
            (plain && (digits == "0" || !digits.starts_with('0'))).then(|| digits.parse().ok())?
        };
        let mut parts = text.split('.');
        let major = parts.next()?;
        let minor = number(parts.next()?)?;
        let patch = parts.next().map(number);
        (major == "1" && parts.next().is_none() && patch != Some(None)).then_some(())?;
        Some(Self { minor, patch: patch.flatten() })
    }
}

impl fmt::Display for KubernetesVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.patch {
            Some(patch) => f.pad(&format!("1.{}.{patch}", self.minor)),
            None => f.pad(&format!("1.{}", self.minor)),
        }
    }
}

/// An IP address or a DNS name, as it may stand in a subject alternative name. A DNS name may begin with `*.`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
    /// A DNS name: lower-case labels of at most 63, at most 253 in all, no dot at the end.
    Dns(String),
}

impl Host {
    /// Parses an address or a name.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return if ip.is_unspecified() || ip.is_multicast() {
                Err(format!("{text} is no address that a client could call"))
            } else {
                Ok(Self::Ip(ip))
            };
        }
        let name = text.strip_prefix("*.").unwrap_or(text);
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let numeric = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|c| c.is_ascii_digit()));
        if text.len() > 253 || numeric || !name.split('.').all(label) {
            return Err(format!("{text:?} is neither an IP address nor a DNS name in lower case"));
        }
        Ok(Self::Dns(text.to_owned()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => f.pad(&ip.to_string()),
            Self::Dns(name) => f.pad(name),
        }
    }
}

/// The URL of the API: `https://HOST[:PORT]`, nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its host, which is in the API server's certificate.
    pub host: Host,
    /// Its port; 443 where the URL has none.
    pub port: u16,
    text: String,
}

impl Endpoint {
    /// Parses a URL. Fails on another scheme, user info, a path, a query or a bad port.
    pub fn parse(text: &str) -> Result<Self, String> {
        let shape = || format!("{text:?} is no endpoint; it looks like https://api.example.org:6443");
        let rest = text.strip_prefix("https://").ok_or_else(shape)?;
        let (host, port) = if let Some(inner) = rest.strip_prefix('[') {
            let (host, port) = inner.split_once(']').ok_or_else(shape)?;
            if !host.contains(':') {
                return Err(shape());
            }
            (
                host,
                port.strip_prefix(':')
                    .map_or_else(|| port.is_empty().then_some(None).ok_or_else(shape), |p| Ok(Some(p)))?,
            )
        } else {
            match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            }
        };
        let port = match port {
            None => 443,
            Some(digits)
                if !digits.is_empty() && !digits.starts_with('0') && digits.bytes().all(|c| c.is_ascii_digit()) =>
            {
                digits.parse().map_err(|_| shape())?
            }
            Some(_) => return Err(shape()),
        };
        let host = Host::parse(host).map_err(|why| format!("{}: {why}", shape()))?;
        if matches!(&host, Host::Dns(name) if name.starts_with('*')) {
            return Err(shape());
        }
        Ok(Self { host, port, text: text.to_owned() })
    }

    /// The URL as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// A service CIDR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    /// The network's address, host bits zero.
    pub network: IpAddr,
    /// The prefix length.
    pub prefix: u8,
}

impl Cidr {
    /// Parses `10.96.0.0/12`. Fails where host bits are set, and where fewer than 8 or (as the API server
    /// demands) more than 2^20 addresses for IPv4 services, or a prefix under 64 for IPv6, would result.
    pub fn parse(text: &str) -> Result<Self, String> {
        let shape = || format!("{text:?} is no CIDR; it looks like 10.96.0.0/12");
        let (address, prefix) = text.split_once('/').ok_or_else(shape)?;
        let network: IpAddr = address.parse().map_err(|_| shape())?;
        let plain = !prefix.is_empty()
            && prefix.bytes().all(|c| c.is_ascii_digit())
            && (prefix == "0" || !prefix.starts_with('0'));
        let prefix: u8 = if plain { prefix.parse().map_err(|_| shape())? } else { return Err(shape()) };
        let (bits, value) = match network {
            IpAddr::V4(v4) => (32, u128::from(u32::from(v4))),
            IpAddr::V6(v6) => (128, u128::from(v6)),
        };
        if prefix > bits {
            return Err(shape());
        }
        let host_bits = u32::from(bits - prefix);
        if host_bits < 128 && value & ((1u128 << host_bits) - 1) != 0 {
            return Err(format!("{text} has bits set behind its prefix"));
        }
        if host_bits < 3 {
            return Err(format!("{text} is too small: it needs at least 8 addresses"));
        }
        if host_bits > 20 {
            return Err(format!("{text} is too large: the API server takes at most 2^20 service addresses"));
        }
        Ok(Self { network, prefix })
    }

    /// The first address behind the network's own: the API server's service address.
    pub fn first(self) -> IpAddr {
        match self.network {
            IpAddr::V4(v4) => IpAddr::V4((u32::from(v4) + 1).into()),
            IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) + 1).into()),
        }
    }

    /// Whether two ranges share an address.
    pub fn overlaps(self, other: Self) -> bool {
        let low = self.prefix.min(other.prefix);
        match (self.network, other.network) {
            (IpAddr::V4(a), IpAddr::V4(b)) => low == 0 || (u32::from(a) ^ u32::from(b)) >> (32 - u32::from(low)) == 0,
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                low == 0 || (u128::from(a) ^ u128::from(b)) >> (128 - u32::from(low)) == 0
            }
            _ => false,
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

/// How long what is issued lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lifetimes {
    /// CA certificates.
    pub authority: Span,
    /// Certificates of nodes.
    pub component: Span,
    /// Certificates of people.
    pub client: Span,
    /// Break-glass certificates.
    pub break_glass: Span,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            authority: Span::days(3650),
            component: Span::days(365),
            client: Span::hours(12),
            break_glass: Span::hours(1),
        }
    }
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// As its Node object has it.
    pub name: NodeName,
    /// At least one, sorted.
    pub roles: Vec<Role>,
    /// IP addresses and DNS names, in the order written.
    pub addresses: Vec<Host>,
    /// An SSH host key or age recipient to which its exports are sealed.
    pub seal_to: Option<String>,
}

impl Node {
    /// The advertise address: the first IP address that is not loopback.
    pub fn advertise_address(&self) -> Option<IpAddr> {
        self.addresses.iter().find_map(|host| match host {
            Host::Ip(ip) if !ip.is_loopback() => Some(*ip),
            _ => None,
        })
    }

    /// The certificate profiles that it has in a cluster of this distribution: none where nodes make their leaves
    /// themselves.
    pub fn profiles(&self, distribution: Distribution) -> impl Iterator<Item = Profile> + '_ {
        let has = move |profile: &Profile| !distribution.makes_leaves() && profile.is_for(&self.roles);
        Profile::ALL.iter().copied().filter(has)
    }
}

/// The desired state of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// The distribution that runs it.
    pub distribution: Distribution,
    /// The version of Kubernetes.
    pub kubernetes: KubernetesVersion,
    /// The URL of its API.
    pub endpoint: Endpoint,
    /// The DNS domain of services.
    pub dns_domain: String,
    /// One or two (of different families) ranges of service addresses.
    pub service_cidrs: Vec<Cidr>,
    /// More names in the API server's certificate.
    pub extra_sans: Vec<Host>,
    /// The algorithm of all its keys.
    pub algorithm: Algorithm,
    /// Whether CAs carry name constraints.
    pub name_constraints: bool,
    /// How long what is issued lives.
    pub lifetime: Lifetimes,
    /// The nodes, in the order written.
    pub nodes: Vec<Node>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    distribution: Distribution,
    kubernetes: String,
    endpoint: String,
    dns_domain: Option<String>,
    service_cidrs: Option<Vec<String>>,
    #[serde(default)]
    extra_sans: Vec<String>,
    algorithm: Option<String>,
    #[serde(default)]
    name_constraints: bool,
    #[serde(default)]
    lifetime: Lifetimes,
    #[serde(default)]
    node: Vec<RawNode>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNode {
    name: String,
    roles: Vec<String>,
    #[serde(default)]
    addresses: Vec<String>,
    seal_to: Option<String>,
}

impl ClusterConfig {
    /// Parses the text of a cluster.toml. Fails with the key and the reason.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let raw: Raw = toml::from_str(text).map_err(|error| explain(&error))?;
        let kubernetes = KubernetesVersion::parse(&raw.kubernetes).ok_or_else(|| ConfigError {
            key: "kubernetes".to_owned(),
            why: format!("{:?} is no version; it looks like 1.36 or 1.36.3", raw.kubernetes),
        })?;
        let endpoint = at("endpoint", Endpoint::parse(&raw.endpoint))?;
        let dns_domain = raw.dns_domain.unwrap_or_else(|| "cluster.local".to_owned());
        if !matches!(Host::parse(&dns_domain), Ok(Host::Dns(name)) if !name.starts_with('*')) {
            return refuse("dns_domain", format!("{dns_domain:?} is no DNS domain"));
        }
        let service_cidrs = cidrs(raw.service_cidrs)?;
        let extra_sans = hosts("extra_sans", &raw.extra_sans)?;
        let algorithm = match raw.algorithm {
            Some(name) => at("algorithm", name.parse())?,
            None => Algorithm::EcdsaP256,
        };
        check_algorithm(raw.distribution, kubernetes, algorithm)?;
        let nodes = nodes(raw.node)?;
        Ok(Self {
            distribution: raw.distribution,
            kubernetes,
            endpoint,
            dns_domain,
            service_cidrs,
            extra_sans,
            algorithm,
            name_constraints: raw.name_constraints,
            lifetime: raw.lifetime,
            nodes,
        })
    }

    /// The node of this name.
    pub fn node(&self, name: &NodeName) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == *name)
    }
}

fn at<T>(key: &str, parsed: Result<T, String>) -> Result<T, ConfigError> {
    parsed.map_err(|why| ConfigError { key: key.to_owned(), why })
}

fn hosts(key: &str, texts: &[String]) -> Result<Vec<Host>, ConfigError> {
    let mut hosts = Vec::new();
    for text in texts {
        let host = at(key, Host::parse(text))?;
        if hosts.contains(&host) {
            return refuse(key, format!("{text} stands twice"));
        }
        hosts.push(host);
    }
    Ok(hosts)
}

fn cidrs(texts: Option<Vec<String>>) -> Result<Vec<Cidr>, ConfigError> {
    let key = "service_cidrs";
    let texts = texts.unwrap_or_else(|| vec!["10.96.0.0/12".to_owned()]);
    let cidrs = texts.iter().map(|text| at(key, Cidr::parse(text))).collect::<Result<Vec<_>, _>>()?;
    match cidrs.as_slice() {
        [_] => Ok(cidrs),
        [a, b] if a.overlaps(*b) => refuse(key, format!("{a} and {b} overlap")),
        [a, b] if a.network.is_ipv4() == b.network.is_ipv4() => {
            refuse(key, format!("{a} and {b} are of one family; dual stack takes one of each"))
        }
        [_, _] => Ok(cidrs),
        _ => refuse(key, "one range, or two of different families"),
    }
}

/// kubeadm takes ECDSA-P384 from 1.34 on and ECDSA-P256 from 1.19 on (kubernetes-pki A.0); k0s and Talos
/// make RSA leaves of their own whatever the CA, which is fine.
fn check_algorithm(
    distribution: Distribution,
    version: KubernetesVersion,
    algorithm: Algorithm,
) -> Result<(), ConfigError> {
    if distribution == Distribution::Kubeadm && algorithm == Algorithm::EcdsaP384 && version.minor < 34 {
        return refuse(
            "algorithm",
            format!("kubeadm {version} knows no ecdsa-p384; it does from 1.34 on. Choose ecdsa-p256"),
        );
    }
    Ok(())
}

fn nodes(raw: Vec<RawNode>) -> Result<Vec<Node>, ConfigError> {
    let mut nodes: Vec<Node> = Vec::with_capacity(raw.len());
    for (index, node) in raw.into_iter().enumerate() {
        let key = |name: &str| format!("node[{index}].{name}");
        let name = at(&key("name"), NodeName::parse(&node.name).map_err(|e| e.to_string()))?;
        if nodes.iter().any(|other| other.name == name) {
            return refuse(key("name"), format!("{name} stands twice"));
        }
        let mut roles = Vec::new();
        for text in &node.roles {
            let role = Role::parse(text).ok_or_else(|| ConfigError {
                key: key("roles"),
                why: format!("{text:?} is no role; there are control-plane, etcd and worker"),
            })?;
            if roles.contains(&role) {
                return refuse(key("roles"), format!("{text} stands twice"));
            }
            roles.push(role);
        }
        if roles.is_empty() {
            return refuse(key("roles"), "a node has at least one of control-plane, etcd and worker");
        }
        roles.sort();
        let addresses = hosts(&key("addresses"), &node.addresses)?;
        let node = Node { name, roles, addresses, seal_to: node.seal_to };
        nodes.push(node);
    }
    Ok(nodes)
}

/// Makes a sentence of what the TOML library says; names the nearest key for an unknown one.
fn explain(error: &toml::de::Error) -> ConfigError {
    let message = error.message();
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match (message.starts_with("unknown field"), quoted.as_slice()) {
        (true, [unknown, known @ ..]) => {
            let nearest = known.iter().min_by_key(|name| distance(unknown, name));
            let why = nearest.map_or_else(String::new, |name| format!("; did you mean {name}?"));
            ConfigError { key: (*unknown).to_owned(), why: format!("no such key{why}") }
        }
        _ => ConfigError { key: "cluster.toml".to_owned(), why: message.replace('\n', " ") },
    }
}

/// Levenshtein's distance, for short words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str =
        "distribution = \"kubeadm\"\nkubernetes = \"1.36\"\nendpoint = \"https://api.example.org:6443\"\n";

    fn refused(addition: &str) -> String {
        ClusterConfig::parse(&format!("{MINIMAL}{addition}")).unwrap_err().to_string()
    }

    #[test]
    fn the_rest_has_defaults() {
        let config = ClusterConfig::parse(MINIMAL).unwrap();
        assert_eq!(config.service_cidrs[0].first().to_string(), "10.96.0.1");
        assert_eq!(config.algorithm, Algorithm::EcdsaP256);
        assert_eq!(config.lifetime.authority, Span::days(3650));
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        assert_eq!(refused("servce_cidrs = []\n"), "servce_cidrs: no such key; did you mean service_cidrs?");
        assert_eq!(refused("[lifetime]\nauthorty = \"1d\"\n"), "authorty: no such key; did you mean authority?");
    }

    #[test]
    fn bad_values_name_their_key() {
        for (addition, says) in [
            ("algorithm = \"ed25519\"\n", "kubeadm loads no such key"),
            ("service_cidrs = [\"10.96.0.0/12\", \"10.97.0.0/16\"]\n", "overlap"),
            ("service_cidrs = [\"10.96.0.0/30\"]\n", "too small"),
            ("service_cidrs = [\"10.96.0.1/12\"]\n", "behind its prefix"),
            ("service_cidrs = [\"10.0.0.0/8\"]\n", "too large"),
            ("extra_sans = [\"api_1\"]\n", "neither an IP address nor a DNS name"),
            ("dns_domain = \"*.x\"\n", "no DNS domain"),
            ("[[node]]\nname = \"a\"\nroles = []\n", "at least one of"),
            ("[[node]]\nname = \"a\"\nroles = [\"boss\"]\n", "no role"),
            (
                "[[node]]\nname = \"a\"\nroles = [\"worker\"]\n[[node]]\nname = \"a\"\nroles = [\"worker\"]\n",
                "stands twice",
            ),
            ("[[node]]\nname = \"a\"\nroles = [\"worker\"]\naddresses = [\"0.0.0.0\"]\n", "no address"),
            ("[[node]]\nname = \"../a\"\nroles = [\"worker\"]\n", "node[0].name"),
        ] {
            let why = refused(addition);
            assert!(why.contains(says), "{addition}: {why}");
        }
    }

    #[test]
    fn endpoints_are_https_and_nothing_more() {
        for good in ["https://api.example.org:6443", "https://10.0.0.1", "https://[fd00::1]:6443"] {
            assert_eq!(Endpoint::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "http://a",
            "https://",
            "https://a/",
            "https://u@a",
            "https://a:0",
            "https://a:70000",
            "https://a:6443/x",
            "https://[10.0.0.1]:1",
            "https://a b",
            "https://A",
            "https://*.a:1",
            "https://a:\n",
        ] {
            assert!(Endpoint::parse(bad).is_err(), "{bad}");
        }
    }
}
