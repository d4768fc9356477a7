//! kubeadm's configuration for the files of the layout `kubeadm`: what kubeadm would choose otherwise, and why. Built from
//! cluster.toml alone; holds no secret.
//!
//! It is built in, and no file of a repository takes its place. What nodes run decides about trust: whoever could choose a
//! flag of the API server would be let in by it. `templates/` is managed by nobody and signed by nobody, so an override there
//! would be a way in for whoever gets one unsigned file merged. Flags of one's own go into the printed file, on the machine
//! of whoever runs kubeadm.

use std::net::{IpAddr, SocketAddr};

use serde_yaml_ng::{Mapping, Value};

use super::ExportError;
use super::kubeadm::PORT;
use super::material::{is_control_plane, runs_etcd};
use crate::model::{Algorithm, ClusterConfig, ClusterName, Distribution, Host, Node};

/// What a configuration is for.
pub struct Subject<'a> {
    /// The cluster.
    pub cluster: &'a ClusterName,
    /// Its description.
    pub config: &'a ClusterConfig,
    /// The control-plane node on which `kubeadm init` is to run, if its part is wanted.
    pub node: Option<&'a Node>,
    /// Whether the CA keys lie on control-plane nodes (`--with-ca-keys`).
    pub with_ca_keys: bool,
    /// Whether the cluster has encryption keys.
    pub encrypts: bool,
}

const PKI: &str = "/etc/kubernetes/pki";

/// Where etcd listens for clients.
const ETCD: u16 = 2379;

/// The minor version whose kubeadm knows v1beta4, where extraArgs are a list; before it they are a map.
const V1BETA4: u16 = 31;

/// The configuration: InitConfiguration where a node is named, ClusterConfiguration, KubeletConfiguration. Fails where
/// cluster.toml does not say enough, and for clusters that kubeadm does not run.
pub fn configuration(subject: &Subject) -> Result<String, ExportError> {
    let Subject { cluster, config, .. } = subject;
    if config.distribution != Distribution::Kubeadm {
        let distribution = config.distribution;
        return Err(ExportError::NotKubeadm { cluster: (*cluster).clone(), distribution });
    }
    let mut text = Text::default();
    text.comment(&format!(
        "kubeadm's configuration of cluster {cluster}, for the files of `kluis export kubeadm`. It holds no secret.\n\
         What is not here kubeadm chooses itself, and what it chooses fits: client-ca-file and root-ca-file are pki/ca.crt,\n\
         the trust bundle; tokens are signed with pki/sa.key and verified with pki/sa.pub. All of it is below pki/, which\n\
         kubeadm mounts, so that no extra volume is needed."
    ));
    if let Some(node) = subject.node {
        init(&mut text, subject, node)?;
    }
    cluster_configuration(&mut text, subject)?;
    kubelet(&mut text)?;
    Ok(text.text)
}

fn init(text: &mut Text, subject: &Subject, node: &Node) -> Result<(), ExportError> {
    if !is_control_plane(node) {
        return Err(ExportError::NoControlPlane { node: node.name.clone() });
    }
    let address = node
        .advertise_address()
        .ok_or_else(|| ExportError::NoAdvertiseAddress { cluster: subject.cluster.clone(), node: node.name.clone() })?;
    text.document(kubeadm_api(subject.config), "InitConfiguration")?;
    text.part("nodeRegistration", map([("name", node.name.as_str().into())]))?;
    let endpoint = [("advertiseAddress", address.to_string().into()), ("bindPort", PORT.into())];
    text.part("localAPIEndpoint", map(endpoint))?;
    text.comment(
        "kubeadm sets rotateCertificates to true, whatever stands below. A file kubeletconfiguration.yaml in this folder, with\n\
         the one line `rotateCertificates: false`, sets it back: kubelets have theirs from kluis, and ask nobody for others.",
    );
    text.part("patches", map([("directory", "/etc/kubernetes/patches".into())]))
}

fn cluster_configuration(text: &mut Text, subject: &Subject) -> Result<(), ExportError> {
    let Subject { cluster, config, .. } = subject;
    let minor = config.kubernetes.minor;
    text.document(kubeadm_api(config), "ClusterConfiguration")?;
    text.part("clusterName", cluster.as_str().into())?;
    let version = match config.kubernetes.patch {
        Some(_) => format!("v{}", config.kubernetes),
        None => {
            text.comment(
                "cluster.toml names no patch version: kubeadm asks dl.k8s.io for the newest, and takes its own where it has no\n\
                 network.",
            );
            format!("stable-{}", config.kubernetes)
        }
    };
    text.part("kubernetesVersion", version.into())?;
    text.part("controlPlaneEndpoint", host_and_port(&config.endpoint.host, config.endpoint.port).into())?;
    text.part("certificatesDir", PKI.into())?;
    text.comment(
        "podSubnet is missing: cluster.toml does not know it, and network plugins differ in whether they need it.",
    );
    let services = config.service_cidrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let networking = [("dnsDomain", config.dns_domain.as_str().into()), ("serviceSubnet", services.into())];
    text.part("networking", map(networking))?;
    api_server(text, subject)?;
    controller_manager(text, subject)?;
    etcd(text, subject)?;
    if subject.with_ca_keys && minor >= V1BETA4 {
        text.comment("For keys that kubeadm makes when it renews a certificate.");
        text.part("encryptionAlgorithm", encryption_algorithm(config.algorithm).into())?;
    }
    Ok(())
}

fn api_server(text: &mut Text, subject: &Subject) -> Result<(), ExportError> {
    let config = subject.config;
    let mut args = Vec::new();
    if subject.encrypts {
        text.comment(
            "encryption-provider-config: secrets and config maps are encrypted in etcd. The file is the same on every\n\
             control-plane node, and is read again within a minute when it changes.",
        );
        args.push(("encryption-provider-config", format!("{PKI}/encryption-config.yaml")));
        // The flag came with 1.26.
        if config.kubernetes.minor >= 26 {
            args.push(("encryption-provider-config-automatic-reload", "true".to_owned()));
        }
    } else {
        text.comment(
            "No encryption key of this cluster is kept here. Where it has a configuration of its own, its flag\n             encryption-provider-config belongs here: without it API servers can't read what is in etcd.",
        );
    }
    text.comment(
        "kubelet-certificate-authority: API servers check what kubelets serve. kubeadm leaves that out, as its kubelets sign\n\
         their own certificates; here each serves the exported one (below). In a cluster that runs, see that it does before.",
    );
    args.push(("kubelet-certificate-authority", format!("{PKI}/ca.crt")));
    let mut server = Mapping::new();
    if !config.extra_sans.is_empty() {
        let names: Vec<Value> = config.extra_sans.iter().map(|host| host.to_string().into()).collect();
        server.insert("certSANs".into(), names.into());
    }
    server.insert("extraArgs".into(), extra_args(config, args));
    text.part("apiServer", server.into())
}

fn controller_manager(text: &mut Text, subject: &Subject) -> Result<(), ExportError> {
    if !subject.with_ca_keys {
        // The files are not named all the same: the controller-manager exits where one is missing.
        text.comment(
            "No CA key lies on nodes: kubeadm calls that external-CA mode, starts kube-controller-manager without a signing file,\n\
             and nobody in the cluster signs certificates. Where CA keys do lie there (`kluis export kubeadm --with-ca-keys`),\n\
             print this configuration with --with-ca-keys too.",
        );
        return Ok(());
    }
    text.comment(
        "pki/ca.crt is a trust bundle: it has two certificates while the CA is rotated, and kube-controller-manager exits where\n\
         its signing file has more than one. So the one that issues has a file of its own.",
    );
    let args = vec![
        ("cluster-signing-cert-file", format!("{PKI}/ca-signing.crt")),
        ("cluster-signing-key-file", format!("{PKI}/ca.key")),
    ];
    text.part("controllerManager", map([("extraArgs", extra_args(subject.config, args))]))
}

/// A member beside each API server, or the nodes that have the role.
fn etcd(text: &mut Text, subject: &Subject) -> Result<(), ExportError> {
    let nodes = &subject.config.nodes;
    if nodes.iter().filter(|node| is_control_plane(node)).all(runs_etcd) {
        return text.part("etcd", map([("local", map([("dataDir", "/var/lib/etcd".into())]))]));
    }
    let mut endpoints: Vec<Value> = Vec::new();
    for node in nodes.iter().filter(|node| runs_etcd(node)) {
        let address: IpAddr = node
            .advertise_address()
            .ok_or_else(|| ExportError::NoEtcdAddress { cluster: subject.cluster.clone(), node: node.name.clone() })?;
        endpoints.push(format!("https://{}", SocketAddr::new(address, ETCD)).into());
    }
    if endpoints.is_empty() {
        return Err(ExportError::NoEtcd { cluster: subject.cluster.clone() });
    }
    let external = [
        ("endpoints", endpoints.into()),
        ("caFile", format!("{PKI}/etcd/ca.crt").into()),
        ("certFile", format!("{PKI}/apiserver-etcd-client.crt").into()),
        ("keyFile", format!("{PKI}/apiserver-etcd-client.key").into()),
    ];
    text.part("etcd", map([("external", map(external))]))
}

fn kubelet(text: &mut Text) -> Result<(), ExportError> {
    text.document("kubelet.config.k8s.io/v1beta1", "KubeletConfiguration")?;
    text.comment("Who calls the kubelet has a certificate of the trust bundle.");
    text.part("authentication", map([("x509", map([("clientCAFile", format!("{PKI}/ca.crt").into())]))]))?;
    text.comment(
        "What it serves and calls with is exported, and kluis issues it: it asks for no certificate of its own.",
    );
    text.part("tlsCertFile", "/var/lib/kubelet/pki/kubelet.crt".into())?;
    text.part("tlsPrivateKeyFile", "/var/lib/kubelet/pki/kubelet.key".into())?;
    text.part("serverTLSBootstrap", false.into())?;
    text.part("rotateCertificates", false.into())
}

fn kubeadm_api(config: &ClusterConfig) -> &'static str {
    if config.kubernetes.minor >= V1BETA4 { "kubeadm.k8s.io/v1beta4" } else { "kubeadm.k8s.io/v1beta3" }
}

/// kubeadm's name for an algorithm; ECDSA-P384 from 1.34 on, which cluster.toml sees to.
fn encryption_algorithm(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Rsa2048 => "RSA-2048",
        Algorithm::Rsa3072 => "RSA-3072",
        Algorithm::Rsa4096 => "RSA-4096",
        Algorithm::EcdsaP256 => "ECDSA-P256",
        Algorithm::EcdsaP384 => "ECDSA-P384",
    }
}

fn host_and_port(host: &Host, port: u16) -> String {
    match host {
        Host::Ip(ip) => SocketAddr::new(*ip, port).to_string(),
        Host::Dns(name) => format!("{name}:{port}"),
    }
}

fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Mapping(entries.into_iter().map(|(key, value)| (Value::from(key), value)).collect())
}

fn extra_args(config: &ClusterConfig, args: Vec<(&str, String)>) -> Value {
    if config.kubernetes.minor >= V1BETA4 {
        let list = args.into_iter().map(|(name, value)| map([("name", name.into()), ("value", value.into())]));
        return list.collect::<Vec<_>>().into();
    }
    Value::Mapping(args.into_iter().map(|(name, value)| (Value::from(name), value.into())).collect())
}

/// YAML documents with comments between their keys; the values are the library's.
#[derive(Default)]
struct Text {
    text: String,
    documents: usize,
}

impl Text {
    fn comment(&mut self, text: &str) {
        text.lines().for_each(|line| self.text += &format!("# {line}\n"));
    }

    fn document(&mut self, api_version: &str, kind: &str) -> Result<(), ExportError> {
        // No line before the first: kubeadm takes the comments above it for a document, and refuses it as an empty one.
        if self.documents > 0 {
            self.text += "---\n";
        }
        self.documents += 1;
        self.part("apiVersion", api_version.into())?;
        self.part("kind", kind.into())
    }

    fn part(&mut self, key: &str, value: Value) -> Result<(), ExportError> {
        let part = serde_yaml_ng::to_string(&map([(key, value)]));
        self.text += &part.map_err(|_| ExportError::Yaml { path: "kubeadm-config".to_owned() })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize as _;

    use super::*;
    use crate::export::{Material, fixture};

    fn documents(subject: &Subject) -> Vec<Value> {
        let text = configuration(subject).unwrap();
        assert!(text.lines().all(|line| line.len() <= 130), "{text}");
        let read = serde_yaml_ng::Deserializer::from_str(&text).map(|one| Value::deserialize(one).unwrap());
        read.filter(|value| !value.is_null()).collect()
    }

    fn of(version: &str, roles: &str, change: impl FnOnce(&mut Subject)) -> Vec<Value> {
        let material = fixture::material(version, roles);
        let mut subject = Subject {
            cluster: &material.cluster.name,
            config: &material.cluster.config,
            node: Some(&material.node),
            with_ca_keys: false,
            encrypts: true,
        };
        change(&mut subject);
        documents(&subject)
    }

    #[test]
    fn a_cluster_and_its_first_node_are_configured() {
        let documents = of("1.36.3", "control-plane,etcd", |_| ());
        let kinds: Vec<&str> = documents.iter().map(|one| one["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["InitConfiguration", "ClusterConfiguration", "KubeletConfiguration"]);
        let (init, cluster, kubelet) = (&documents[0], &documents[1], &documents[2]);
        assert_eq!(init["apiVersion"], "kubeadm.k8s.io/v1beta4");
        assert_eq!(init["localAPIEndpoint"]["advertiseAddress"], "10.0.0.11");
        assert_eq!(cluster["kubernetesVersion"], "v1.36.3");
        assert_eq!(cluster["controlPlaneEndpoint"], "api.example.org:6443");
        assert_eq!(cluster["networking"]["serviceSubnet"], "10.96.0.0/12");
        assert_eq!(cluster["apiServer"]["extraArgs"][0]["name"], "encryption-provider-config");
        assert_eq!(cluster["etcd"]["local"]["dataDir"], "/var/lib/etcd");
        assert!(cluster["controllerManager"].is_null(), "no signing files where there is no key");
        assert_eq!(kubelet["rotateCertificates"], false);
    }

    #[test]
    fn before_1_31_arguments_are_a_map() {
        let documents = of("1.30", "control-plane,etcd", |subject| subject.with_ca_keys = true);
        let cluster = &documents[1];
        assert_eq!(cluster["apiVersion"], "kubeadm.k8s.io/v1beta3");
        assert_eq!(cluster["kubernetesVersion"], "stable-1.30");
        assert_eq!(
            cluster["controllerManager"]["extraArgs"]["cluster-signing-cert-file"],
            "/etc/kubernetes/pki/ca-signing.crt"
        );
        assert_eq!(cluster["apiServer"]["extraArgs"]["encryption-provider-config-automatic-reload"], "true");
        assert!(cluster["encryptionAlgorithm"].is_null(), "v1beta3 knows none");
    }

    #[test]
    fn what_a_cluster_has_not_is_not_configured() {
        let documents = of("1.25", "control-plane,etcd", |subject| {
            subject.encrypts = false;
            subject.node = None;
        });
        assert_eq!(documents.len(), 2);
        let args = documents[0]["apiServer"]["extraArgs"].as_mapping().unwrap();
        assert_eq!(args.keys().collect::<Vec<_>>(), ["kubelet-certificate-authority"]);
    }

    #[test]
    fn etcd_elsewhere_is_named_by_its_nodes() {
        let mut material = fixture::material("1.36", "control-plane");
        let subject = |material: &Material| {
            configuration(&Subject {
                cluster: &material.cluster.name,
                config: &material.cluster.config,
                node: None,
                with_ca_keys: false,
                encrypts: true,
            })
        };
        assert!(matches!(subject(&material), Err(ExportError::NoEtcd { .. })));
        material.cluster.config.nodes.push(fixture::material("1.36", "etcd").node);
        material.cluster.config.nodes[1].addresses = vec![Host::parse("fd00::5").unwrap()];
        let text = subject(&material).unwrap();
        assert!(text.contains("endpoints:\n    - https://[fd00::5]:2379\n"), "{text}");
        material.cluster.config.nodes[1].addresses.clear();
        assert!(matches!(subject(&material), Err(ExportError::NoEtcdAddress { .. })));
    }

    #[test]
    fn a_worker_and_another_distribution_are_refused() {
        let mut material = fixture::material("1.36", "worker");
        let refused = |material: &Material, node| {
            let (cluster, config) = (&material.cluster.name, &material.cluster.config);
            configuration(&Subject { cluster, config, node, with_ca_keys: false, encrypts: true })
                .unwrap_err()
                .to_string()
        };
        let error = refused(&material, Some(&material.node));
        assert_eq!(error, "node cp-1 runs no control plane, and kubeadm init is for nodes that do");
        material.cluster.config.distribution = Distribution::K3s;
        assert_eq!(refused(&material, None), "cluster prod runs on k3s, and this is for kubeadm");
    }
}
