//! The layout `talos`: `secrets.yaml` as `talosctl gen secrets` writes it, and the patches that bring a phase of a rotation
//! into the machine configurations of nodes that run (kubernetes-pki B.3, talosctl 1.13). Lays out a cluster, never a node:
//! Talos' nodes make their leaves themselves.

use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use zeroize::Zeroizing;

use super::document::Document;
use super::files::Files;
use super::{CaKeys, ClusterMaterial, ExportError, Exported, Layout, Needed, OfCluster};
use crate::model::{Distribution, Keyset};
use crate::pki;
use crate::secret::Secret;

/// One file for `talosctl gen config --with-secrets`, and a patch for each kind of machine.
pub const LAYOUT: Layout = Layout {
    name: "talos",
    about: "a cluster's secrets.yaml and machine configuration patches, for talosctl",
    distributions: &[Distribution::Talos],
    ca_keys: CaKeys::Always,
    node: None,
    cluster: Some(OfCluster { needs, files }),
};

/// What Talos can trust two of, with its section of the machine configuration.
const ROTATED: [(&str, Keyset); 2] = [("machine", Keyset::Talos), ("cluster", Keyset::Kubernetes)];

/// The issuing keys alone: what is trusted beside them needs no key.
fn needs(keysets: &[Keyset], _: bool) -> Vec<Needed> {
    keysets.iter().copied().map(Needed::Issuing).collect()
}

fn files(material: &ClusterMaterial) -> Result<Exported, ExportError> {
    LAYOUT.check(&material.name, &material.config)?;
    let mut files = Files::default();
    files.secret("secrets.yaml", secrets(material)?);
    files.secret("patch-controlplane.yaml", patch(material, true)?);
    files.secret("patch-worker.yaml", patch(material, false)?);
    Ok(Exported { files: files.finish_with_sums(), notes: notes(material) })
}

fn secrets(material: &ClusterMaterial) -> Result<Secret, ExportError> {
    let mut yaml = Document::new(4);
    // The id is part of addresses at the discovery service, so Talos writes it without `+` and `/`.
    yaml.line(0, "cluster:");
    yaml.text(1, "id", &in_base64(&URL_SAFE, token(material, "cluster-id")?));
    yaml.text(1, "secret", &in_base64(&STANDARD, token(material, "cluster-secret")?));
    yaml.line(0, "secrets:").text(1, "bootstraptoken", token(material, "bootstrap")?.expose());
    if let Some((_, key)) = material.encryption.first() {
        yaml.base64(1, "secretboxencryptionsecret", key.expose());
    }
    yaml.line(0, "trustdinfo:").text(1, "token", token(material, "trustd")?.expose());
    yaml.line(0, "certs:");
    pair(yaml.line(1, "etcd:"), 2, material, Keyset::Etcd, true)?;
    pair(yaml.line(1, "k8s:"), 2, material, Keyset::Kubernetes, true)?;
    pair(yaml.line(1, "k8saggregator:"), 2, material, Keyset::FrontProxy, true)?;
    let service_account = material.service_account_key()?.to_traditional_pem();
    yaml.line(1, "k8sserviceaccount:").base64(2, "key", service_account.expose());
    pair(yaml.line(1, "os:"), 2, material, Keyset::Talos, true)?;
    Ok(yaml.finish())
}

/// The CAs of a machine configuration as they are to be in this phase. Lists are appended to by a patch, so what was accepted
/// before is taken out first; then applying a patch twice, or after another phase's, gives the same.
fn patch(material: &ClusterMaterial, control_plane: bool) -> Result<Secret, ExportError> {
    let mut yaml = Document::new(4);
    for (section, _) in ROTATED {
        yaml.line(0, &format!("{section}:")).line(1, "acceptedCAs:").line(2, "$patch: delete");
    }
    yaml.line(0, "---");
    for (section, keyset) in ROTATED {
        yaml.line(0, &format!("{section}:"));
        pair(yaml.line(1, "ca:"), 2, material, keyset, control_plane)?;
        let issuing = material.issuing(keyset)?;
        let accepted: Vec<_> = material.generations(keyset).iter().filter(|one| one.certificate != issuing).collect();
        if !accepted.is_empty() {
            yaml.line(1, "acceptedCAs:");
        }
        for one in accepted {
            yaml.base64(2, "- crt", &pki::certificate_pem(&one.certificate));
        }
    }
    Ok(yaml.finish())
}

/// A CA that issues. Workers get it without its key, and with the empty one that `talosctl gen config` writes there.
fn pair(
    yaml: &mut Document,
    level: usize,
    material: &ClusterMaterial,
    keyset: Keyset,
    with_key: bool,
) -> Result<(), ExportError> {
    yaml.base64(level, "crt", &pki::certificate_pem(material.issuing(keyset)?));
    if with_key {
        yaml.base64(level, "key", material.ca_key(keyset)?.to_traditional_pem().expose());
    } else {
        yaml.text(level, "key", b"");
    }
    Ok(())
}

fn token<'a>(material: &'a ClusterMaterial, name: &'static str) -> Result<&'a Secret, ExportError> {
    let missing = || ExportError::MissingToken { cluster: material.name.clone(), name };
    material.token(name).ok_or_else(missing)
}

fn in_base64(engine: &impl base64::Engine, secret: &Secret) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(vec![0; secret.len().div_ceil(3) * 4]);
    engine.encode_slice(secret.expose(), &mut text).expect("base64 needs four octets for three");
    text
}

fn notes(material: &ClusterMaterial) -> Vec<String> {
    let (name, endpoint) = (&material.name, material.config.endpoint.as_str());
    let version = material.config.kubernetes;
    let mut notes = vec![
        format!(
            "a new cluster: talosctl gen config --with-secrets secrets.yaml --kubernetes-version {version}.x {name} {endpoint}; \
             controlplane.yaml, which then holds every CA key, and talosconfig are made readable for everybody: chmod 0600"
        ),
        "a cluster that runs, one node after the other: talosctl -n NODE patch mc -p @patch-controlplane.yaml (workers: \
         -p @patch-worker.yaml); without a rotation they change nothing, and each can be applied again"
            .to_owned(),
    ];
    let rotating = |keyset| material.generations(keyset).len() > 1;
    if rotating(Keyset::Kubernetes) {
        notes.push(
            "after each node wait until it is Ready: Talos restarts its kubelet. kube-root-ca.crt has the issuing CA alone, \
             so it jumps from one CA to the next when that issues: restart all pods after the last control-plane node"
                .to_owned(),
        );
    }
    if rotating(Keyset::Talos) {
        notes.push(
            "talosconfig has one CA and a certificate by it: make it anew from secrets.yaml when another issues, while nodes \
             still accept the former"
                .to_owned(),
        );
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::model::State;
    use base64::Engine as _;

    fn material() -> ClusterMaterial {
        let mut material =
            fixture::with_ca_keys(fixture::material_of(Distribution::Talos, "1.36", "control-plane")).cluster;
        let token = |name: &str, text: &[u8]| (name.to_owned(), Secret::new(text.to_vec()));
        material.tokens = [
            token("bootstrap", b"abcdef.0123456789abcdef"),
            token("cluster-id", &[0xff; 32]),
            token("cluster-secret", &[0xff; 32]),
            token("trustd", b"123456.0123456789012345"),
        ]
        .into();
        material
    }

    fn value(exported: &Exported, path: &str) -> Vec<serde_yaml_ng::Value> {
        use serde::Deserialize as _;
        let text = fixture::text(exported, path);
        serde_yaml_ng::Deserializer::from_str(&text)
            .map(|one| serde_yaml_ng::Value::deserialize(one).unwrap())
            .collect()
    }

    fn pem(value: &serde_yaml_ng::Value) -> String {
        String::from_utf8(STANDARD.decode(value.as_str().unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn secrets_have_the_names_the_order_and_the_encodings_of_talosctl() {
        let exported = files(&material()).unwrap();
        assert_eq!(
            fixture::listing(&exported),
            "0600 patch-controlplane.yaml\n0600 patch-worker.yaml\n0600 secrets.yaml\n0600 SHA256SUMS\n"
        );
        let text = fixture::text(&exported, "secrets.yaml");
        let keys: Vec<&str> = text.lines().map(|line| line.split_once(':').unwrap().0).collect();
        assert_eq!(
            keys,
            [
                "cluster",
                "    id",
                "    secret",
                "secrets",
                "    bootstraptoken",
                "    secretboxencryptionsecret",
                "trustdinfo",
                "    token",
                "certs",
                "    etcd",
                "        crt",
                "        key",
                "    k8s",
                "        crt",
                "        key",
                "    k8saggregator",
                "        crt",
                "        key",
                "    k8sserviceaccount",
                "        key",
                "    os",
                "        crt",
                "        key",
            ]
        );
        let value = &value(&exported, "secrets.yaml")[0];
        assert_eq!(value["cluster"]["id"], format!("{}8=", "_".repeat(42)));
        assert_eq!(value["cluster"]["secret"], format!("{}8=", "/".repeat(42)));
        assert_eq!(value["trustdinfo"]["token"], "123456.0123456789012345");
        assert!(pem(&value["certs"]["os"]["key"]).starts_with("-----BEGIN EC PRIVATE KEY-----\n"));
    }

    #[test]
    fn a_patch_accepts_what_is_trusted_and_does_not_issue() {
        let exported = files(&material()).unwrap();
        for (path, has_key) in [("patch-controlplane.yaml", true), ("patch-worker.yaml", false)] {
            let [forget, set] = &value(&exported, path)[..] else { panic!("two documents") };
            for (section, name) in [("machine", "talos"), ("cluster", "kubernetes")] {
                assert_eq!(forget[section]["acceptedCAs"]["$patch"], "delete");
                let certificate =
                    |number| String::from_utf8(pki::certificate_pem(format!("{name}-g{number}").as_bytes())).unwrap();
                assert_eq!(pem(&set[section]["ca"]["crt"]), certificate(2));
                assert_eq!(!set[section]["ca"]["key"].as_str().unwrap().is_empty(), has_key);
                assert_eq!(set[section]["acceptedCAs"].as_sequence().unwrap().len(), 1);
                assert_eq!(pem(&set[section]["acceptedCAs"][0]["crt"]), certificate(1));
            }
        }
        let text = fixture::text(&exported, "patch-worker.yaml");
        assert_eq!(text.matches("key: \"\"\n").count(), 2, "{text}");
    }

    #[test]
    fn without_a_rotation_nothing_is_accepted_beside_what_issues() {
        let mut material = material();
        material.authorities.values_mut().for_each(|all| all.retain(|one| one.state == State::Issuing));
        let exported = files(&material).unwrap();
        assert!(value(&exported, "patch-worker.yaml")[1]["cluster"]["acceptedCAs"].is_null());
        assert!(!exported.notes.iter().any(|note| note.contains("kube-root-ca.crt")));
    }

    #[test]
    fn a_missing_token_and_another_distribution_are_refused() {
        let mut without = material();
        without.tokens.remove("trustd");
        let error = files(&without).err().unwrap();
        assert_eq!(error.to_string(), "the join secret trustd of cluster prod was not opened");
        let kubeadm = fixture::material("1.36", "control-plane").cluster;
        assert!(matches!(files(&kubeadm), Err(ExportError::Distribution { .. })));
    }
}
