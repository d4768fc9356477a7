//! The layout `capi`: the Secrets from which Cluster API takes the PKI of a cluster that it is to make, instead of making one
//! (kubernetes-pki B.5). Lays out a cluster, never a node: its bootstrap provider makes the leaves on each machine.

use super::document::Document;
use super::files::Files;
use super::{CaKeys, ClusterMaterial, ExportError, Exported, Layout, Needed, OfCluster};
use crate::model::{Distribution, Keyset};
use crate::pki;
use crate::secret::Secret;

/// One stream of four Secrets.
pub const LAYOUT: Layout = Layout {
    name: "capi",
    about: "a cluster's CAs as Secrets for Cluster API's management cluster",
    distributions: &[Distribution::Kubeadm],
    ca_keys: CaKeys::Always,
    node: None,
    cluster: Some(OfCluster { needs, files }),
};

/// The CAs, with what Cluster API calls them after the cluster's name.
const CAS: [(&str, Keyset); 3] = [("ca", Keyset::Kubernetes), ("etcd", Keyset::Etcd), ("proxy", Keyset::FrontProxy)];

fn needs(_: &[Keyset], _: bool) -> Vec<Needed> {
    let keysets = CAS.iter().map(|(_, keyset)| *keyset).chain([Keyset::ServiceAccount]);
    keysets.map(Needed::Issuing).collect()
}

fn files(material: &ClusterMaterial) -> Result<Exported, ExportError> {
    LAYOUT.check(&material.name, &material.config)?;
    let mut yaml = Document::new(2);
    for (suffix, keyset) in CAS {
        // The issuing CA first: Cluster API takes the first for the one that its key belongs to.
        let key = material.ca_key(keyset)?.to_traditional_pem();
        secret(&mut yaml, material, suffix, &material.bundle_pem(keyset)?, &key);
        yaml.line(0, "---");
    }
    let public: Vec<u8> = material.service_account_public().iter().flat_map(|spki| pki::public_pem(spki)).collect();
    let key = material.service_account_key()?.to_traditional_pem();
    secret(&mut yaml, material, "sa", &public, &key);
    let mut files = Files::default();
    files.secret("secrets.yaml", yaml.finish());
    Ok(Exported { files: files.finish_with_sums(), notes: notes(material) })
}

fn secret(yaml: &mut Document, material: &ClusterMaterial, suffix: &str, certificate: &[u8], key: &Secret) {
    let cluster = material.name.as_str();
    yaml.line(0, "apiVersion: v1").line(0, "kind: Secret").line(0, "metadata:");
    yaml.text(1, "name", format!("{cluster}-{suffix}").as_bytes());
    yaml.line(1, "labels:").text(2, "cluster.x-k8s.io/cluster-name", cluster.as_bytes());
    yaml.line(0, "type: cluster.x-k8s.io/secret").line(0, "data:");
    yaml.base64(1, "tls.crt", certificate);
    yaml.base64(1, "tls.key", key.expose());
}

fn notes(material: &ClusterMaterial) -> Vec<String> {
    let name = &material.name;
    vec![
        format!(
            "in the management cluster, before the Cluster {name} is made there and in its namespace: kubectl apply \
             --server-side -n NAMESPACE -f secrets.yaml; the Cluster has to have this name, too"
        ),
        "whoever reads Secrets in that namespace can issue any certificate of the cluster, on no record".to_owned(),
        "Cluster API has no rotation of CAs: it reads the Secrets when a machine is made, so after a step the control plane has \
         to be rolled out anew (clusterctl alpha rollout restart), and no machine that exists learns of it otherwise"
            .to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::Deserialize as _;
    use serde_yaml_ng::Value;

    #[test]
    fn four_secrets_have_the_names_and_the_type_that_cluster_api_looks_for() {
        let material = fixture::with_ca_keys(fixture::material("1.36", "control-plane")).cluster;
        let exported = files(&material).unwrap();
        assert_eq!(fixture::listing(&exported), "0600 secrets.yaml\n0600 SHA256SUMS\n");
        let text = fixture::text(&exported, "secrets.yaml");
        let documents = serde_yaml_ng::Deserializer::from_str(&text).map(|one| Value::deserialize(one).unwrap());
        let secrets: Vec<Value> = documents.collect();
        let names: Vec<&str> = secrets.iter().map(|secret| secret["metadata"]["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["prod-ca", "prod-etcd", "prod-proxy", "prod-sa"]);
        let decoded = |value: &Value| STANDARD.decode(value.as_str().unwrap()).unwrap();
        for secret in &secrets {
            assert_eq!(secret["type"], "cluster.x-k8s.io/secret");
            assert_eq!(secret["metadata"]["labels"]["cluster.x-k8s.io/cluster-name"], "prod");
            assert!(secret["metadata"]["namespace"].is_null(), "kubectl's -n says where");
        }
        let bundle = decoded(&secrets[0]["data"]["tls.crt"]);
        assert_eq!(pki::pem_blocks(&bundle, "CERTIFICATE"), [&b"kubernetes-g2"[..], b"kubernetes-g1"], "issuing first");
        let public = pki::pem_blocks(&decoded(&secrets[3]["data"]["tls.crt"]), "PUBLIC KEY");
        assert_eq!(public, material.service_account_public());
        let key = pki::PrivateKey::from_pem(&Secret::new(decoded(&secrets[3]["data"]["tls.key"])));
        assert!(key.is_ok_and(|key| key.spki() == public[0]));
    }
}
