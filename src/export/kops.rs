//! The layout `kops`: the keysets of a kops state store, as kops itself writes them (kubernetes-pki B.4, kops 1.36). kops keeps
//! every key in the clear, and goes on with keysets that it finds instead of making its own. Lays out a cluster, never a node.

use super::document::Document;
use super::files::Files;
use super::{CaKeys, ClusterMaterial, ExportError, Exported, Layout, Needed, OfCluster};
use crate::model::{Distribution, Generation, Keyset, Time};
use crate::pki::{self, Facts, PrivateKey, Validity, WrapSpec};
use crate::secret::Secret;

/// `pki/private/KEYSET/keyset.yaml`, below the cluster's folder in the state store. kops runs what kubeadm calls a cluster:
/// the same three CAs and the same key of service accounts.
pub const LAYOUT: Layout = Layout {
    name: "kops",
    about: "a cluster's keysets for a kops state store, every key in the clear",
    distributions: &[Distribution::Kubeadm],
    ca_keys: CaKeys::Always,
    node: None,
    cluster: Some(OfCluster { needs, files }),
};

/// The CAs that kops makes where it finds none, and what each is to be here. etcd-manager is what starts etcd on kops'
/// nodes; its CA is for its own calls between nodes, as the peers' is for those of etcd.
const CAS: [(&str, Keyset, Keyset); 7] = [
    ("kubernetes-ca", Keyset::Kubernetes, Keyset::Kubernetes),
    ("apiserver-aggregator-ca", Keyset::FrontProxy, Keyset::FrontProxy),
    ("etcd-clients-ca", Keyset::Etcd, Keyset::Etcd),
    ("etcd-manager-ca-main", Keyset::EtcdPeer, Keyset::Etcd),
    ("etcd-manager-ca-events", Keyset::EtcdPeer, Keyset::Etcd),
    ("etcd-peers-ca-main", Keyset::EtcdPeer, Keyset::Etcd),
    ("etcd-peers-ca-events", Keyset::EtcdPeer, Keyset::Etcd),
];

/// What kops calls the key of service accounts.
const SERVICE_ACCOUNT: &str = "service-account";

/// The first second of the certificates round service-account keys: that of 2026, whenever the key was made, since nothing on
/// record says when that was, and kops reads nothing of such a certificate but its key.
const FIRST: i64 = 1_767_225_600;

/// The last second that a certificate can name: RFC 5280, 4.1.2.5, for one without an end.
const LAST: i64 = 253_402_300_799;

/// The issuing CA keys; and every service-account key that verifies, since each gets a certificate, which its key signs.
fn needs(keysets: &[Keyset], _: bool) -> Vec<Needed> {
    let cas = keysets.iter().copied().filter(|keyset| keyset.is_ca()).map(Needed::Issuing);
    cas.chain([Needed::Bundle(Keyset::ServiceAccount)]).collect()
}

fn files(material: &ClusterMaterial) -> Result<Exported, ExportError> {
    LAYOUT.check(&material.name, &material.config)?;
    let mut files = Files::default();
    for (name, first, or_else) in CAS {
        let keyset = if material.generations(first).is_empty() { or_else } else { first };
        files.secret(path(name), keyset_yaml(name, &authority(material, keyset)?));
    }
    files.secret(path(SERVICE_ACCOUNT), keyset_yaml(SERVICE_ACCOUNT, &service_account(material)?));
    Ok(Exported { files: files.finish_with_sums(), notes: notes(material) })
}

fn path(name: &str) -> String {
    format!("pki/private/{name}/keyset.yaml")
}

/// One key of a keyset. Only the primary has its private key: what is trusted beside it signs nothing, and a key that lies
/// nowhere leaks nowhere.
struct Item {
    id: String,
    certificate: Vec<u8>,
    primary_key: Option<Secret>,
}

/// The trusted generations of a CA, the oldest first. Distrusted ones are left out: kops keeps them, with their keys, to be
/// able to trust them again, and to that end the repository has `rotate undo`.
fn authority(material: &ClusterMaterial, keyset: Keyset) -> Result<Vec<Item>, ExportError> {
    let issuing = material.issuing(keyset)?;
    let mut generations: Vec<_> = material.generations(keyset).iter().collect();
    generations.sort_by_key(|one| one.generation);
    let item = |one: &&super::CaGeneration| {
        let is_primary = one.certificate == issuing;
        let unreadable = |_| ExportError::Authority { keyset, generation: one.generation };
        let facts = Facts::read(&one.certificate).map_err(unreadable)?;
        if is_primary && !is_one_of_kops(&facts) {
            let (cluster, generation) = (material.name.clone(), one.generation);
            return Err(ExportError::NotOfKops { cluster, keyset, generation });
        }
        Ok(Item {
            id: id(facts.not_before.unix(), one.generation).to_string(),
            certificate: one.certificate.clone(),
            primary_key: match is_primary {
                true => Some(material.ca_key(keyset)?.to_traditional_pem()),
                false => None,
            },
        })
    };
    generations.iter().map(item).collect()
}

/// Whether kops takes a CA certificate for one of its own: key usage exactly keyCertSign and cRLSign, no extended one. Over the
/// key of any other it makes a new certificate the primary, at the next `kops update cluster --yes` and without a question;
/// every node would be issued certificates that nothing on record knows.
fn is_one_of_kops(facts: &Facts) -> bool {
    facts.key_usage == Some(0b110_0000) && facts.extended_key_usages.is_empty()
}

/// The same of the service-account key, whose public half kops wants as a CA certificate.
fn service_account(material: &ClusterMaterial) -> Result<Vec<Item>, ExportError> {
    let signs = material.service_account_key()?.spki();
    let mut generations: Vec<_> = material.service_account.iter().collect();
    generations.sort_by_key(|one| one.generation);
    let item = |one: &&super::SigningGeneration| {
        let missing = ExportError::MissingKeysetKey { keyset: Keyset::ServiceAccount };
        let key: &PrivateKey = one.key.as_ref().ok_or(missing)?;
        let serial = id(FIRST, one.generation);
        let validity = Validity { not_before: Time::from_unix(FIRST), not_after: Time::from_unix(LAST) };
        Ok(Item {
            id: serial.to_string(),
            certificate: pki::wrap(key, &WrapSpec { common_name: SERVICE_ACCOUNT, validity, serial }),
            primary_key: (one.public == signs).then(|| key.to_traditional_pem()),
        })
    };
    generations.iter().map(item).collect()
}

/// The number of a key in its keyset. kops' own are the time in nanoseconds and 32 random bits; it compares them as numbers
/// and lets the newest come last. In place of the random bits stands the generation, so that every export has the same.
fn id(since: i64, generation: Generation) -> u128 {
    (u128::from(since.unsigned_abs()) * 1_000_000_000) << 32 | u128::from(generation.number())
}

fn keyset_yaml(name: &str, items: &[Item]) -> Secret {
    let mut yaml = Document::new(2);
    yaml.line(0, "apiVersion: kops.k8s.io/v1alpha2").line(0, "kind: Keyset");
    yaml.line(0, "metadata:").text(1, "name", name.as_bytes());
    yaml.line(0, "spec:").line(1, "keys:");
    for item in items {
        yaml.text(1, "- id", item.id.as_bytes());
        if let Some(key) = &item.primary_key {
            yaml.base64(2, "privateMaterial", key.expose());
        }
        yaml.base64(2, "publicMaterial", &pki::certificate_pem(&item.certificate));
    }
    for primary in items.iter().filter(|item| item.primary_key.is_some()) {
        yaml.text(1, "primaryId", primary.id.as_bytes());
    }
    yaml.line(1, "type: Keypair");
    yaml.finish()
}

fn notes(material: &ClusterMaterial) -> Vec<String> {
    let mut notes = vec![
        "copy pki/ into the cluster's folder of the state store before the first `kops update cluster --yes`, and after each \
         step of a rotation: kops then makes none of these keysets itself, and its nodes follow with `kops update cluster \
         --yes` and `kops rolling-update cluster --yes`"
            .to_owned(),
        "kops keeps every key in the clear: whoever reads the state store can issue any certificate of the cluster, on no record"
            .to_owned(),
    ];
    if material.generations(Keyset::EtcdPeer).is_empty() {
        notes.push(
            "etcd's clients, its peers and etcd-manager share one CA here, where kops would make five: a certificate of an etcd \
             client then passes for a peer's, too"
                .to_owned(),
        );
    }
    notes.push(
        "rotate here, not with `kops create|promote|distrust keypair`, whose changes the next export overwrites. Where kops has \
         to distrust a CA, name its id: without one it compares serials, and these are random"
            .to_owned(),
    );
    notes
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::model::{Algorithm, State};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    /// Certificates that can be read, unlike those of the fixture.
    fn material(algorithm: Algorithm) -> ClusterMaterial {
        let mut material = fixture::with_ca_keys(fixture::material("1.36", "control-plane,etcd")).cluster;
        for (keyset, generations) in &mut material.authorities {
            for one in generations {
                let number = one.generation.number();
                let key = one.key.take().unwrap_or_else(fixture::key);
                let validity = Validity {
                    not_before: Time::from_unix(1_764_000_000 + i64::from(number)),
                    not_after: Time::from_unix(1_864_000_000),
                };
                let name = format!("{keyset}-ca-g{number}");
                let spec = pki::CaSpec { common_name: &name, validity, name_constraints: None };
                one.certificate = pki::issue_ca(&key, &spec, &mut crate::env::Rng::seeded([number as u8; 32]));
                one.key = (one.state == State::Issuing).then_some(key);
            }
        }
        for one in &mut material.service_account {
            let key =
                PrivateKey::generate(algorithm, &mut crate::env::Rng::seeded([one.generation.number() as u8; 32]));
            (one.public, one.key) = (key.spki(), Some(key));
        }
        material
    }

    fn keyset(exported: &Exported, name: &str) -> serde_yaml_ng::Value {
        serde_yaml_ng::from_str(&fixture::text(exported, &path(name))).unwrap()
    }

    fn certificate(item: &serde_yaml_ng::Value) -> Facts {
        let pem = STANDARD.decode(item["publicMaterial"].as_str().unwrap()).unwrap();
        Facts::read(&pki::parse_pem(&pem, "CERTIFICATE").unwrap()).unwrap()
    }

    #[test]
    fn every_keyset_that_kops_would_make_is_there_with_the_newest_last() {
        let exported = files(&material(Algorithm::EcdsaP256)).unwrap();
        let names = CAS.iter().map(|(name, ..)| *name).chain([SERVICE_ACCOUNT]);
        for name in names {
            let keyset = keyset(&exported, name);
            assert_eq!(keyset["kind"], "Keyset");
            assert_eq!(keyset["metadata"]["name"], name);
            let keys = keyset["spec"]["keys"].as_sequence().unwrap();
            let ids: Vec<u128> = keys.iter().map(|key| key["id"].as_str().unwrap().parse().unwrap()).collect();
            assert_eq!(ids.len(), 2);
            assert!(ids[0] < ids[1], "{name}");
            assert_eq!(keyset["spec"]["primaryId"], ids[1].to_string());
            assert!(keys[0]["privateMaterial"].is_null() && keys[1]["privateMaterial"].is_string(), "{name}");
            for key in keys {
                let facts = certificate(key);
                assert_eq!((facts.is_ca, facts.key_usage), (true, Some(0b110_0000)), "kops wants exactly these");
            }
        }
        assert_eq!(exported.files.len(), 9);
        assert!(exported.files.iter().all(|file| file.mode == 0o600));
    }

    #[test]
    fn the_same_material_gives_the_same_bytes_whatever_the_algorithm() {
        for algorithm in [Algorithm::EcdsaP256, Algorithm::EcdsaP384, Algorithm::Rsa2048] {
            let material = material(algorithm);
            let (one, again) = (files(&material).unwrap(), files(&material).unwrap());
            for (one, again) in one.files.iter().zip(&again.files) {
                assert!(one.content.expose() == again.content.expose(), "{algorithm} {}", one.path);
            }
            let keyset = keyset(&one, SERVICE_ACCOUNT);
            let facts = certificate(&keyset["spec"]["keys"][1]);
            assert_eq!(facts.spki, material.service_account[0].public);
            let serial = u128::from_str_radix(&facts.serial, 16).unwrap().to_string();
            assert_eq!(keyset["spec"]["keys"][1]["id"], serial, "`distrust` compares serials");
        }
    }

    #[test]
    fn before_promotion_the_older_one_is_primary_and_the_newer_has_no_private_key() {
        let mut material = material(Algorithm::EcdsaP256);
        for generations in material.authorities.values_mut() {
            let key = generations[1].key.take();
            (generations[0].state, generations[0].key) = (State::Issuing, key);
            generations[1].state = State::Trusted;
        }
        let exported = files(&material).unwrap();
        let keyset = keyset(&exported, "kubernetes-ca");
        assert_eq!(keyset["spec"]["primaryId"], keyset["spec"]["keys"][0]["id"]);
        assert!(keyset["spec"]["keys"][1]["privateMaterial"].is_null());
    }

    #[test]
    fn a_ca_that_kops_would_replace_is_refused() {
        let mut material = material(Algorithm::EcdsaP256);
        let (certificate, key) = fixture::break_glass();
        let one = material.authorities.get_mut(&Keyset::FrontProxy).unwrap().iter_mut().find(|one| one.key.is_some());
        let one = one.unwrap();
        (one.certificate, one.key) = (certificate, Some(key));
        let error = files(&material).err().unwrap();
        assert!(error.to_string().starts_with("kops would replace front-proxy g2"), "{error}");
        assert!(error.remedy().is_some());
    }

    #[test]
    fn a_ca_of_etcds_peers_is_used_where_there_is_one() {
        let mut material = material(Algorithm::EcdsaP256);
        let peers = std::mem::take(material.authorities.get_mut(&Keyset::FrontProxy).unwrap());
        let front_proxy = self::material(Algorithm::EcdsaP256).authorities.remove(&Keyset::FrontProxy).unwrap();
        material.authorities.insert(Keyset::FrontProxy, front_proxy);
        material.authorities.insert(Keyset::EtcdPeer, peers);
        let exported = files(&material).unwrap();
        let of = |name| keyset(&exported, name)["spec"]["keys"].clone();
        assert_eq!(of("etcd-peers-ca-main"), of("etcd-manager-ca-events"));
        assert_ne!(of("etcd-peers-ca-main"), of("etcd-clients-ca"));
        assert!(!exported.notes.iter().any(|note| note.contains("share one CA")));
    }
}
