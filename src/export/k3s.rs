//! The layouts of k3s and RKE2: what their servers read below `server/`, and what their nodes join with (kubernetes-pki B.1).
//! Both make every leaf by themselves, so the CA keys are always among a server's files.

use crate::model::{ClusterConfig, Distribution, Keyset, Node, Role, State};
use crate::secret::Secret;

use super::document::Document;
use super::files::Files;
use super::material::{is_control_plane, runs_etcd};
use super::{CaKeys, ExportError, Exported, Layout, Material, Needed, OfNode};

/// A server's `tls/` and the tokens of k3s.
pub const K3S: Layout = Layout {
    name: "k3s",
    about: "a k3s server's tls/ with every CA key, and the join token of a node",
    distributions: &[Distribution::K3s],
    ca_keys: CaKeys::Always,
    node: Some(OfNode { needs, files }),
    cluster: None,
};

/// The same of RKE2.
pub const RKE2: Layout = Layout {
    name: "rke2",
    about: "an RKE2 server's tls/ with every CA key, and the join token of a node",
    distributions: &[Distribution::Rke2],
    ca_keys: CaKeys::Always,
    node: Some(OfNode { needs, files }),
    cluster: None,
};

/// The CAs and where their files lie, without the ending.
const CAS: [(Keyset, &str); 5] = [
    (Keyset::KubernetesClient, "tls/client-ca"),
    (Keyset::Kubernetes, "tls/server-ca"),
    (Keyset::FrontProxy, "tls/request-header-ca"),
    (Keyset::Etcd, "tls/etcd/server-ca"),
    (Keyset::EtcdPeer, "tls/etcd/peer-ca"),
];

const CONFIG: &str = "config.yaml.d/kluis.yaml";

/// A server makes leaves of every CA, also for nodes that join, and etcd's are wanted even without an etcd member. An
/// agent gets its leaves from a server and has a token alone.
fn is_server(node: &Node) -> bool {
    is_control_plane(node) || runs_etcd(node)
}

fn needs(node: &Node, _: bool) -> Vec<Needed> {
    let mut needed = vec![Needed::Issuing(Keyset::Tokens)];
    if is_server(node) {
        needed.extend(CAS.map(|(keyset, _)| Needed::Issuing(keyset)));
        // All keys of service.key are private ones: the first signs, and what verifies is taken from each.
        needed.push(Needed::Bundle(Keyset::ServiceAccount));
    }
    needed
}

fn files(material: &Material) -> Result<Exported, ExportError> {
    let mut files = Files::default();
    if is_server(&material.node) {
        for (keyset, path) in CAS {
            files.certificates(format!("{path}.crt"), material.cluster.bundle_pem(keyset)?);
            files.secret(format!("{path}.key"), material.cluster.ca_key(keyset)?.to_traditional_pem());
        }
        files.secret("tls/service.key", service_keys(material)?);
    }
    files.secret(CONFIG, config(material)?);
    Ok(Exported { files: files.finish_with_sums(), notes: notes(material) })
}

/// Every service-account key, the one that signs first.
fn service_keys(material: &Material) -> Result<Secret, ExportError> {
    let keyset = Keyset::ServiceAccount;
    material.cluster.service_account_key()?;
    let mut pems = Vec::new();
    for one in &material.cluster.service_account {
        pems.push(one.key.as_ref().ok_or(ExportError::MissingKeysetKey { keyset })?.to_traditional_pem());
    }
    Ok(joined(&pems))
}

fn joined(parts: &[Secret]) -> Secret {
    // Room for all of it at once: a buffer that grows leaves copies.
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(parts.iter().map(Secret::len).sum()));
    parts.iter().for_each(|part| bytes.extend_from_slice(part.expose()));
    Secret::from(bytes)
}

/// The settings that go with the files. Tokens have no `K10HASH::` before them: that is the hash of the server CA, and such
/// a token is void with the next one.
fn config(material: &Material) -> Result<Secret, ExportError> {
    let token = |name: &str| material.cluster.token(name).map(Secret::expose);
    let missing = || ExportError::MissingKeysetKey { keyset: Keyset::Tokens };
    let server = token("server").ok_or_else(missing)?;
    // An adopted token may have any mark that is printed, quotes too: whoever writes YAML here knows how.
    let mut document = Document::new(2);
    if is_server(&material.node) {
        document.text(0, "token", server);
        if let Some(agent) = token("agent") {
            document.text(0, "agent-token", agent);
        }
        add_names(&mut document, &material.cluster.config);
    } else {
        // An adopted cluster may have one token for both.
        document.text(0, "token", token("agent").unwrap_or(server));
    }
    Ok(document.finish())
}

/// The names that the API server's certificate has to have besides those that a server gives it by itself.
fn add_names(document: &mut Document, config: &ClusterConfig) {
    document.line(0, "tls-san:");
    for host in std::iter::once(&config.endpoint.host).chain(&config.extra_sans) {
        document.line(0, &format!("- \"{host}\""));
    }
}

/// Where the generations of this export are between two CAs, if they are.
fn in_rotation(material: &Material) -> Option<&'static str> {
    let mut states = material.cluster.authorities.values().flatten().map(|one| one.state);
    let mut signing = material.cluster.service_account.iter().map(|one| one.state);
    match () {
        () if states.clone().chain(signing.clone()).any(|state| state == State::Retiring) => Some("promoted"),
        () if states.any(|state| state == State::Trusted) || signing.any(|state| state == State::Trusted) => {
            Some("trusted")
        }
        () => None,
    }
}

fn notes(material: &Material) -> Vec<String> {
    let (node, config) = (&material.node.name, &material.cluster.config);
    let k3s = config.distribution == Distribution::K3s;
    let (program, service, agent) =
        if k3s { ("k3s", "k3s", "k3s-agent") } else { ("rke2", "rke2-server", "rke2-agent") };
    let mut notes = Vec::new();
    if !is_server(&material.node) {
        notes.push(format!(
            "copy {CONFIG} to /etc/rancher/{program}/{CONFIG} on {node}, owned by root:root, 0600, name a server there \
             (server: https://ADDRESS:{}), and start {agent}; it gets its certificates from the server at each start",
            if k3s { 6443 } else { 9345 }
        ));
        return notes;
    }
    notes.push(format!(
        "THE CA KEYS ARE AMONG THESE FILES: {program} signs the certificates of every node with them, and whoever is root on \
         {node} can make themself system:masters, on no record; {program} does so itself, for its own {program}.yaml"
    ));
    notes.push(match in_rotation(material) {
        Some(phase) => format!(
            "this is the phase {phase} of a rotation: every .crt has the CA that issues first, and behind it the other one that \
             is trusted"
        ),
        None => "no rotation is under way: every .crt has one CA".to_owned(),
    });
    notes.push(format!(
        "copy {CONFIG} to /etc/rancher/{program}/{CONFIG} on {node}, owned by root:root, 0600; its names go into the API \
         server's certificate"
    ));
    notes.push(format!(
        "before the very first start of the first server: copy tls/ to /var/lib/rancher/{program}/server/tls, owned by \
         root:root, keys 0600, certificates 0644, directories 0700, and start {service}; other servers join with the token \
         and get all of it from there"
    ));
    notes.push(format!(
        "on a cluster that runs, files below server/tls are not looked at: on one server, run {program} certificate rotate-ca \
         --path=DIR with this folder, then restart {service} on every server, and {agent} on every agent; kluis rotate status \
         -c {} says in which order, and where it takes --force",
        material.cluster.name
    ));
    notes.push(format!(
        "then delete tls/ from where it was brought to on {node}: {program} has its own copy, sealed by the token"
    ));
    if !material.node.roles.contains(&Role::Etcd) && !config.nodes.iter().any(runs_etcd) {
        notes.push(
            "no node runs etcd: the CAs of etcd are there because a server asks for them all the same".to_owned(),
        );
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{self, listing, text};
    use super::*;

    fn material(roles: &str) -> Material {
        let mut material = fixture::with_ca_keys(fixture::material_of(Distribution::K3s, "1.36", roles));
        for one in &mut material.cluster.service_account {
            let key = fixture::key();
            (one.public, one.key) = (key.spki(), Some(key));
        }
        material
    }

    #[test]
    fn a_server_has_five_cas_with_their_keys_and_every_service_account_key() {
        let material = material("control-plane,etcd");
        let exported = files(&material).unwrap();
        insta::assert_snapshot!(listing(&exported), @r"
        0600 config.yaml.d/kluis.yaml
        0644 tls/client-ca.crt
        0600 tls/client-ca.key
        0644 tls/etcd/peer-ca.crt
        0600 tls/etcd/peer-ca.key
        0644 tls/etcd/server-ca.crt
        0600 tls/etcd/server-ca.key
        0644 tls/request-header-ca.crt
        0600 tls/request-header-ca.key
        0644 tls/server-ca.crt
        0600 tls/server-ca.key
        0600 tls/service.key
        0600 SHA256SUMS
        ");
        let keys = text(&exported, "tls/service.key");
        assert_eq!(keys.matches("-----BEGIN EC PRIVATE KEY-----").count(), 2);
        let first = material.cluster.service_account_key().unwrap().to_traditional_pem();
        assert!(keys.as_bytes().starts_with(first.expose()));
        let bundle = text(&exported, "tls/client-ca.crt");
        assert!(
            bundle.starts_with(std::str::from_utf8(&crate::pki::certificate_pem(b"kubernetes-client-g2")).unwrap())
        );
        assert!(
            exported.notes[0].contains("CA KEYS") && exported.notes[1].contains("promoted"),
            "{:?}",
            exported.notes
        );
    }

    #[test]
    fn an_agent_has_its_token_alone_and_never_the_one_of_servers() {
        let exported = files(&material("worker")).unwrap();
        assert_eq!(text(&exported, CONFIG), "token: the-agent-token\n");
        assert_eq!(listing(&exported), "0600 config.yaml.d/kluis.yaml\n0600 SHA256SUMS\n");
        assert_eq!(needs(&material("worker").node, true), [Needed::Issuing(Keyset::Tokens)]);
    }

    #[test]
    fn a_server_knows_both_tokens_and_its_names() {
        let exported = files(&material("etcd")).unwrap();
        assert_eq!(
            text(&exported, CONFIG),
            "token: the-server-token\nagent-token: the-agent-token\ntls-san:\n- \"api.example.org\"\n"
        );
    }

    #[test]
    fn an_adopted_token_comes_back_whatever_its_marks() {
        let mut odd = material("control-plane");
        let token = br#"a"b\c: #d"#.to_vec();
        odd.cluster.tokens.insert("server".to_owned(), Secret::new(token.clone()));
        let written = text(&files(&odd).unwrap(), CONFIG);
        let value: serde_yaml_ng::Value = serde_yaml_ng::from_str(&written).unwrap();
        assert_eq!(value["token"].as_str().map(str::as_bytes), Some(token.as_slice()), "{written}");
    }

    #[test]
    fn a_missing_key_or_token_is_refused() {
        let mut without = material("control-plane");
        without.cluster.tokens.clear();
        assert!(matches!(files(&without), Err(ExportError::MissingKeysetKey { keyset: Keyset::Tokens })));
        let mut without = material("control-plane");
        without.cluster.service_account[1].key = None;
        assert!(matches!(files(&without), Err(ExportError::MissingKeysetKey { keyset: Keyset::ServiceAccount })));
        let mut without = material("control-plane");
        without.cluster.authorities.remove(&Keyset::EtcdPeer);
        assert!(matches!(files(&without), Err(ExportError::NoIssuer { keyset: Keyset::EtcdPeer, .. })));
    }
}
