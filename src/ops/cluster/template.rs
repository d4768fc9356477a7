//! The text of a new cluster.toml: every setting with its sentence, from values that were parsed before. Whoever
//! writes it parses the result again before using it.

use std::fmt::Write as _;

use crate::model::{Algorithm, Cidr, Distribution, Endpoint, Host, KubernetesVersion, Lifetimes, NodeName, Role};

/// What the command line says of a new cluster.
#[derive(Debug, Clone)]
pub struct Description {
    /// The distribution.
    pub distribution: Distribution,
    /// The version of Kubernetes.
    pub kubernetes: KubernetesVersion,
    /// The URL of the API.
    pub endpoint: Endpoint,
    /// The DNS domain of services.
    pub dns_domain: Host,
    /// The ranges of service addresses.
    pub service_cidrs: Vec<Cidr>,
    /// More names in the API server's certificate.
    pub extra_sans: Vec<Host>,
    /// The algorithm of all keys.
    pub algorithm: Algorithm,
    /// Whether CAs carry name constraints.
    pub name_constraints: bool,
    /// The nodes.
    pub nodes: Vec<NodeWords>,
}

/// `cp-1=10.0.0.11,cp-1.example.org:control-plane,etcd`, split at the last colon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeWords {
    name: NodeName,
    addresses: Vec<Host>,
    roles: Vec<Role>,
}

impl NodeWords {
    /// Its name.
    pub fn name(&self) -> &NodeName {
        &self.name
    }

    /// Its addresses.
    pub fn addresses(&self) -> &[Host] {
        &self.addresses
    }
}

impl std::str::FromStr for NodeWords {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || format!("{text:?} is no node; it looks like cp-1=10.0.0.11,cp-1.example.org:control-plane,etcd");
        let (name, rest) = text.split_once('=').ok_or_else(shape)?;
        let (addresses, roles) = rest.rsplit_once(':').ok_or_else(shape)?;
        let name = NodeName::parse(name).map_err(|error| error.to_string())?;
        let addresses = addresses.split(',').map(Host::parse);
        let role = |text: &str| {
            Role::parse(text).ok_or_else(|| format!("{text:?} is no role; there are control-plane, etcd and worker"))
        };
        Ok(Self {
            name,
            addresses: addresses.collect::<Result<_, _>>()?,
            roles: roles.split(',').map(role).collect::<Result<_, _>>()?,
        })
    }
}

fn list<T: ToString>(values: &[T]) -> String {
    let quoted: Vec<String> = values.iter().map(|value| format!("{:?}", value.to_string())).collect();
    format!("[{}]", quoted.join(", "))
}

/// Writes the text. All values are of parsed types, none of which can hold a quote or a backslash.
pub fn render(name: &crate::model::ClusterName, is: &Description) -> String {
    let life = Lifetimes::default();
    let mut text = format!(
        "# What cluster {name} should be. `kluis cluster apply -c {name}` brings certificates in line with it.\n\
         \n\
         # The layout of exports follows the distribution; some identities follow the version.\n\
         distribution = \"{}\"\n\
         kubernetes = \"{}\"\n\
         \n\
         # Where clients reach the API server. The epoch says the same: another one takes the quorum.\n\
         endpoint = \"{}\"\n\
         \n\
         # The DNS domain of services, and their ranges: one, or one of each family.\n\
         dns_domain = \"{}\"\n\
         service_cidrs = {}\n\
         \n\
         # More names and addresses in the API server's certificate.\n\
         extra_sans = {}\n\
         \n\
         # Of keys that are made from now on: ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072 or rsa-4096.\n\
         algorithm = \"{}\"\n\
         \n\
         # Whether CA certificates made from now on are good for the names of this cluster alone.\n\
         name_constraints = {}\n\
         \n\
         # How long what is issued lives. People's certificates are bounded by the epoch's policy too.\n\
         [lifetime]\n\
         authority = \"{}\"\n\
         component = \"{}\"\n\
         client = \"{}\"\n\
         break_glass = \"{}\"\n\
         \n\
         # One table a node. Roles: control-plane, etcd, worker. The first address that is no loopback is the one\n\
         # that its components use. `seal_to` may name the node's SSH host key or age recipient.\n",
        is.distribution,
        is.kubernetes,
        is.endpoint.as_str(),
        is.dns_domain,
        list(&is.service_cidrs),
        list(&is.extra_sans),
        is.algorithm,
        is.name_constraints,
        life.authority,
        life.component,
        life.client,
        life.break_glass,
    );
    for node in &is.nodes {
        let roles: Vec<&str> = node.roles.iter().map(|role| role.as_str()).collect();
        let written = write!(
            text,
            "\n[[node]]\nname = \"{}\"\nroles = {}\naddresses = {}\n",
            node.name,
            list(&roles),
            list(&node.addresses)
        );
        written.expect("writing to a string does not fail");
    }
    if is.nodes.is_empty() {
        text.push_str("#\n# [[node]]\n# name = \"cp-1\"\n# roles = [\"control-plane\", \"etcd\"]\n# addresses = [\"10.0.0.11\"]\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ClusterConfig, ClusterName};

    fn description(nodes: &[&str]) -> Description {
        Description {
            distribution: Distribution::Kubeadm,
            kubernetes: KubernetesVersion::parse("1.36.3").unwrap(),
            endpoint: Endpoint::parse("https://api.example.org:6443").unwrap(),
            dns_domain: Host::parse("cluster.local").unwrap(),
            service_cidrs: vec![Cidr::parse("10.96.0.0/12").unwrap(), Cidr::parse("fd00:1::/112").unwrap()],
            extra_sans: vec![Host::parse("api.internal").unwrap()],
            algorithm: Algorithm::EcdsaP256,
            name_constraints: true,
            nodes: nodes.iter().map(|node| node.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn what_is_rendered_parses_back_to_the_same() {
        let nodes =
            ["cp-1=10.0.0.11,cp-1.example.org:control-plane,etcd", "w-1=fd00::1:worker", "w-2=w-2.example.org:worker"];
        let text = render(&ClusterName::parse("prod").unwrap(), &description(&nodes));
        let config = ClusterConfig::parse(&text).unwrap();
        assert_eq!(config.kubernetes.to_string(), "1.36.3");
        assert_eq!(config.service_cidrs.len(), 2);
        assert!(config.name_constraints);
        assert_eq!(config.nodes.len(), 3);
        assert_eq!(config.nodes[1].addresses, [Host::parse("fd00::1").unwrap()]);
        assert_eq!(config.nodes[0].roles, [Role::ControlPlane, Role::Etcd]);
        assert!(text.lines().all(|line| line.len() <= 120), "{text}");
    }

    #[test]
    fn a_cluster_without_nodes_shows_how_to_add_one() {
        let text = render(&ClusterName::parse("prod").unwrap(), &description(&[]));
        assert!(ClusterConfig::parse(&text).unwrap().nodes.is_empty());
        assert!(text.contains("# [[node]]"));
    }

    #[test]
    fn a_node_that_is_not_written_right_says_how() {
        for (text, says) in [
            ("cp-1", "it looks like"),
            ("cp-1=10.0.0.1", "it looks like"),
            ("cp-1=10.0.0.1:boss", "no role"),
            ("CP=10.0.0.1:etcd", "CP"),
            ("cp-1=a_b:etcd", "neither an IP address"),
        ] {
            let why = text.parse::<NodeWords>().unwrap_err();
            assert!(why.contains(says), "{text}: {why}");
        }
    }
}
